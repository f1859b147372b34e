//! The few operations that everything between ranks is made of.

use std::sync::Arc;

use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::error::CommError;
use crate::heartbeat::Heartbeat;
use crate::world::World;

/// How the elements of different ranks are combined.
///
/// For floats, `Max` and `Min` of a NaN and a number may be either, depending on the ranks: a flag that says whether
/// something is not finite travels as a number of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReduceOp {
    /// Sum; integers wrap around.
    Sum,
    /// Largest.
    Max,
    /// Smallest.
    Min,
}

/// Operations that all ranks call together, in the same order, with arguments that fit.
///
/// Every call blocks until this rank's part is complete. Calls may come from any thread, one at a time; it is the
/// caller who keeps their order the same on all ranks. An error leaves the contents of the buffers undefined.
pub trait Collective: Send + Sync + std::fmt::Debug {
    /// The ranks that take part.
    fn world(&self) -> &World;

    /// What carries the bytes.
    fn backend(&self) -> Backend;

    /// Where this rank notes what it is doing.
    fn heartbeat(&self) -> &Heartbeat;

    /// Combines the buffers of all ranks element by element; every rank ends with the result, the same bits on each.
    ///
    /// Length, element type and `op` are the same on all ranks. The order of summation depends on the length, the
    /// number of ranks and the transport only, so that a repeated run gives the same bits. Without elements nothing is sent.
    ///
    /// # Errors
    /// What the transport reports.
    fn all_reduce(&self, buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError>;

    /// Every rank gives `send`; every rank receives all of them in `recv`, in the order of ranks.
    ///
    /// `counts[r]` bytes come from rank `r`; `counts` is the same on all ranks. Counts of zero are fine.
    ///
    /// # Errors
    /// [`CommError::Argument`] when the lengths do not fit; what the transport reports.
    fn all_gather(&self, send: &[u8], counts: &[usize], recv: &mut [u8]) -> Result<(), CommError>;

    /// Combines the buffers of all ranks element by element; rank r's r-th of `world_size` equal parts ends with the
    /// result, and the other parts are undefined.
    ///
    /// Length, element type and `op` are the same on all ranks. The order of summation depends on the length, the
    /// number of ranks and the transport only; it may differ from that of [`Collective::all_reduce`].
    ///
    /// # Errors
    /// [`CommError::Argument`] when the length is no multiple of the number of ranks; what the transport reports.
    fn reduce_scatter(&self, buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError>;

    /// Rank r brings the elements of part r of `buffer`; all ranks end with all parts.
    ///
    /// `counts[r]` elements belong to rank r, and the parts lie one after the other; `counts` and the element type are
    /// the same on all ranks. Counts of zero are fine.
    ///
    /// # Errors
    /// [`CommError::Argument`] when the counts do not add up to the length; what the transport reports.
    fn all_gather_in_place(&self, buffer: Buffer<'_>, counts: &[usize]) -> Result<(), CommError>;

    /// Copies `buffer` of rank `root` to all others. The length is the same on all ranks.
    ///
    /// # Errors
    /// [`CommError::Argument`] when there is no rank `root`; what the transport reports.
    fn broadcast(&self, buffer: &mut [u8], root: usize) -> Result<(), CommError>;

    /// Returns once all ranks have called it.
    ///
    /// # Errors
    /// What the transport reports.
    fn barrier(&self) -> Result<(), CommError>;

    /// Operations between the same ranks that never mix with these, for another thread; all ranks call it.
    ///
    /// # Errors
    /// What the transport reports.
    fn another(&self) -> Result<Arc<dyn Collective>, CommError>;
}

/// Checks the arguments of an all-gather against each other.
///
/// # Errors
/// [`CommError::Argument`] with the two numbers that differ.
pub(crate) fn check_all_gather(
    world: &World,
    send: usize,
    counts: &[usize],
    recv: usize,
) -> Result<(), CommError> {
    check_counts(world, counts)?;
    let own = counts.get(world.rank).copied().unwrap_or_default();
    if send != own {
        let problem = format!("sends {send} bytes, but `counts` says {own}");
        return Err(CommError::argument("all_gather", world, problem));
    }
    check_total(world, counts, recv, "bytes")
}

fn check_counts(world: &World, counts: &[usize]) -> Result<(), CommError> {
    if counts.len() == world.world_size {
        return Ok(());
    }
    let problem = format!("{} counts for {} ranks", counts.len(), world.world_size);
    Err(CommError::argument("all_gather", world, problem))
}

fn check_total(world: &World, counts: &[usize], recv: usize, unit: &str) -> Result<(), CommError> {
    let fail = |problem: String| Err(CommError::argument("all_gather", world, problem));
    let total = counts.iter().try_fold(0_usize, |sum, &count| sum.checked_add(count));
    match total {
        Some(total) if total == recv => Ok(()),
        Some(total) => fail(format!("receives {recv} {unit}, but `counts` adds up to {total}")),
        None => fail("`counts` adds up to more than memory can hold".to_owned()),
    }
}

/// Checks the arguments of an all-gather in place against each other.
///
/// # Errors
/// [`CommError::Argument`] with the two numbers that differ.
pub(crate) fn check_parts(world: &World, len: usize, counts: &[usize]) -> Result<(), CommError> {
    check_counts(world, counts)?;
    check_total(world, counts, len, "elements")
}

/// Checks that `len` elements can be cut into equal parts.
///
/// # Errors
/// [`CommError::Argument`] otherwise.
pub(crate) fn check_reduce_scatter(world: &World, len: usize) -> Result<(), CommError> {
    if len.is_multiple_of(world.world_size.max(1)) {
        return Ok(());
    }
    let problem = format!("{len} elements cannot be cut into {} equal parts", world.world_size);
    Err(CommError::argument("reduce_scatter", world, problem))
}

/// The bytes of part `rank` of parts of the given lengths, in bytes, that lie one after the other.
pub(crate) fn part_range(counts: &[usize], rank: usize) -> std::ops::Range<usize> {
    let start = counts.iter().take(rank).sum();
    start..start + counts.get(rank).copied().unwrap_or_default()
}

/// Checks that `root` is a rank.
///
/// # Errors
/// [`CommError::Argument`] otherwise.
pub(crate) fn check_root(world: &World, root: usize) -> Result<(), CommError> {
    if root < world.world_size {
        return Ok(());
    }
    Err(CommError::argument("broadcast", world, format!("there is no rank {root} to broadcast from")))
}
