//! The nearest code of each latent, tile by tile, so that memory depends on neither the latents nor the codes.

use tch::{Kind, TchError, Tensor};

use crate::torch_extra::Autocast;

/// Latents of a tile.
const ROWS: i64 = 512;
/// Codes of a tile.
const CODES: i64 = 1024;

/// Number of the entry nearest to each row, in the Euclidean sense; of entries as near as each other the first.
///
/// |z - e|^2 = |z|^2 - 2 z e + |e|^2, of which the first term decides nothing and is left out. In full precision also where the
/// network works in half of it: what is close must not become equal.
///
/// # Shapes
/// `rows` `[m, D]`, `entries` `[K, D]`, to `[m]` of i64; m may be 0.
///
/// # Errors
/// When memory runs out.
pub fn nearest(rows: &Tensor, entries: &Tensor) -> Result<Tensor, TchError> {
    let _full = Autocast::off(rows.device());
    let (rows, entries) = (rows.detach(), entries.detach());
    let (num_rows, num_codes) = (rows.size()[0], entries.size()[0]);
    // [K], and [D, K].
    let lengths = entries.f_square()?.f_sum_dim_intlist(1, false, None::<Kind>)?;
    let doubled = entries.f_mul_scalar(-2.0)?.f_tr()?;
    let tile_of_rows = |first: i64| {
        let tile = rows.f_narrow(0, first, ROWS.min(num_rows - first))?;
        let mut best: Option<(Tensor, Tensor)> = None;
        for first_code in (0..num_codes).step_by(CODES as usize) {
            let width = CODES.min(num_codes - first_code);
            let lengths = lengths.f_narrow(0, first_code, width)?;
            let distances = lengths.f_addmm(&tile, &doubled.f_narrow(1, first_code, width)?)?;
            let (least, at) = distances.f_min_dim(1, false)?;
            let at = at.f_add_scalar(first_code)?;
            best = Some(match best {
                None => (least, at),
                Some((known, known_at)) => {
                    let is_nearer = least.f_lt_tensor(&known)?;
                    (least.f_where_self(&is_nearer, &known)?, at.f_where_self(&is_nearer, &known_at)?)
                }
            });
        }
        best.map(|(_, at)| at).ok_or_else(|| TchError::Shape("a codebook without codes".into()))
    };
    let tiles = (0..num_rows).step_by(ROWS as usize).map(tile_of_rows).collect::<Result<Vec<_>, _>>()?;
    match tiles.is_empty() {
        true => Tensor::f_zeros([0], (Kind::Int64, rows.device())),
        false => Tensor::f_cat(&tiles, 0),
    }
}

/// Rows of each code, `[K]`, and their sums, `[K, D]`, both f64.
///
/// # Shapes
/// `rows` `[m, D]`, `codes` `[m]` in 0..`num_codes`; m may be 0.
///
/// # Errors
/// When memory runs out.
pub fn counts_and_sums(rows: &Tensor, codes: &Tensor, num_codes: i64) -> Result<(Tensor, Tensor), TchError> {
    let (kind, device) = (Kind::Double, rows.device());
    let counts = codes.f_bincount(None::<&Tensor>, num_codes)?.f_to_kind(kind)?;
    let rows = rows.detach();
    let width = rows.size()[1];
    let mut sums = Tensor::f_zeros([num_codes, width], (kind, device))?;
    if crate::torch_extra::works_as_cpu(device) {
        return Ok((counts, sums.f_index_add(0, codes, &rows.f_to_kind(kind)?)?));
    }
    // A GPU adds rows to an index in the order in which threads come; products have one order.
    let num_rows = rows.size()[0];
    for first in (0..num_rows).step_by(ROWS as usize) {
        let len = ROWS.min(num_rows - first);
        let chosen = codes.f_narrow(0, first, len)?.f_one_hot(num_codes)?.f_to_kind(kind)?;
        sums = sums.f_add(&chosen.f_tr()?.f_mm(&rows.f_narrow(0, first, len)?.f_to_kind(kind)?)?)?;
    }
    Ok((counts, sums))
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::torch_extra::cuda_contract::as_on_cuda;

    fn wave(shape: [i64; 2], frequency: f64) -> Tensor {
        (Tensor::arange(shape[0] * shape[1], (Kind::Double, Device::Cpu)) * frequency).sin().view(shape)
    }

    /// Against all distances at once, at sizes around those of tiles.
    #[test]
    fn tiles_find_what_all_distances_say() {
        for (num_rows, num_codes, width) in
            [(0, 3, 2), (1, 1, 1), (511, 7, 3), (513, 1025, 4), (1030, 2050, 2)]
        {
            let (rows, entries) = (wave([num_rows, width], 0.731), wave([num_codes, width], 1.177));
            let all =
                (rows.unsqueeze(1) - entries.unsqueeze(0)).square().sum_dim_intlist(-1, false, None::<Kind>);
            let expected = match num_rows {
                0 => Vec::new(),
                _ => Vec::<i64>::try_from(all.argmin(1, false)).unwrap(),
            };
            let found = nearest(&rows, &entries).unwrap();
            assert_eq!(Vec::<i64>::try_from(&found).unwrap(), expected, "{num_rows} x {num_codes}");
            let on_cpu = counts_and_sums(&rows, &found, num_codes).unwrap();
            let on_gpu = as_on_cuda(|| counts_and_sums(&rows, &found, num_codes).unwrap());
            assert_eq!(on_cpu.0, on_gpu.0);
            assert!(on_cpu.1.allclose(&on_gpu.1, 1e-12, 1e-12, false));
            assert_eq!(on_cpu.0.sum(Kind::Double).double_value(&[]), num_rows as f64);
            let total = on_cpu.1.sum_dim_intlist(0, false, None::<Kind>);
            assert!(total.allclose(&rows.sum_dim_intlist(0, false, None::<Kind>), 1e-11, 1e-11, false));
        }
    }

    #[test]
    fn of_codes_as_near_as_each_other_the_first_is_chosen_also_in_another_tile() {
        let entries = Tensor::ones([2100, 2], (Kind::Float, Device::Cpu));
        let found = nearest(&Tensor::zeros([3, 2], (Kind::Float, Device::Cpu)), &entries).unwrap();
        assert!(Vec::<i64>::try_from(found).unwrap().iter().all(|&code| code < 1024));
    }
}
