//! Alignment and uniformity on the unit sphere. Wang & Isola, "Understanding Contrastive Representation Learning through Alignment
//! and Uniformity on the Hypersphere" (2020), section 4.1, with the exponents of its code (alpha = 2, t = 2):
//!
//! - alignment, the mean of `|x - y|^2` over positive pairs: 0 where they coincide;
//! - uniformity, `ln(mean(exp(-2 |x - y|^2)))` over all pairs of different samples: 0 where all are one point, about -4 where they are
//!   spread over a sphere of many dimensions.
//!
//! Departures: positive pairs are two samples of one class of the target, since an evaluation sees each sample once and
//! without augmentation; data without that label have no alignment. All pairs of at most 2048 samples are taken.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_data::LabelColumn;
use tch::{Kind, Tensor};

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::rows::{spread_rows, unit_rows};
use super::{Embeddings, Evaluation, Thoroughness, names, room};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;

/// Samples that are compared with each other: their number squared pairs.
const MAX_ROWS: usize = 2048;
/// Rows that are compared with all others at once.
const TILE: i64 = 256;
/// What a sample without a label has for a class.
const NONE: i64 = -1;

/// Of the embeddings of each part.
pub(super) struct Uniformity<'a> {
    is_on: bool,
    target: Option<&'a LabelColumn>,
}

/// Both figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Found {
    /// NaN without a positive pair.
    alignment: f64,
    /// NaN of fewer than two samples.
    uniformity: f64,
}

impl<'a> Uniformity<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        Self {
            is_on: subject.config.embeddings,
            target: subject.dataset.label(subject.losses.columns.target),
        }
    }
}

impl Evaluator for Uniformity<'_> {
    fn metrics(&self, part: &str, _: Thoroughness) -> Vec<String> {
        if !self.is_on {
            return Vec::new();
        }
        let alignment = self.target.map(|_| names::ALIGNMENT);
        let own = alignment.into_iter().chain([names::UNIFORMITY]);
        own.map(|name| names::of_part(part, name)).collect()
    }

    fn asks(&self, role: Role, _: Thoroughness) -> Asks {
        Asks { embeddings: self.is_on && role == Role::Examined, ..Asks::default() }
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if !self.is_on {
            return Ok(Vec::new());
        }
        let class_of = |id: u32| {
            let of_sample = self.target.and_then(|label| label.of_sample.get(id as usize).copied().flatten());
            of_sample.map_or(NONE, i64::from)
        };
        let found = measure(&**read.engine.collective(), read.part, &class_of, MAX_ROWS)?;
        let mut add = |name: &str, value: f64| {
            evaluation.metrics.insert(names::of_part(&evaluation.part, name), value);
        };
        add(names::UNIFORMITY, found.uniformity);
        if self.target.is_some() {
            add(names::ALIGNMENT, found.alignment);
        }
        Ok(Vec::new())
    }
}

