//! When to save and what to keep.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Auto, MonitorMode};

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Optimizer steps between two checkpoints; `null` saves at the end of each epoch.
    pub every_steps: Option<u64>,
    /// Write while training goes on, from a copy in memory; `false` lets training wait until the files are durable.
    #[serde(rename = "async")]
    pub asynchronous: bool,
    /// Folder on a fast disk of rank 0's node, or in memory such as `/dev/shm`, for checkpoints between the durable ones.
    pub local_dir: Option<PathBuf>,
    /// Optimizer steps between two checkpoints in `local_dir`.
    pub local_every_steps: Option<u64>,
    /// Newest checkpoints that are kept, besides the best; at least 1.
    pub keep_last: usize,
    /// Metric that names the best checkpoint, such as `val/knn_top1`, or a sum of metrics with factors, such as
    /// `0.5*val/note_acc + val/class_acc`; the best is kept besides the newest, and a new best is saved as soon as it is
    /// measured. `auto` = what the method is judged by, `null` = no checkpoint is the best.
    pub monitor: Option<Auto<String>>,
    /// Whether more (`max`) or less (`min`) of `monitor` is better; `auto` goes by its name: less of a loss or an error.
    pub mode: Auto<MonitorMode>,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_steps: None,
            asynchronous: true,
            local_dir: None,
            local_every_steps: None,
            keep_last: 2,
            monitor: Some(Auto::Auto),
            mode: Auto::Auto,
        }
    }
}

impl CheckpointConfig {
    /// The metric that names the best checkpoint, and its direction; `None` where there is none, or it is not chosen yet.
    pub fn monitored(&self) -> Option<(&str, MonitorMode)> {
        let name = self.monitor.as_ref()?.chosen()?;
        Some((name, self.mode.value().unwrap_or_else(|| MonitorMode::of_metric(name))))
    }
}
