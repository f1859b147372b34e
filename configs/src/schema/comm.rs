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
    /// Seconds that the ranks may wait for one that is at work which may take long: saving, evaluating, generating or
    /// reading data. At least `timeout_secs`.
    pub slow_work_timeout_secs: f64,
    /// Network interface of rank 0's node over which nodes tell each other what their ranks do; `null` chooses.
    pub interface: Option<String>,
}

impl Default for CommConfig {
    fn default() -> Self {
        Self {
            backend: CommBackend::Auto,
            timeout_secs: 600.0,
            slow_work_timeout_secs: 3600.0,
            interface: None,
        }
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
