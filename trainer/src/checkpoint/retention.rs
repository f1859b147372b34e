//! Which checkpoints stay: the newest few and the best one. A policy over facts; nothing here touches a disk.

use dtrain_configs::schema::{CheckpointConfig, MonitorMode};

/// A checkpoint, as far as the policy looks at it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Existing {
    /// Optimizer steps that it holds.
    pub step: u64,
    /// Whether it can be loaded.
    pub valid: bool,
    /// Value of the monitored metric when it was saved; `None` where nothing is monitored or nothing was measured.
    pub value: Option<f64>,
}

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Newest valid checkpoints that stay, besides the best; 0 counts as 1.
    pub keep_last: usize,
    /// Whether more of the monitored metric is better.
    pub mode: MonitorMode,
}

/// What is to be done with a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionAction {
    /// Delete the checkpoint of this step.
    Delete {
        /// Its step.
        step: u64,
    },
}

impl RetentionPolicy {
    /// By the settings.
    pub fn of(config: &CheckpointConfig) -> Self {
        let mode = config.monitored().map_or_else(MonitorMode::default, |(_, mode)| mode);
        Self { keep_last: config.keep_last, mode }
    }

    /// What to delete, oldest first. `latest` is the step that resuming would start from; it always stays, and so do
    /// the newest valid one and damaged ones that are newer than it. The newest valid one up to each step of `keeps` stays too.
    pub fn plan(&self, existing: &[Existing], latest: Option<u64>, keeps: &[u64]) -> Vec<RetentionAction> {
        let newest_up_to = |step: &u64| {
            let valid = existing.iter().filter(|checkpoint| checkpoint.valid && checkpoint.step <= *step);
            valid.map(|checkpoint| checkpoint.step).max()
        };
        let mut kept: Vec<u64> = keeps.iter().filter_map(newest_up_to).collect();
        kept.extend(self.best(existing).into_iter().chain(latest));
        let mut newest_first: Vec<&Existing> = existing.iter().collect();
        newest_first.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.step));
        let mut num_kept = 0;
        let mut delete = Vec::new();
        for checkpoint in newest_first {
            if num_kept < self.keep_last.max(1) {
                num_kept += usize::from(checkpoint.valid);
            } else if !kept.contains(&checkpoint.step) {
                delete.push(RetentionAction::Delete { step: checkpoint.step });
            }
        }
        delete.reverse();
        delete
    }

    /// Step of the best valid checkpoint; the earliest of equals. NaN is never best.
    pub fn best(&self, existing: &[Existing]) -> Option<u64> {
        let better = |a: f64, b: f64| self.mode.is_better(a, b);
        let mut best: Option<(u64, f64)> = None;
        for checkpoint in existing.iter().filter(|checkpoint| checkpoint.valid) {
            let Some(value) = checkpoint.value.filter(|value| !value.is_nan()) else { continue };
            let replaces = best.is_none_or(|(step, best)| {
                better(value, best) || (!better(best, value) && checkpoint.step < step)
            });
            if replaces {
                best = Some((checkpoint.step, value));
            }
        }
        best.map(|(step, _)| step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(keep_last: usize, mode: MonitorMode) -> RetentionPolicy {
        RetentionPolicy { keep_last, mode }
    }

    fn steps(actions: &[RetentionAction]) -> Vec<u64> {
        actions.iter().map(|RetentionAction::Delete { step }| *step).collect()
    }

    fn existing(rows: &[(u64, Option<f64>)]) -> Vec<Existing> {
        rows.iter().map(|&(step, value)| Existing { step, valid: true, value }).collect()
    }

    #[test]
    fn the_last_two_and_the_best_stay() {
        let rows =
            existing(&[(1, Some(0.2)), (2, Some(0.9)), (3, Some(f64::NAN)), (4, Some(0.5)), (5, None)]);
        assert_eq!(steps(&policy(2, MonitorMode::Max).plan(&rows, Some(5), &[])), [1, 3]);
        assert_eq!(steps(&policy(2, MonitorMode::Min).plan(&rows, Some(5), &[])), [2, 3]);
        assert_eq!(steps(&policy(9, MonitorMode::Min).plan(&rows, Some(5), &[])), Vec::<u64>::new());
    }

    #[test]
    fn the_newest_valid_one_up_to_a_step_stays() {
        let mut rows = existing(&[(10, None), (20, None), (30, None), (40, None), (50, None)]);
        rows[2].valid = false;
        let deleted = |keeps: &[u64]| steps(&policy(1, MonitorMode::Max).plan(&rows, Some(50), keeps));
        assert_eq!(deleted(&[]), [10, 20, 30, 40]);
        assert_eq!(deleted(&[39]), [10, 30, 40], "step 30 is damaged");
        assert_eq!(deleted(&[5]), [10, 20, 30, 40]);
        assert_eq!(deleted(&[19, 40]), [20, 30]);
    }

    #[test]
    fn of_equals_the_earliest_is_best() {
        let rows = existing(&[(3, Some(1.0)), (1, Some(1.0)), (2, Some(1.0))]);
        assert_eq!(policy(1, MonitorMode::Max).best(&rows), Some(1));
    }

    #[test]
    fn damaged_ones_do_not_count_as_kept() {
        let mut rows = existing(&[(1, None), (2, None), (3, None), (4, None)]);
        rows[3].valid = false;
        rows[1].valid = false;
        assert_eq!(steps(&policy(1, MonitorMode::Max).plan(&rows, None, &[])), [1, 2]);
        assert_eq!(steps(&policy(2, MonitorMode::Max).plan(&rows, None, &[])), Vec::<u64>::new());
    }

    proptest! {
        #[test]
        fn the_last_good_one_and_the_best_never_go(
            rows in prop::collection::btree_map(0..50u64, (any::<bool>(), prop::option::of(-3i32..3)), 0..12),
            keep_last in 0..4usize,
            max in any::<bool>(),
            latest in prop::option::of(0..50u64),
        ) {
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(step, (valid, value))| Existing { step, valid, value: value.map(f64::from) })
                .collect();
            let policy = policy(keep_last, if max { MonitorMode::Max } else { MonitorMode::Min });
            let deleted = steps(&policy.plan(&rows, latest, &[]));
            let valid: Vec<_> = rows.iter().filter(|row| row.valid).map(|row| row.step).collect();
            for kept in valid.iter().rev().take(keep_last.max(1)).chain(&policy.best(&rows)).chain(&latest) {
                prop_assert!(!deleted.contains(kept));
            }
            // Nothing more stays than asked for.
            let left = valid.iter().filter(|step| !deleted.contains(step)).count();
            prop_assert!(left <= keep_last.max(1) + 2);
            prop_assert!(deleted.is_sorted());
        }
    }
}
