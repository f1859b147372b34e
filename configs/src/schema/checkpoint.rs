//! When to save and what to keep.

use serde::{Deserialize, Serialize};

/// Checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Optimizer steps between two checkpoints; `null` saves at the end of each epoch.
    pub every_steps: Option<u64>,
    /// Newest checkpoints that are kept, besides the best; at least 1.
    pub keep_last: usize,
    /// Metric that names the best checkpoint, such as `val/knn_top1`.
    pub monitor: Option<String>,
    /// Whether more of `monitor` is better.
    pub mode: MonitorMode,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: None, keep_last: 2, monitor: None, mode: MonitorMode::Max }
    }
}

/// Direction of a monitored metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MonitorMode {
    /// Larger is better.
    #[default]
    Max,
    /// Smaller is better.
    Min,
}