/// Each rank compares its own rows with those of all; every pair is met twice, once from each side.
fn measure(
    collective: &dyn Collective,
    part: &Embeddings,
    class_of: &dyn Fn(u32) -> i64,
    most: usize,
) -> Result<Found, TrainError> {
    let rows = spread_rows(collective, part, most)?;
    let own = unit_rows(&rows.embeddings)?;
    let classes: Vec<i64> = rows.ids.iter().map(|&id| class_of(id)).collect();
    let per_rank = collective.all_gather_usize(rows.ids.len())?;
    let all = gather_rows(collective, &own, &per_rank)?;
    let all_classes = Tensor::from_slice(&gather_i64(collective, &classes, &per_rank)?);
    let own_classes = Tensor::from_slice(&classes);
    let count: usize = per_rank.iter().sum();
    let first: usize = per_rank.iter().take(collective.world().rank).sum();
    let places = Tensor::arange(count as i64, (Kind::Int64, tch::Device::Cpu));
    let transposed = all.tr();
    // Potentials of all pairs, squared distances of the positive ones, and their number.
    let mut sums = [0.0; 3];
    let num_own = rows.ids.len() as i64;
    for begin in (0..num_own).step_by(TILE as usize) {
        let len = TILE.min(num_own - begin);
        let cosines = own.narrow(0, begin, len).f_matmul(&transposed).map_err(room)?;
        let squared = (cosines * -2.0 + 2.0).clamp_min(0.0);
        let own_places = (places.narrow(0, first as i64 + begin, len)).unsqueeze(1);
        let is_other = places.unsqueeze(0).ne_tensor(&own_places);
        let potentials = (&squared * -2.0).exp() * &is_other;
        let classes = own_classes.narrow(0, begin, len).unsqueeze(1);
        let is_positive = all_classes.unsqueeze(0).eq_tensor(&classes) * is_other * classes.ge(0);
        let own = [
            potentials.sum(Kind::Double),
            (squared * &is_positive).sum(Kind::Double),
            is_positive.sum(Kind::Double),
        ];
        sums.iter_mut().zip(own).for_each(|(sum, value)| *sum += value.double_value(&[]));
    }
    collective.sum_f64(&mut sums)?;
    let [potentials, distances, positives] = sums;
    let pairs = (count * count.saturating_sub(1)) as f64;
    Ok(Found { alignment: distances / positives, uniformity: (potentials / pairs).ln() })
}

#[cfg(test)]
mod tests {
    use super::super::rows::testing::{embeddings, on_ranks, plain_unit};
    use super::*;

    /// Every third sample has no label.
    fn class_of(id: u32) -> i64 {
        if id.is_multiple_of(3) { NONE } else { i64::from(id % 4) }
    }

    fn by_definition(all: &Embeddings) -> Found {
        let rows = plain_unit(all);
        let (mut potentials, mut distances) = (Vec::new(), Vec::new());
        for i in 0..rows.len() {
            for j in 0..i {
                let squared: f64 = rows[i].iter().zip(&rows[j]).map(|(x, y)| (x - y).powi(2)).sum();
                potentials.push((-2.0 * squared).exp());
                if class_of(all.ids[i]) >= 0 && class_of(all.ids[i]) == class_of(all.ids[j]) {
                    distances.push(squared);
                }
            }
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Found { alignment: mean(&distances), uniformity: mean(&potentials).ln() }
    }

    #[test]
    fn equals_the_definition_on_any_number_of_ranks() {
        // More rows than a tile.
        let all = embeddings(300, 5, 6);
        let expected = by_definition(&all);
        for shares in [vec![300], vec![120, 180], vec![299, 0, 1]] {
            for found in on_ranks(&all, &shares, |ranks, part| measure(ranks, part, &class_of, 1000).unwrap())
            {
                assert!((found.alignment - expected.alignment).abs() < 1e-9, "{shares:?}: {found:?}");
                assert!((found.uniformity - expected.uniformity).abs() < 1e-9, "{shares:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_point_is_at_zero_and_a_sphere_far_below() {
        let options = (Kind::Float, tch::Device::Cpu);
        let of = |rows: Tensor| {
            let n = rows.size()[0];
            let part = Embeddings { embeddings: rows, ids: (0..n as u32).collect(), left_out: Vec::new() };
            on_ranks(&part, &[n as usize], |ranks, part| measure(ranks, part, &|_| 0, 500).unwrap())[0]
        };
        let point = of(Tensor::ones([40, 8], options));
        assert!(point.uniformity.abs() < 1e-9 && point.alignment.abs() < 1e-9, "{point:?}");
        tch::manual_seed(1);
        let sphere = of(Tensor::randn([400, 256], options));
        assert!((sphere.uniformity + 4.0).abs() < 0.1, "{sphere:?}");
        assert!((sphere.alignment - 2.0).abs() < 0.1, "{sphere:?}");
        let none = of(Tensor::ones([1, 8], options));
        assert!(none.uniformity.is_nan() && none.alignment.is_nan(), "{none:?}");
    }
}
