//! What carries bytes between ranks.

/// What carries bytes between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Nothing: there is one rank.
    Single,
    /// Memory of one process, whose threads are the ranks.
    Threads,
    /// MPI, from host memory.
    Mpi,
    /// NCCL, from device memory.
    Nccl,
}

impl Backend {
    /// The name in settings and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Threads => "threads",
            Self::Mpi => "mpi",
            Self::Nccl => "nccl",
        }
    }
}
