//! Normalization layers, which all networks and their heads have alike.

use serde::{Deserialize, Serialize};

/// Normalization layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Batch norm: samples of a batch, or of a micro-batch, are normalized together.
    #[default]
    Batch,
    /// Group norm (Wu & He 2018): each sample by itself, so that micro-batches change nothing.
    Group,
    /// Batch norm whose running statistics are used and never learn, as for fine-tuning: micro-batches change nothing.
    Frozen,
}

/// Statistics that batch norm normalizes by in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BnStatistics {
    /// The running means of training, as in PyTorch: after t steps they still hold 0.9^t of their start.
    #[default]
    Running,
    /// Estimated anew before each evaluation, from training samples under the weights as they are (Wu & Johnson 2021).
    Precise,
}

impl BnStatistics {
    /// As in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Precise => "precise",
        }
    }
}
