//! Settings that had another name before: old runs go on and old command lines keep their meaning.

use crate::node::{Node, split_key};

/// Old and new names, dotted.
const RENAMED: [(&str, &str); 1] = [("method.tile", "trainer.loss_tile")];

/// The name that a setting has today.
pub(crate) fn current(key: &str) -> &str {
    RENAMED.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| new)
}

/// Moves every value with an old name in `tree` to where it is today, unless there is one already.
pub(crate) fn rename(tree: &mut Node) {
    for (old, new) in RENAMED {
        let (old, new) = (split_key(old), split_key(new));
        let Some(entry) = tree.remove(&old) else { continue };
        if tree.get(&new).is_none() {
            tree.set(&new, entry.node, entry.key_place);
        }
    }
}
