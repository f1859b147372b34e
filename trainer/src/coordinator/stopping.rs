//! Early stopping: a run ends when its metric has not improved for a number of evaluations (Prechelt 1998, "Early
//! stopping, but when?", the criterion that counts in a row).

use dtrain_configs::schema::MonitorMode;
use serde::{Deserialize, Serialize};

/// When a lack of improvement ends the run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    /// Whether more is better.
    pub mode: MonitorMode,
    /// Evaluations in a row without improvement that end the run.
    pub patience: u64,
    /// A change that is not larger is no improvement.
    pub min_delta: f64,
}

/// The metric so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Best value of the phase.
    pub best: Option<f64>,
    /// Evaluations since then.
    pub without_improvement: u64,
    /// Step of the last evaluation that was judged.
    pub at: Option<u64>,
    /// Phase that the others speak of.
    pub phase: u32,
}

impl EarlyStop {
    /// Takes in the value that was measured after `step` steps, the last of them in `phase`. Each evaluation counts once,
    /// and each phase counts anew: what is trained has changed. A value that is not finite is no improvement.
    pub(super) fn judge(&self, judged: &mut Judged, value: f64, step: u64, phase: u32) {
        if judged.at == Some(step) {
            return;
        }
        if judged.phase != phase {
            *judged = Judged { phase, ..Judged::default() };
        }
        judged.at = Some(step);
        if is_better(self.mode, value, judged.best, self.min_delta) {
            judged.best = Some(value);
            judged.without_improvement = 0;
        } else {
            judged.without_improvement += 1;
        }
    }

    /// Whether patience is at its end.
    pub fn is_exhausted(&self, judged: &Judged) -> bool {
        judged.without_improvement >= self.patience.max(1)
    }
}

/// Whether `value` beats `best` by more than `min_delta`.
pub(super) fn is_better(mode: MonitorMode, value: f64, best: Option<f64>, min_delta: f64) -> bool {
    value.is_finite()
        && match (best, mode) {
            (None, _) => true,
            (Some(best), MonitorMode::Max) => value > best + min_delta,
            (Some(best), MonitorMode::Min) => value < best - min_delta,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evaluations after which patience is at its end.
    fn ends_after(stop: EarlyStop, values: &[f64]) -> Option<usize> {
        let mut judged = Judged::default();
        values.iter().enumerate().find_map(|(index, value)| {
            stop.judge(&mut judged, *value, index as u64, 0);
            stop.is_exhausted(&judged).then_some(index + 1)
        })
    }

    #[test]
    fn patience_counts_evaluations_since_the_best() {
        let max = EarlyStop { mode: MonitorMode::Max, patience: 2, min_delta: 0.0 };
        assert_eq!(ends_after(max, &[0.1, 0.2, 0.2, 0.1, 0.9]), Some(4));
        assert_eq!(ends_after(max, &[0.1, 0.0, 0.2, 0.1, 0.3]), None);
        let min = EarlyStop { mode: MonitorMode::Min, ..max };
        assert_eq!(ends_after(min, &[0.9, 0.5, 0.6, 0.4, 0.4, 0.4]), Some(6));
    }

    #[test]
    fn a_small_change_is_no_improvement_and_does_not_move_the_mark() {
        let stop = EarlyStop { mode: MonitorMode::Max, patience: 3, min_delta: 0.1 };
        // Creeping up is measured from where the last improvement was.
        assert_eq!(ends_after(stop, &[0.5, 0.55, 0.58, 0.62, 0.3, 0.3, 0.3]), Some(7));
        assert_eq!(ends_after(stop, &[0.5, 0.55, 0.58, 0.6]), Some(4));
    }

    #[test]
    fn what_is_not_finite_is_no_improvement() {
        let stop = EarlyStop { mode: MonitorMode::Min, patience: 2, min_delta: 0.0 };
        assert_eq!(ends_after(stop, &[f64::NAN, f64::NEG_INFINITY]), Some(2));
        assert_eq!(ends_after(stop, &[f64::NAN, 1.0, f64::NAN]), None);
    }

    #[test]
    fn each_phase_counts_anew_and_each_evaluation_once() {
        let stop = EarlyStop { mode: MonitorMode::Max, patience: 2, min_delta: 0.0 };
        let mut judged = Judged::default();
        for (step, value, phase) in [(5, 0.9, 0), (10, 0.1, 0), (15, 0.1, 1), (20, 0.05, 1), (20, 0.05, 1)] {
            stop.judge(&mut judged, value, step, phase);
            assert!(!stop.is_exhausted(&judged), "step {step}");
        }
        stop.judge(&mut judged, 0.05, 25, 1);
        assert!(stop.is_exhausted(&judged));
    }
}
