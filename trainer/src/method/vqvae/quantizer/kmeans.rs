//! k-means (Lloyd 1982), by which a codebook begins.

use dtrain_data::rng::{Purpose, stream};
use tch::{Kind, TchError, Tensor};

use super::nearest::{counts_and_sums, nearest};
use crate::method::statistics::draw_without_replacement;

/// What k-means found.
#[derive(Debug)]
pub struct Clusters {
    /// `[K, D]`, f64.
    pub means: Tensor,
    /// Rows of each, `[K]`, f64.
    pub counts: Tensor,
}

/// Clusters of `rows` from `num_clusters` of them, which the seed draws; a cluster that loses all its rows stays where it is.
/// Returns fewer clusters where there are fewer rows.
///
/// # Shapes
/// `rows` `[m, D]`.
///
/// # Errors
/// When memory runs out.
pub fn kmeans(rows: &Tensor, num_clusters: i64, iterations: usize, seed: u64) -> Result<Clusters, TchError> {
    let rows = rows.detach().f_to_kind(Kind::Double)?;
    let mut random = stream(seed, u64::from(u32::MAX), u32::MAX, 0, Purpose::Slots);
    let drawn = draw_without_replacement(&mut random, rows.size()[0], num_clusters);
    let num_clusters = drawn.len() as i64;
    let mut means = rows.f_index_select(0, &Tensor::f_from_slice(&drawn)?.f_to_device(rows.device())?)?;
    let mut round = 0;
    loop {
        let (counts, sums) = counts_and_sums(&rows, &nearest(&rows, &means)?, num_clusters)?;
        let has_rows = counts.f_gt(0.5)?.f_unsqueeze(1)?;
        let next = sums.f_div(&counts.f_clamp_min(1.0)?.f_unsqueeze(1)?)?.f_where_self(&has_rows, &means)?;
        round += 1;
        if round >= iterations {
            return Ok(Clusters { means: next, counts });
        }
        means = next;
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn heaps_are_found() {
        let noise = (Tensor::arange(180, (Kind::Double, Device::Cpu)) * 1.7).sin().view([90, 2]) * 0.1;
        let centres = Tensor::from_slice(&[0.0, 0.0, 4.0, 0.0, 0.0, 4.0]).view([3, 2]);
        let rows = centres.repeat([30, 1]) + noise;
        let Clusters { means, counts } = kmeans(&rows, 3, 20, 1).unwrap();
        assert_eq!(counts.sum(Kind::Double).double_value(&[]), 90.0);
        let distances =
            (means.unsqueeze(1) - centres.unsqueeze(0)).square().sum_dim_intlist(-1, false, None::<Kind>);
        assert!(distances.amin([0], false).max().double_value(&[]) < 0.01, "{means}");
    }

    #[test]
    fn fewer_rows_give_fewer_clusters_and_equal_ones_no_nan() {
        let rows = Tensor::ones([4, 3], (Kind::Double, Device::Cpu));
        let found = kmeans(&rows, 9, 5, 0).unwrap();
        assert_eq!(found.means.size(), [4, 3]);
        assert!(bool::try_from(found.means.isfinite().all()).unwrap());
        assert_eq!(found.counts.sum(Kind::Double).double_value(&[]), 4.0);
    }
}
