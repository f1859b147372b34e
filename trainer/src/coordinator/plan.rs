//! What is known before the first step.

use dtrain_configs::schema::{AlarmsConfig, MonitorMode};
use serde::{Deserialize, Serialize};

use super::course::Course;
use super::stopping::EarlyStop;

/// Length of a run and what happens when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Optimizer steps of one pass over the training set.
    pub steps_per_epoch: u64,
    /// Optimizer steps of the run.
    pub total_steps: u64,
    /// Steps between two checkpoints; `None` saves at each end of an epoch; `Some(0)` never saves.
    pub save_every_steps: Option<u64>,
    /// Steps between two checkpoints on the fast tier, besides the others; `None`: there is no such tier.
    pub local_save_every_steps: Option<u64>,
    /// Epochs between two evaluations; 0 switches evaluation off.
    pub eval_every_epochs: u64,
    /// Whether there is an evaluation before the first step too.
    pub eval_at_start: bool,
    /// Whether more of the monitored metric is better.
    pub monitor_mode: MonitorMode,
    /// Non-finite steps in a row that end the run.
    pub max_nonfinite_steps: u64,
    /// What schedule and phases are computed for.
    pub course: Course,
    /// What ends the run for want of improvement; `None` trains to the last step.
    pub early_stop: Option<EarlyStop>,
    /// What alarms do, and after how much evidence.
    pub alarms: AlarmsConfig,
}

impl RunPlan {
    /// Zero-based epoch of a step.
    pub fn epoch_of(&self, step: u64) -> u64 {
        step / self.steps_per_epoch.max(1)
    }

    /// The last step up to `done` that asks for a checkpoint; 0 where there was none yet.
    pub(super) fn last_save_asked_for(&self, done: u64) -> u64 {
        let every = self.save_every_steps.unwrap_or(self.steps_per_epoch).max(1);
        done - done % every
    }

    /// Whether `done` steps are whole epochs.
    pub(super) fn is_epoch_end(&self, done: u64) -> bool {
        done > 0 && done.is_multiple_of(self.steps_per_epoch.max(1))
    }
}
