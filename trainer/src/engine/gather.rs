//! Host tensors as bytes, and rows of all ranks of them, for evaluation.

use dtrain_comm::Collective;
use tch::Tensor;

use crate::error::TrainError;
use crate::state::bytes_of;

/// Rows of all ranks in rank order: `[sum(rows_per_rank), D]` from this rank's `[rows_per_rank[rank], D]`, on the CPU.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
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
    let mut all = Tensor::f_zeros(&shape, (rows.kind(), rows.device()))?;
    collective.all_gather(bytes_of(&rows), &counts, bytes_of_mut(&mut all))?;
    Ok(all)
}

/// Values of all ranks in rank order.
///
/// # Errors
/// When the ranks cannot talk.
pub fn gather_i64(
    collective: &dyn Collective,
    values: &[i64],
    per_rank: &[usize],
) -> Result<Vec<i64>, TrainError> {
    let rows = gather_rows(collective, &Tensor::from_slice(values), per_rank)?;
    Ok(Vec::<i64>::try_from(rows)?)
}

/// The bytes of a contiguous CPU tensor, to be written.
fn bytes_of_mut(tensor: &mut Tensor) -> &mut [u8] {
    let len = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if len == 0 {
        return &mut [];
    }
    // SAFETY: a contiguous CPU tensor holds `len` bytes at its data pointer; the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), len) }
}
