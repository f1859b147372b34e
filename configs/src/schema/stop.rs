//! What ends a run before its last step.

use serde::{Deserialize, Serialize};

use super::{Auto, MonitorMode};

/// Early stopping, and the time that a start may take.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopConfig {
    /// Metric whose lack of improvement ends the run, such as `val/knn_top1`; `null` trains to the last step.
    pub monitor: Option<String>,
    /// Whether more (`max`) or less (`min`) of `monitor` is better; `auto` goes by its name: less of a loss or an error.
    pub mode: Auto<MonitorMode>,
    /// Evaluations in a row without improvement that end the run; each phase counts anew.
    pub patience: u64,
    /// A change of `monitor` that is not larger is no improvement.
    pub min_delta: f64,
    /// Seconds after which this start saves and asks to be started again (exit code 75). Under SLURM the end of the
    /// job's allocation counts too.
    pub time_limit_secs: Option<f64>,
    /// Seconds before the time limit at which the run stops to save; `auto` = the longest step, evaluation and
    /// checkpoint so far.
    pub margin_secs: Auto<f64>,
}

impl Default for StopConfig {
    fn default() -> Self {
        Self {
            monitor: None,
            mode: Auto::Auto,
            patience: 10,
            min_delta: 0.0,
            time_limit_secs: None,
            margin_secs: Auto::Auto,
        }
    }
}

impl StopConfig {
    /// The metric that early stopping watches, and its direction.
    pub fn monitored(&self) -> Option<(&str, MonitorMode)> {
        let name = self.monitor.as_ref()?;
        Some((name, self.mode.value().unwrap_or_else(|| MonitorMode::of_metric(name))))
    }
}
