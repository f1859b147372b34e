//! Batch, length, device and precision.

use serde::{Deserialize, Serialize};

use super::Auto;

/// How training runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Samples per optimizer step over all ranks and micro-batches.
    pub batch_size: usize,
    /// Samples per forward pass and rank; `auto` takes a rank's whole share at once.
    pub micro_batch_size: Auto<usize>,
    /// Passes over the training set. The run ends at whichever of `max_epochs` and `max_steps` comes first.
    pub max_epochs: Option<u64>,
    /// Optimizer steps.
    pub max_steps: Option<u64>,
    /// Where tensors live.
    pub device: DeviceChoice,
    /// Arithmetic of forward and backward; `fp64` is for proofs.
    pub precision: Precision,
    /// Largest global gradient norm; larger gradients are scaled down to it.
    pub grad_clip: Option<f64>,
    /// Batch-norm statistics over all ranks; `auto` = true when there is more than one rank.
    pub sync_bn: Auto<bool>,
    /// Same bits on every run with the same world, threads, CPU type and build. Training on a CPU always is; the
    /// setting is for devices where it costs speed.
    pub deterministic: bool,
    /// CPU threads of a rank; `auto` = cores that the rank may use / local ranks.
    pub threads: Auto<usize>,
    /// Threads that prepare batches; `auto` = as many as `threads`.
    pub loader_threads: Auto<usize>,
    /// Batches prepared ahead of the step that uses them.
    pub prefetch_batches: usize,
    /// Memory for prepared batches per rank, in bytes.
    pub prefetch_bytes: u64,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            batch_size: 128,
            micro_batch_size: Auto::Auto,
            max_epochs: Some(20),
            max_steps: None,
            device: DeviceChoice::Auto,
            precision: Precision::Auto,
            grad_clip: None,
            sync_bn: Auto::Auto,
            deterministic: true,
            threads: Auto::Auto,
            loader_threads: Auto::Auto,
            prefetch_batches: 2,
            prefetch_bytes: 512 << 20,
        }
    }
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceChoice {
    /// The CPU; a GPU where one is usable.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
}

/// Arithmetic of forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The program chooses and says why.
    #[default]
    Auto,
    /// 32-bit floats.
    Fp32,
    /// 64-bit floats: slow, for proofs of equivalence.
    Fp64,
}
