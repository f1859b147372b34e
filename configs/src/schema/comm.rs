//! How ranks talk to each other.

use serde::{Deserialize, Serialize};

/// Transport of tensors and limits of waiting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommConfig {
    /// What gradients, embeddings and statistics travel over; control messages always take MPI.
    pub backend: CommBackend,
    /// Seconds that a collective may wait for another rank before the job ends with the reason.
    pub timeout_secs: f64,
}

impl Default for CommConfig {
    fn default() -> Self {
        Self { backend: CommBackend::Auto, timeout_secs: 600.0 }
    }
}

/// Transports of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CommBackend {
    /// NCCL between GPUs, MPI between CPUs.
    #[default]
    Auto,
    /// MPI; tensors on a GPU pass through host memory.
    Mpi,
    /// NCCL.
    Nccl,
}
