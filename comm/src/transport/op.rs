//! Which operations there are on tensors' memory.

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

/// Bytes for which a launch of its own is worth while: about what a link carries in the 10 us that one takes at least.
const LAUNCH_BYTES: usize = 256 << 10;

/// The length of every part if an all-gather of parts of `counts` elements had better be one of equal parts, of which the
/// receivers cut what is too much; `None` where the parts are equal already, or where more is lost than won. Unequal parts
/// take NCCL a broadcast for each rank that brings something.
#[must_use]
pub fn padded_part(counts: &[usize], element_bytes: usize) -> Option<usize> {
    let largest = counts.iter().copied().max()?;
    let lost: usize = counts
        .iter()
        .map(|count| (largest - count).saturating_mul(element_bytes))
        .fold(0, usize::saturating_add);
    let calls = counts.iter().filter(|&&count| count > 0).count();
    (lost > 0 && calls > 1 && lost <= (calls - 1) * LAUNCH_BYTES).then_some(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_padded_where_that_costs_less_than_the_calls() {
        assert_eq!(padded_part(&[3, 3, 3], 4), None, "equal");
        assert_eq!(padded_part(&[3, 2, 3], 4), Some(3));
        assert_eq!(padded_part(&[0, 2, 0, 1], 4), Some(2));
        assert_eq!(padded_part(&[0, 0], 4), None);
        assert_eq!(padded_part(&[5, 0, 0], 4), None, "one broadcast");
        assert_eq!(padded_part(&[1 << 20, 1], 4), None, "4 MiB for one call");
        assert_eq!(padded_part(&[1 << 16, 1, 1 << 16], 4), Some(1 << 16));
        assert_eq!(padded_part(&[], 4), None);
        assert_eq!(padded_part(&[usize::MAX, 1], 8), None);
    }
}
