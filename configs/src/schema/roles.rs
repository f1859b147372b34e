//! What each setting is to its run: part of the recipe, the length of the run, or something that may change while the
//! run goes on. Stated here once; whoever compares the settings of a run with others asks here.

use std::path::PathBuf;

use super::RunConfig;

/// What another value of a setting means for a run that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What is trained on what, and how: another value makes another run.
    Recipe,
    /// How far the recipe goes.
    Length,
    /// Where things are and how the ranks reach each other. What lies there is compared by its content.
    Location,
    /// What is measured, kept and written, and how batches come to the step: no weight depends on it.
    Upkeep,
    /// Of each start by itself: nobody asks what it was before.
    Start,
}

/// The longest beginning of a key counts; what is not named is [`Role::Recipe`].
const ROLES: &[(&str, Role)] = &[
    ("trainer.max_epochs", Role::Length),
    ("trainer.max_steps", Role::Length),
    ("schedule.made_for", Role::Length),
    ("data.root", Role::Location),
    ("init_from", Role::Location),
    ("comm", Role::Location),
    ("track", Role::Location),
    ("tags", Role::Upkeep),
    ("optimized_metric", Role::Upkeep),
    ("data.max_bad_files", Role::Upkeep),
    ("model.bn_statistics", Role::Upkeep),
    ("model.bn_samples", Role::Upkeep),
    ("data.cache_bytes", Role::Upkeep),
    ("trainer.max_nonfinite_steps", Role::Upkeep),
    ("trainer.replica_check_steps", Role::Upkeep),
    ("trainer.loader_threads", Role::Upkeep),
    ("trainer.prefetch_batches", Role::Upkeep),
    ("trainer.prefetch_bytes", Role::Upkeep),
    ("stop", Role::Upkeep),
    ("alarms", Role::Upkeep),
    ("eval", Role::Upkeep),
    ("checkpoint", Role::Upkeep),
    // The run is where it is.
    ("run", Role::Start),
    ("stop.time_limit_secs", Role::Start),
    ("stop.margin_secs", Role::Start),
    // What it leads to is kept.
    ("schedule.length", Role::Start),
    // A job that is started again may have another node's disk.
    ("checkpoint.local_dir", Role::Start),
];

/// Settings of the recipe that may change in the middle of a run, where an alarm takes it back: no shape of a tensor and no
/// sample depends on them. What a method schedules is among them too.
const OF_A_ROLLBACK: [&str; 5] =
    ["optimizer", "schedule", "augment", "trainer.grad_clip", "trainer.grad_clip_norm"];

/// And of those these may not.
const NOT_OF_A_ROLLBACK: [&str; 3] = ["optimizer.name", "optimizer.groups", "schedule.made_for"];

/// Settings that are paths; `*` is a name that the user gives. Those of `data.labels` and `data.splits` are relative to
/// `data.root`, those of a bank to its own root, the others to the working directory.
const PATHS: [&str; 14] = [
    "data.root",
    "data.labels.csv",
    "data.labels.csv_folder",
    "data.splits.*.test_list",
    "data.splits.*.val_list",
    "run.root",
    "run.dir",
    "init_from",
    "checkpoint.local_dir",
    "eval.banks.*.root",
    "eval.banks.*.labels.csv",
    "eval.banks.*.labels.csv_folder",
    "eval.banks.*.split.test_list",
    "eval.banks.*.split.val_list",
];

/// Whether a dotted key is a path.
pub(crate) fn is_path(key: &str) -> bool {
    let is_of = |pattern: &str| {
        let (mut of_pattern, mut of_key) = (pattern.split('.'), key.split('.'));
        let alike = of_pattern.by_ref().zip(of_key.by_ref()).all(|(part, name)| part == "*" || part == name);
        alike && pattern.matches('.').count() == key.matches('.').count()
    };
    PATHS.iter().any(|pattern| is_of(pattern))
}

impl Role {
    /// The role of a dotted key.
    pub fn of(key: &str) -> Self {
        let named = ROLES.iter().filter(|(of, _)| covers(of, key)).max_by_key(|(of, _)| of.len());
        named.map_or(Role::Recipe, |(_, role)| *role)
    }
}

