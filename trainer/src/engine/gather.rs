//! Where ranks meet over tensors: flat gradients are summed in buckets, rows of embeddings are gathered.

use std::ops::Range;

use dtrain_comm::{Buffer, Collective, ElementKind, ReduceOp};
use tch::{Kind, Tensor};

use crate::error::TrainError;

/// Sums `flat` (one-dimensional, contiguous, on the CPU) over all ranks, bucket by bucket. The partition decides about
/// the order of summation, so it is the same on all ranks and in every step.
pub fn sum_in_buckets(
    collective: &dyn Collective,
    flat: &Tensor,
    buckets: &[Range<usize>],
) -> Result<(), TrainError> {
    if collective.world().world_size == 1 {
        return Ok(());
    }
    for bucket in buckets {
        let view = flat.narrow(0, bucket.start as i64, bucket.len() as i64);
        collective.all_reduce(buffer_of(&view), ReduceOp::Sum)?;
    }
    Ok(())
}

/// Rows of all ranks in rank order: `[sum(rows_per_rank), D]` from this rank's `[rows_per_rank[rank], D]`.
pub fn gather_rows(
    collective: &dyn Collective,
    rows: &Tensor,
    rows_per_rank: &[usize],
) -> Result<Tensor, TrainError> {
    let rows = rows.detach().contiguous();
    if collective.world().world_size == 1 {
        return Ok(rows);
    }
    let width: i64 = rows.size().iter().skip(1).product();
    let mut shape = rows.size();
    if let Some(first) = shape.first_mut() {
        *first = rows_per_rank.iter().sum::<usize>() as i64;
    }
    let row_bytes = width as usize * rows.kind().elt_size_in_bytes();
    let counts: Vec<usize> = rows_per_rank.iter().map(|n| n * row_bytes).collect();
    let mut all = Tensor::zeros(&shape, (rows.kind(), rows.device()));
    collective.all_gather(bytes_of(&rows), &counts, bytes_of_mut(&mut all))?;
    Ok(all)
}

/// Values of all ranks in rank order.
pub fn gather_i64(
    collective: &dyn Collective,
    values: &[i64],
    per_rank: &[usize],
) -> Result<Vec<i64>, TrainError> {
    let rows = gather_rows(collective, &Tensor::from_slice(values), per_rank)?;
    Ok(Vec::<i64>::try_from(rows)?)
}

/// The elements of a contiguous CPU tensor as a buffer for a collective.
fn buffer_of(view: &Tensor) -> Buffer<'_> {
    let kind = if view.kind() == Kind::Double { ElementKind::F64 } else { ElementKind::F32 };
    // SAFETY: the view is a contiguous CPU tensor of that kind, alive for the lifetime of the buffer, and nothing else
    // touches its elements while a collective works on them.
    unsafe { Buffer::from_raw(view.data_ptr().cast::<u8>(), view.numel(), kind) }
}

/// The bytes of a contiguous CPU tensor.
pub fn bytes_of(tensor: &Tensor) -> &[u8] {
    let len = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if len == 0 {
        return &[];
    }
    // SAFETY: a contiguous CPU tensor holds `len` bytes at its data pointer, for as long as it is borrowed.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), len) }
}

/// The bytes of a contiguous CPU tensor, to be written.
fn bytes_of_mut(tensor: &mut Tensor) -> &mut [u8] {
    let len = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if len == 0 {
        return &mut [];
    }
    // SAFETY: as above; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), len) }
}
