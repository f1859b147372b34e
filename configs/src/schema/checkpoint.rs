//! When to save and what to keep.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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
    /// Metric that names the best checkpoint, such as `val/knn_top1`.
    pub monitor: Option<String>,
    /// Whether more of `monitor` is better.
    pub mode: MonitorMode,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every_steps: None,
            asynchronous: true,
            local_dir: None,
            local_every_steps: None,
            keep_last: 2,
            monitor: None,
            mode: MonitorMode::Max,
        }
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
