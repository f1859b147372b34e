//! Settings that had another name or another place before: old runs go on and old command lines keep their meaning.

use crate::decode::tag;
use crate::node::{Node, split_key};
use crate::reference::reference;

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

/// Settings that were once in the `model` section of every run, whichever network it had, as they came.
const ONCE_SHARED: [&[&str]; 2] =
    [&["stem"], &["conv1_channels", "conv2_channels", "pool_size", "fc_hidden", "dropout"]];

/// Takes out of the whole settings of a run what networks besides its own had in them, which said nothing. A part of what came
/// together is not of such a run, and stays to be refused.
pub(crate) fn drop_shared_settings(tree: &mut Node) {
    let name = tag(tree, "model").unwrap_or("").to_owned();
    let known = reference(|_| &name);
    for keys in ONCE_SHARED {
        let is_foreign = |key: &&str| {
            let path = ["model", *key];
            tree.get(&path).is_some() && known.get(&path).is_none()
        };
        if keys.iter().all(is_foreign) {
            for key in keys {
                tree.remove(&["model", key]);
            }
        }
    }
}
