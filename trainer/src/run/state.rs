//! Everything besides tensors that a run needs to go on exactly: one struct, saved with every checkpoint.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Resolved;
use crate::coordinator::CoordinatorState;
use crate::torch_extra::LossScale;

/// The loop's state. The position in the data is `coordinator.step`: batches are a pure function of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoopState {
    /// Step, evaluations, best metric.
    pub coordinator: CoordinatorState,
    /// Seconds of training so far.
    pub wall_secs: f64,
    /// Samples that could not be read; they stay out for the rest of the run.
    pub dropped: Vec<DroppedSample>,
    /// Last value of every metric.
    pub metrics: BTreeMap<String, f64>,
    /// Fingerprint of names, sizes and labels of the data.
    pub data_fingerprint: u64,
    /// Automatic choices, made once.
    pub resolved: Resolved,
    /// Ranks that wrote the checkpoint.
    pub world_size: usize,
    /// Optimizer steps per parameter, in registration order; equal unless parameters were frozen or unused.
    pub optimizer_steps: Vec<u64>,
    /// Loss scale of 16-bit floats.
    pub loss_scale: Option<LossScale>,
    /// Whether the last step was finite, where rank 0 has not heard it yet.
    pub unreported_finite: Option<bool>,
}

/// A sample that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedSample {
    /// Its id in the data set.
    pub id: u32,
    /// Step at which it was to be used.
    pub step: u64,
    /// Why.
    pub reason: String,
}
