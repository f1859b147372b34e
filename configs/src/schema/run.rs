//! Where a run lives, and what it writes about itself.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The run directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunDirConfig {
    /// Folder that holds runs; a run is put into `<root>/<experiment>/<date_time>`.
    pub root: PathBuf,
    /// Exactly this folder instead.
    pub dir: Option<PathBuf>,
    /// What happens when `run.dir` already holds a run.
    pub resume: ResumeMode,
}

impl Default for RunDirConfig {
    fn default() -> Self {
        Self { root: PathBuf::from("runs"), dir: None, resume: ResumeMode::Auto }
    }
}

/// Whether a run directory that exists is continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResumeMode {
    /// Continue when the directory holds the same experiment, refuse otherwise.
    #[default]
    Auto,
    /// Always refuse a directory that holds a run.
    Never,
}

/// Logs and metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackConfig {
    /// Steps between two lines of training metrics.
    pub every_steps: u64,
    /// Write TensorBoard events to `tb/`.
    pub tensorboard: bool,
    /// Picture the first batch's views in TensorBoard.
    pub first_batch_images: bool,
}

impl Default for TrackConfig {
    fn default() -> Self {
        Self { every_steps: 10, tensorboard: true, first_batch_images: true }
    }
}
