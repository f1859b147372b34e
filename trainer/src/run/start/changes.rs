//! The settings of a run that goes on beside those that it is asked to go on with: what makes another run, and what may
//! change on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dtrain_configs::schema::Role;
use dtrain_configs::{RunConfig, flat_settings, shell_path, shell_word};

use crate::coordinator::{CoordinatorState, Judged};
use crate::error::TrainError;
use crate::run::directory::Change;
use crate::run::prepare::bound_to_length;

/// A value that is chosen at the start of a run.
const AUTO: &str = "auto";

/// What differs, apart from where the run lives, from what each start says anew, and from what is to be chosen now.
pub(super) fn changes(stored: &RunConfig, now: &RunConfig) -> Vec<Change> {
    let (stored, now) = (flat_settings(stored), flat_settings(now));
    let keys: BTreeSet<&String> = stored.keys().chain(now.keys()).collect();
    let value = |values: &BTreeMap<String, serde_json::Value>, key: &String| {
        values.get(key).cloned().unwrap_or(serde_json::Value::Null)
    };
    keys.into_iter()
        .filter(|key| Role::of(key) != Role::Start)
        .map(|key| Change { key: key.clone(), was: value(&stored, key), now: value(&now, key) })
        // Without a checkpoint nothing holds the run to what was chosen, which may have been for another world.
        .filter(|change| change.was != change.now && change.now != AUTO)
        .collect()
}

/// Whether the run in `run_dir` may go on with these changes. `has_begun`: there is a checkpoint.
///
/// # Errors
/// Settings of another run, or another length where what was trained already depends on it, without a word about that.
pub(super) fn judge(
    changes: &[Change],
    config: &RunConfig,
    run_dir: &Path,
    has_begun: bool,
) -> Result<(), TrainError> {
    let (shown, typed) = (run_dir.display(), shell_path(run_dir));
    let init_from = shell_word(&format!("init_from={shown}"));
    let listed = |role: Role| {
        let of_role = changes.iter().filter(|change| Role::of(&change.key) == role);
        of_role.map(|change| format!("\n  {change}")).collect::<String>()
    };
    let recipe = listed(Role::Recipe);
    if !recipe.is_empty() {
        return Err(TrainError::config(
            format!("`run.dir={shown}` holds a run with other settings:{recipe}"),
            format!(
                "without them `dtrain resume {typed}` goes on as it was; `{init_from}` and another `run.dir` \
                 start a new run from its weights"
            ),
        ));
    }
    let length = listed(Role::Length);
    let may = config.schedule.length.is_some() || !has_begun || length.is_empty();
    let Some(why) = bound_to_length(config).filter(|_| !may) else { return Ok(()) };
    Err(TrainError::config(
        format!(
            "the run in `{shown}` cannot become longer or shorter without a word about its schedule, since {why}:{length}"
        ),
        "`schedule.length=keep` goes on with the schedule as it is, to its old end, and stays at its last learning rate from \
         there on, in its last phase; `schedule.length=new` goes on as a run which had the new length from the beginning, so \
         that the learning rate jumps",
    ))
}

/// Forgets what was judged by other rules.
pub(super) fn forget(changes: &[Change], state: &mut CoordinatorState) {
    let changed = |keys: &[&str]| changes.iter().any(|change| keys.contains(&change.key.as_str()));
    if changed(&["checkpoint.monitor", "checkpoint.mode"]) {
        state.best = None;
    }
    if changed(&["stop.monitor", "stop.mode", "stop.min_delta"]) {
        state.judged = Judged::default();
    }
}

/// Whether alarms are raised by other rules than before; what an alarm does is no rule.
pub(super) fn alarm_rules_changed(changes: &[Change]) -> bool {
    let is_rule = |key: &str| {
        key.starts_with("alarms.") && !key.starts_with("alarms.on.") && key != "alarms.rollback_set"
    };
    changes.iter().any(|change| is_rule(&change.key))
}

#[cfg(test)]
mod tests {
    use dtrain_configs::{ComposeOptions, compose};

    use super::*;

    fn config(words: &[&str]) -> RunConfig {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        compose(&words, &ComposeOptions::default()).unwrap().config
    }

    fn judged(before: &[&str], more: &[&str]) -> Result<Vec<Change>, (String, String)> {
        let now = config(&[before, more].concat());
        let changes = changes(&config(before), &now);
        let verdict = judge(&changes, &now, Path::new("runs/a"), true);
        verdict.map(|()| changes).map_err(|e| (e.to_string(), e.hint().unwrap_or_default()))
    }