/// Whether `key` is `of` or lies below it.
fn covers(of: &str, key: &str) -> bool {
    key.strip_prefix(of).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl RunConfig {
    /// Whether `key` may change where an alarm takes the run back.
    pub(crate) fn may_change_at_a_rollback(&self, key: &str) -> bool {
        let is_scheduled = self.method.scheduled().iter().any(|setting| covers(setting.key, key));
        let is_listed = OF_A_ROLLBACK.iter().any(|of| covers(of, key))
            && !NOT_OF_A_ROLLBACK.iter().any(|of| covers(of, key));
        is_scheduled || is_listed || Role::of(key) == Role::Upkeep
    }
}

impl RunConfig {
    /// Makes every path absolute, so that it means the same from any working directory. A path stays as it is where
    /// there is no working directory any more.
    pub fn make_paths_absolute(&mut self) {
        let optional = [
            self.data.root.as_mut(),
            self.run.dir.as_mut(),
            self.init_from.as_mut(),
            self.checkpoint.local_dir.as_mut(),
            Some(&mut self.run.root),
        ];
        let of_banks = self.eval.banks.values_mut().filter_map(|bank| bank.root.as_mut());
        optional.into_iter().flatten().chain(of_banks).for_each(absolute);
    }
}

fn absolute(path: &mut PathBuf) {
    if let Ok(absolute) = std::path::absolute(&*path) {
        *path = absolute;
    }
}

#[cfg(test)]
mod tests {
    use super::super::BankConfig;
    use super::*;
    use crate::decode::decode;
    use crate::node::{Node, Value, split_key};
    use crate::reference::{leaves, open_entry, reference};

    #[test]
    fn the_longest_beginning_counts() {
        for (key, role) in [
            ("optimizer.lr", Role::Recipe),
            ("data.rooted", Role::Recipe),
            ("data.root", Role::Location),
            ("comm.backend", Role::Location),
            ("stop.patience", Role::Upkeep),
            ("stop.margin_secs", Role::Start),
            // What it leads to is kept.
            ("schedule.length", Role::Start),
            ("eval.knn.k", Role::Upkeep),
            ("trainer.max_steps", Role::Length),
        ] {
            assert_eq!(Role::of(key), role, "{key}");
        }
    }

    #[test]
    fn every_row_is_about_a_setting_that_exists() {
        let known = reference(|_| "");
        let listed = ROLES.iter().map(|(key, _)| *key).chain(OF_A_ROLLBACK).chain(NOT_OF_A_ROLLBACK);
        for key in listed {
            assert!(known.get(&split_key(key)).is_some(), "`{key}` is no setting");
        }
    }

    /// The types of the schema decide what a path is: a list where one is wanted says so.
    #[test]
    fn all_paths_are_known_and_each_can_be_made_absolute() {
        let list = Node { value: Value::List(Vec::new()), place: None };
        let mut found = Vec::new();
        let mut known = reference(|_| "supcon");
        known.set(&["eval", "banks", "default"], open_entry("eval.banks"), None);
        for (key, _) in leaves(&known) {
            let mut tree = Node::map(Default::default(), None);
            tree.set(&split_key(&key), list.clone(), None);
            if decode(tree).problems.iter().any(|problem| problem.message.contains("must be a path")) {
                found.push(key);
            }
        }
        let mut expected: Vec<String> = PATHS.iter().map(|path| path.replace('*', "default")).collect();
        expected.sort_unstable();
        found.sort();
        assert_eq!(found, expected);
        assert!(found.iter().all(|key| is_path(key)));
        assert!(
            !is_path("data.splits.default")
                && !is_path("data.splits.default.test_list.x")
                && !is_path("seed")
        );

        let here = std::env::current_dir().unwrap();
        let mut config = RunConfig::default();
        let paths = |config: &RunConfig| {
            let tree = crate::serialize::to_node(config);
            let text = |key: &&str| {
                tree.get(&split_key(&key.replace('*', "default"))).and_then(Node::as_text).map(str::to_owned)
            };
            let of_root = |key: &&&str| {
                let below = ["data.labels.", "data.splits.", "eval.banks.*.labels.", "eval.banks.*.split."];
                below.iter().any(|section| key.starts_with(section))
            };
            PATHS.iter().filter(|key| !of_root(key)).map(text).collect::<Vec<_>>()
        };
        config.data.root = Some("a".into());
        config.run.dir = Some("a".into());
        config.run.root = "a".into();
        config.init_from = Some("a".into());
        config.checkpoint.local_dir = Some("a".into());
        let bank = BankConfig { root: Some("a".into()), ..BankConfig::default() };
        config.eval.banks.insert("default".into(), bank);
        config.make_paths_absolute();
        let expected = here.join("a").display().to_string();
        assert!(paths(&config).iter().all(|path| path.as_ref() == Some(&expected)), "{:?}", paths(&config));
    }
}
