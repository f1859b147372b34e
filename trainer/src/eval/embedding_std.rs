//! Standard deviation of normalized embeddings, which falls to zero as they collapse: for z' = z / |z| of each sample, the standard
//! deviation of each of the d channels over the samples, and its mean over the channels. Chen & He, "Exploring Simple
//! Siamese Representation Learning" (2021), section 4.1 and figure 2: rows of a Gaussian of mean 0 that is the same in all
//! directions have 1/sqrt(d). Departure: of the embedding that probes see and not of the projection, so that it means the same for
//! methods without one; behind a ReLU it is lower, since the rows share a mean.

use dtrain_comm::{Collective, CollectiveExt};
use tch::{Kind, Tensor};

use super::rows::unit_rows;
use super::{Embeddings, room};
use crate::error::TrainError;

/// Rows that are summed at once.
const TILE: i64 = 4096;

/// The mean over channels, by sums over all ranks; NaN of fewer than two samples.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(super) fn embedding_std(collective: &dyn Collective, part: &Embeddings) -> Result<f64, TrainError> {
    let width = part.embeddings.size().get(1).copied().unwrap_or(0);
    let zeros = || Tensor::f_zeros([width], (Kind::Double, tch::Device::Cpu)).map_err(room);
    let (mut sums, mut squares) = (zeros()?, zeros()?);
    let rows = part.ids.len() as i64;
    for first in (0..rows).step_by(TILE as usize) {
        let tile = part.embeddings.narrow(0, first, TILE.min(rows - first));
        let unit = unit_rows(&tile.f_to_kind(Kind::Double).map_err(room)?)?;
        sums += unit.f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Double).map_err(room)?;
        squares += unit.square().f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Double).map_err(room)?;
    }
    let mut all = Vec::<f64>::try_from(Tensor::f_cat(&[sums, squares], 0)?)?;
    all.push(rows as f64);
    collective.sum_f64(&mut all)?;
    let count = all.pop().unwrap_or(0.0);
    let (sums, squares) = all.split_at(all.len() / 2);
    // PyTorch's: the root of the unbiased variance.
    let of_channel =
        |(sum, square): (&f64, &f64)| ((square - sum * sum / count) / (count - 1.0)).max(0.0).sqrt();
    if count < 2.0 {
        return Ok(f64::NAN);
    }
    Ok(sums.iter().zip(squares).map(of_channel).sum::<f64>() / sums.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::super::rows::testing::{embeddings, on_ranks, plain_unit};
    use super::*;

    fn by_definition(all: &Embeddings) -> f64 {
        let rows = plain_unit(all);
        let (n, width) = (rows.len() as f64, rows[0].len());
        let of_channel = |channel: usize| {
            let mean = rows.iter().map(|row| row[channel]).sum::<f64>() / n;
            let squares: f64 = rows.iter().map(|row| (row[channel] - mean).powi(2)).sum();
            (squares / (n - 1.0)).sqrt()
        };
        (0..width).map(of_channel).sum::<f64>() / width as f64
    }

    #[test]
    fn equals_the_definition_on_any_number_of_ranks() {
        let all = embeddings(50, 7, 3);
        let expected = by_definition(&all);
        for shares in [vec![50], vec![20, 30], vec![1, 0, 49]] {
            for found in on_ranks(&all, &shares, |ranks, part| embedding_std(ranks, part).unwrap()) {
                assert!((found - expected).abs() < 1e-9, "{shares:?}: {found} and {expected}");
            }
        }
    }

    #[test]
    fn a_gaussian_is_at_one_over_the_root_of_the_width_and_a_point_at_zero() {
        tch::manual_seed(5);
        let ids: Vec<u32> = (0..4000).collect();
        let of = |rows: Tensor| {
            let part = Embeddings { embeddings: rows, ids: ids.clone(), left_out: Vec::new() };
            on_ranks(&part, &[4000], |ranks, part| embedding_std(ranks, part).unwrap())[0]
        };
        let gaussian = of(Tensor::randn([4000, 64], (Kind::Float, tch::Device::Cpu)));
        assert!((gaussian * 8.0 - 1.0).abs() < 0.02, "{gaussian}");
        // One direction, of different lengths.
        let point = of(Tensor::ones([4000, 64], (Kind::Float, tch::Device::Cpu))
            * Tensor::rand([4000, 1], (Kind::Float, tch::Device::Cpu)));
        assert!(point < 1e-6, "{point}");
    }

    #[test]
    fn fewer_than_two_samples_have_none() {
        for n in [0, 1] {
            let found = on_ranks(&embeddings(n, 4, 1), &[n as usize], |ranks, part| {
                embedding_std(ranks, part).unwrap()
            });
            assert!(found[0].is_nan());
        }
    }
}
