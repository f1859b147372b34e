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
    /// Seconds that the GPUs may take to connect over NCCL, once at the start.
    pub connect_timeout_secs: f64,
    /// Whether NCCL's calls return only when the operation is on the GPU's stream, as PyTorch has it. With `false` NCCL
    /// starts a thread for each call and the host waits for it; a hanging call can then be aborted without risk.
    pub nccl_blocking: bool,
    /// Network interface of rank 0's node over which nodes tell each other what their ranks do; `null` takes the
    /// addresses under which the nodes reach rank 0, `0.0.0.0` listens on all.
    pub interface: Option<String>,
}

impl Default for CommConfig {
    fn default() -> Self {
        Self {
            backend: CommBackend::Auto,
            timeout_secs: 600.0,
            slow_work_timeout_secs: 3600.0,
            connect_timeout_secs: 600.0,
            nccl_blocking: true,
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
