//! Overrides of single values: whether the key is there, and the change itself.

use crate::composer::Composer;
use crate::decode::keys::{not_a_setting, unknown_key};
use crate::decode::tag;
use crate::error::Problem;
use crate::experiment::BASE;
use crate::moved;
use crate::node::{Node, split_key};
use crate::overrides::{Operation, Override};
use crate::reference::{is_open, open_entry, reference};
use crate::source::printable;
use crate::suggest::{choice_hint, listed};

impl Composer {
    /// Applies all overrides that are not choices of groups.
    pub fn apply_values(&mut self) {
        let known = reference(|section| self.name_in_force(section));
        for over in std::mem::take(&mut self.overrides) {
            if over.choice().is_some() || self.is_broken(&over.key) {
                continue;
            }
            match self.check_override(&over, &known) {
                Ok(()) => self.apply(over, &known),
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    /// The name of a tagged section once all overrides are applied.
    fn name_in_force(&self, section: &str) -> &str {
        let set = self.overrides.iter().rev().find(|over| over.key == format!("{section}.name"));
        let set = set.filter(|over| over.choice().is_none()).and_then(|over| over.value.as_text());
        set.or_else(|| tag(&self.tree, section)).unwrap_or("")
    }

    fn check_override(&self, over: &Override, known: &Node) -> Result<(), Problem> {
        let path = split_key(&over.key);
        let place = Some(&over.key_place);
        if let Some((section, name, entries)) = self.open_entry(&path, known) {
            let exists = entries.contains(&name);
            if !exists && matches!(over.operation, Operation::Set | Operation::Delete) {
                let named = printable(name, 60);
                let there = listed(entries.iter().copied());
                let hint = format!("there are {there}; `+{}=...` adds one", printable(&over.key, 60));
                return Err(Problem::new(format!("`{section}` has no `{named}`")).at(place).hint(hint));
            }
            let key = path.get(3..).unwrap_or_default();
            let entry = open_entry(&section);
            if !key.is_empty() && entry.get(key).is_none() {
                let keys = entry.as_map().map(|map| map.keys().collect::<Vec<_>>()).unwrap_or_default();
                let hint = choice_hint(&key.join("."), keys);
                return Err(not_a_setting(&over.key).at(place).hint(hint));
            }
        } else if known.get(&path).is_none() {
            let has_entry = |section: &str, name: &str| {
                self.tree
                    .get(&split_key(section))
                    .and_then(Node::as_map)
                    .is_some_and(|map| map.get(name).is_some())
            };
            if over.key == BASE {
                let hint =
                    "`experiment=NAME` chooses an experiment; `base: NAME` is a line of an experiment's file";
                return Err(not_a_setting(&over.key).at(place).hint(hint));
            }
            if let Some(hint) = moved::key_hint(&over.key, &over.value, has_entry) {
                return Err(not_a_setting(&over.key).at(place).hint(hint));
            }
            // Below a value, or nowhere.
            if let Some(length) = known.blocked_at(&path) {
                let value = path.get(..length).unwrap_or_default().join(".");
                return Err(Problem::new(format!("`{value}` is a value and has no keys below it")).at(place));
            }
            return Err(unknown_key(&over.key, known, &self.tree).at(place));
        }
        let set = self.tree.get(&path).or_else(|| known.get(&path)).filter(|node| !node.is_null());
        if let (Operation::Add, Some(node)) = (over.operation, set) {
            let is_optional = ["data.generate", "augment.transforms"].contains(&over.key.as_str());
            let optional_section = is_optional && self.tree.get(&path).is_none();
            if !optional_section {
                let problem = Problem::new(format!("`{}` is set already, to {}", over.key, node.describe()));
                return Err(problem
                    .at(place)
                    .hint(format!("leave out the `+`, or write `++{}=...`", over.key)));
            }
        }
        Ok(())
    }

    /// Section, key and existing keys, where a path leads into a section whose keys the user names.
    fn open_entry<'a>(
        &'a self,
        path: &[&'a str],
        known: &'a Node,
    ) -> Option<(String, &'a str, Vec<&'a str>)> {
        let (section, name) = (path.get(..2)?, path.get(2)?);
        let dotted = section.join(".");
        let node = self.tree.get(section).or_else(|| known.get(section))?;
        let names = node.as_map().map(|map| map.keys().collect()).unwrap_or_default();
        is_open(&dotted).then_some((dotted, *name, names))
    }

    fn apply(&mut self, over: Override, known: &Node) {
        let path = split_key(&over.key);
        // An open section that only the program's defaults hold is written out before one of its entries changes.
        if let Some(section) = path.get(..2).filter(|section| is_open(&section.join(".")))
            && self.tree.get(section).is_none()
            && let Some(defaults) = known.get(section)
        {
            self.tree.set(section, defaults.clone(), None);
        }
        if over.operation == Operation::Delete {
            self.tree.remove(&path);
            return;
        }
        if let Some(length) = self.tree.blocked_at(&path) {
            let value = path.get(..length).unwrap_or_default().join(".");
            let problem = Problem::new(format!("`{value}` is a value and has no keys below it"));
            self.problems.push(problem.at(Some(&over.key_place)));
            return;
        }
        self.keeping_tags(|tree| tree.set(&path, over.value.clone(), Some(over.key_place.clone())));
    }
}