    #[test]
    fn what_makes_no_other_recipe_may_change() {
        let more = [
            "data.root=elsewhere",
            "stop.patience=5",
            "stop.monitor=val/knn_top1",
            "eval.every_epochs=2",
            "checkpoint.keep_last=9",
            "track.every_steps=3",
            "comm.timeout_secs=9",
            "tags=[late]",
            "stop.time_limit_secs=60",
            "run.root=other",
        ];
        let keys: Vec<String> = judged(&[], &more).unwrap().into_iter().map(|change| change.key).collect();
        // A time limit and the folder of runs are of each start by itself.
        assert_eq!(
            keys,
            [
                "checkpoint.keep_last",
                "comm.timeout_secs",
                "data.root",
                "eval.every_epochs",
                "stop.monitor",
                "stop.patience",
                "tags",
                "track.every_steps"
            ]
        );
        assert!(judged(&["data.root=x"], &["data.root=./x"]).unwrap().is_empty(), "the same place");
    }

    #[test]
    fn another_recipe_is_named_with_the_way_round() {
        let (message, hint) = judged(&[], &["optimizer.lr=0.5", "eval.every_epochs=2"]).unwrap_err();
        assert_eq!(
            message,
            "`run.dir=runs/a` holds a run with other settings:\n  `optimizer.lr` was 0.003 and is now 0.5"
        );
        assert!(hint.contains("`init_from=runs/a` and another `run.dir`"), "{hint}");
    }

    #[test]
    fn a_run_becomes_longer_where_what_was_done_stays_the_same() {
        for schedule in ["schedule=constant", "schedule=step"] {
            let changes = judged(&[schedule], &["trainer.max_epochs=40"]).unwrap();
            assert_eq!(changes[0].to_string(), "`trainer.max_epochs` was 20 and is now 40");
        }
        let (message, hint) = judged(&[], &["trainer.max_epochs=40"]).unwrap_err();
        assert_eq!(
            message,
            "the run in `runs/a` cannot become longer or shorter without a word about its schedule, since its learning \
             rate falls along a cosine that ends with the run:\n  `trainer.max_epochs` was 20 and is now 40"
        );
        assert!(hint.contains("`schedule.length=keep`") && hint.contains("`schedule.length=new`"), "{hint}");
        for word in ["keep", "new"] {
            let word = format!("schedule.length={word}");
            let changes = judged(&[], &["trainer.max_epochs=40", &word]).unwrap();
            assert_eq!(changes.len(), 1, "the word itself is of one start");
            assert!(changes[0].reason(config(&[&word]).schedule.length).ends_with(&format!("by `{word}`")));
        }
        let staged = ["experiment=supervised_finetune_fsdd", "schedule=constant"];
        assert!(
            judged(&staged, &["trainer.max_steps=9"]).unwrap_err().0.contains("its phases share the steps")
        );
    }

    #[test]
    fn without_a_checkpoint_nothing_binds_the_length() {
        let (before, now) = (config(&[]), config(&["trainer.max_epochs=40"]));
        assert!(judge(&changes(&before, &now), &now, Path::new("a"), false).is_ok());
    }

    #[test]
    fn other_rules_judge_anew() {
        let judged = Judged { best: Some(0.9), without_improvement: 3, ..Judged::default() };
        let before = CoordinatorState { best: Some((0.9, 4)), judged, ..CoordinatorState::default() };
        let after = |more: &[&str]| {
            let mut state = before.clone();
            forget(&changes(&config(&[]), &config(more)), &mut state);
            (state.best.is_none(), state.judged == Judged::default())
        };
        assert_eq!(after(&["stop.patience=99"]), (false, false));
        assert_eq!(after(&["checkpoint.monitor=val/acc"]), (true, false));
        assert_eq!(after(&["stop.monitor=val/acc"]), (false, true));
        let other_alarms = |more: &[&str]| alarm_rules_changed(&changes(&config(&[]), &config(more)));
        assert!(other_alarms(&["alarms.patience=3"]) && !other_alarms(&["alarms.on.uniformity=stop"]));
        assert!(!other_alarms(&["alarms.rollback_set=[optimizer.lr=0.1]"]), "what follows from an alarm");
    }
}
