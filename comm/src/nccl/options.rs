//! How NCCL is to be used.

use std::time::Duration;

/// Where tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// In the memory of the GPU. A wait is one of the compute stream.
    Device,
    /// In host memory, which only the stand-in for tests can reach. A wait blocks the host.
    Host,
}

/// How to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NcclOptions {
    /// Index of this rank's GPU among those that the process sees.
    pub device: usize,
    /// Where the tensors are.
    pub memory: MemoryKind,
    /// How long an operation may take once this rank is ready for it.
    pub timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Whether NCCL's calls return only when the operation is on the stream. Otherwise NCCL starts a thread for each call,
    /// and the host waits for that thread. The environment's `NCCL_COMM_BLOCKING` goes first.
    pub blocking: bool,
    /// Bytes of the largest operation that is expected: connections for all up to that size are made at the start.
    pub largest_bytes: usize,
}
