//! Batch, length, device and precision.

use serde::{Deserialize, Serialize};

use super::Auto;

/// How training runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainerConfig {
    /// Samples per optimizer step over all ranks and micro-batches.
    pub batch_size: usize,
    /// Samples per forward pass and rank; `auto` takes a rank's whole share at once where it fits `memory_bytes`, else
    /// the largest piece that does.
    pub micro_batch_size: Auto<usize>,
    /// Rows of a tile of a loss that compares all rows of the global batch: what is held at once, and nothing about the
    /// result; `auto` = 512 on a CPU, 4096 on a GPU, less where memory is short.
    pub loss_tile: Auto<usize>,
    /// Memory that a rank may take for weights, gradients, optimizer and one forward and backward pass, in bytes;
    /// `auto` = 80 % of what is free on its GPU, or of its part of what is free on its machine.
    pub memory_bytes: Auto<u64>,
    /// Passes over the training set. The run ends at whichever of `max_epochs` and `max_steps` comes first.
    pub max_epochs: Option<u64>,
    /// Optimizer steps of the run; `null` = as many as `max_epochs` gives.
    pub max_steps: Option<u64>,
    /// Train on this many samples only, spread evenly over the training part.
    pub limit_train_samples: Option<usize>,
    /// Evaluate on at most this many samples of a part, spread evenly.
    pub limit_eval_samples: Option<usize>,
    /// Choose by and report on the samples that are trained on: a network that cannot learn a few by heart has a bug.
    pub overfit: bool,
    /// Where the network lives and computes.
    pub device: DeviceChoice,
    /// Arithmetic of forward and backward; weights, losses, norms and statistics stay in 32 bits. `fp64` is for proofs.
    pub precision: Precision,
    /// Let GPUs round the factors of fp32 matrix products to TF32 (10 bits of mantissa).
    pub tf32: bool,
    /// Largest gradient norm; larger gradients are scaled down to it.
    pub grad_clip: Option<f64>,
    /// The norm that `grad_clip` limits.
    pub grad_clip_norm: ClipNorm,
    /// Batch-norm statistics over all ranks; `auto` = true when there is more than one rank.
    pub sync_bn: Auto<bool>,
    /// Gradients are summed over ranks in buckets of at most this many bytes.
    pub bucket_bytes: usize,
    /// Size of the first bucket, which is small so that little is left to send when backward ends.
    pub first_bucket_bytes: usize,
    /// Sum a bucket while backward goes on; `auto` = not between CPU ranks of one host, where both want the same cores.
    pub overlap: Auto<bool>,
    /// Keep each rank's part of the optimizer state on that rank alone (ZeRO stage 1).
    pub shard_optimizer: bool,
    /// Compare weights, moments and buffers of all ranks every so many steps; 0 = never.
    pub replica_check_steps: u64,
    /// Steps in a row whose loss or gradient is not finite that end the run.
    pub max_nonfinite_steps: u64,
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
            loss_tile: Auto::Auto,
            memory_bytes: Auto::Auto,
            max_epochs: Some(20),
            max_steps: None,
            limit_train_samples: None,
            limit_eval_samples: None,
            overfit: false,
            device: DeviceChoice::Auto,
            precision: Precision::Auto,
            tf32: true,
            grad_clip: None,
            grad_clip_norm: ClipNorm::Global,
            sync_bn: Auto::Auto,
            bucket_bytes: 25 << 20,
            first_bucket_bytes: 1 << 20,
            overlap: Auto::Auto,
            shard_optimizer: false,
            replica_check_steps: 100,
            max_nonfinite_steps: 10,
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
    /// One GPU per rank where there are enough of them, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// One GPU per rank.
    Cuda,
}

/// Arithmetic of forward and backward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The fastest that the machine has, and the program says why.
    #[default]
    Auto,
    /// 32-bit floats.
    Fp32,
    /// Convolutions and matrix products in bfloat16 (8 bits of mantissa, the range of fp32).
    Bf16,
    /// Convolutions and matrix products in 16-bit floats, with a loss scale; GPUs only.
    Fp16,
    /// 64-bit floats: slow, for proofs of equivalence.
    Fp64,
}

/// What gradient clipping takes the norm of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipNorm {
    /// All gradients together, as `torch.nn.utils.clip_grad_norm_`.
    #[default]
    Global,
    /// Those of each parameter by themselves, as DINO's official code.
    Parameter,
}
