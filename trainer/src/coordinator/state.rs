//! What the coordinator remembers.

use dtrain_configs::schema::MonitorMode;
use serde::{Deserialize, Serialize};

use super::stopping::{Judged, is_better};

/// Part of every checkpoint: a coordinator that starts from it decides as the one that wrote it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CoordinatorState {
    /// Optimizer steps done.
    pub step: u64,
    /// Samples that took part in them.
    pub samples_seen: u64,
    /// Step of the last evaluation.
    pub evaluated_at: Option<u64>,
    /// Step of the evaluation that ends a run.
    pub concluded_at: Option<u64>,
    /// Step of the last checkpoint.
    pub saved_at: Option<u64>,
    /// Step of the last checkpoint on the fast tier.
    pub saved_locally_at: Option<u64>,
    /// Best monitored value and its step.
    pub best: Option<(f64, u64)>,
    /// Early stopping.
    pub judged: Judged,
    /// Non-finite steps since the last finite one.
    pub nonfinite_in_a_row: u64,
    /// Non-finite steps of the whole run; they change no weight.
    pub nonfinite_steps: u64,
}

impl CoordinatorState {
    pub(super) fn count_step(&mut self, finite: bool) {
        if finite {
            self.nonfinite_in_a_row = 0;
        } else {
            self.nonfinite_in_a_row += 1;
            self.nonfinite_steps += 1;
        }
    }

    /// Whether the value is the best so far.
    pub(super) fn remember_best(&mut self, value: f64, mode: MonitorMode) -> bool {
        let is_best = is_better(mode, value, self.best.map(|(best, _)| best), 0.0);
        if is_best {
            self.best = Some((value, self.step));
        }
        is_best
    }
}
