//! Which operations there are on tensors' memory, and what carries them.

use crate::buffer::Buffer;
use crate::collective::{Collective, ReduceOp, check_parts, check_reduce_scatter, check_root};
use crate::error::CommError;
use crate::world::World;

/// An operation on tensors' memory, in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorOp {
    /// As [`Collective::all_reduce`].
    AllReduce(ReduceOp),
    /// Sums as [`Collective::reduce_scatter`]: `buffer.len()` is a multiple of the world size; afterwards rank r's r-th
    /// equal part holds the sum, and the other parts are undefined.
    ReduceScatter,
    /// As [`Collective::all_gather_in_place`]: rank r brings the elements of part r; all end with all parts.
    AllGather {
        /// Elements of each rank's part; the parts lie one after the other.
        counts: Vec<usize>,
    },
    /// Copies the buffer of rank `root` to all others.
    Broadcast {
        /// The rank whose values all ranks end with.
        root: usize,
    },
}

impl TensorOp {
    /// The name for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::AllReduce(_) => "all_reduce",
            Self::ReduceScatter => "reduce_scatter",
            Self::AllGather { .. } => "all_gather",
            Self::Broadcast { .. } => "broadcast",
        }
    }

    /// Checks the operation against a buffer of `len` elements.
    ///
    /// # Errors
    /// [`CommError::Argument`] with the numbers that do not fit.
    pub(crate) fn check(&self, world: &World, len: usize) -> Result<(), CommError> {
        match self {
            Self::AllReduce(_) => Ok(()),
            Self::ReduceScatter => check_reduce_scatter(world, len),
            Self::AllGather { counts } => check_parts(world, len, counts),
            Self::Broadcast { root } => check_root(world, *root),
        }
    }

    /// Runs the operation on host memory and returns when it is complete.
    ///
    /// # Errors
    /// What `collective` reports.
    pub(crate) fn run(&self, collective: &dyn Collective, mut buffer: Buffer<'_>) -> Result<(), CommError> {
        match self {
            Self::AllReduce(op) => collective.all_reduce(buffer, *op),
            Self::ReduceScatter => collective.reduce_scatter(buffer, ReduceOp::Sum),
            Self::AllGather { counts } => collective.all_gather_in_place(buffer, counts),
            Self::Broadcast { root } => collective.broadcast(buffer.bytes_mut(), *root),
        }
    }
}

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
