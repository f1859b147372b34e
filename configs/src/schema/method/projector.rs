//! The heads between embedding and loss.

use serde::{Deserialize, Serialize};

use crate::checks::{Checks, MAX_DIM};

/// A multi-layer perceptron whose output the loss sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectorConfig {
    /// Width of the hidden layers of the projector.
    pub hidden_dim: usize,
    /// Width of the projection, in which similarities are measured.
    pub out_dim: usize,
    /// Linear layers of the projector; 1 has no hidden layer.
    pub num_layers: usize,
    /// Batch norm after each hidden layer.
    pub batch_norm: bool,
    /// Batch norm after the last layer too, without scale and shift, as SimSiam's projector has it.
    pub last_batch_norm: bool,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self { hidden_dim: 512, out_dim: 128, num_layers: 2, batch_norm: true, last_batch_norm: false }
    }
}

impl ProjectorConfig {
    /// Widths for proofs.
    pub(super) fn narrow(&self) -> Self {
        Self { hidden_dim: 64, out_dim: 32, ..self.clone() }
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        checks.count("method.projector.num_layers", self.num_layers as u64, 1, 16);
        checks.count("method.projector.hidden_dim", self.hidden_dim as u64, 1, MAX_DIM);
        checks.count("method.projector.out_dim", self.out_dim as u64, 1, MAX_DIM);
    }
}

/// What predicts one view's projection from another's: Linear, batch norm, ReLU, Linear, back to the width of a projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PredictorConfig {
    /// Width of the hidden layer of the predictor.
    pub hidden_dim: usize,
}

impl Default for PredictorConfig {
    fn default() -> Self {
        Self { hidden_dim: 512 }
    }
}

impl PredictorConfig {
    /// Widths for proofs.
    pub(super) fn narrow(&self) -> Self {
        Self { hidden_dim: 48 }
    }

    pub(super) fn check(&self, checks: &mut Checks) {
        checks.count("method.predictor.hidden_dim", self.hidden_dim as u64, 1, MAX_DIM);
    }
}
