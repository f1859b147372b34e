//! The losses of one head, whose classes may be steps of a scale: a class k then has a value v_k in the units of a
//! parameter, such as Hz. With probabilities p = softmax(scores), target class c, and values centred and divided by
//! their range, `u_k = (v_k - (max + min) / 2) / (max - min)`, from -1/2 to 1/2:
//!
//! | loss | of one sample |
//! |---|---|
//! | `cross_entropy` | `-log p_c`, smoothed |
//! | `ordinal_regression` | `abs(sum_k p_k u_k - u_c) + cross_entropy_weight (-log p_c)` |
//! | `quantized_regression` | `(score - u_c)^2` |
//! | `distance_weighted` | `-log p_c + sum_(k != c) (1 + abs(u_k - u_c)^distance_power) p_k` |
//! | `soft_targets` | `-sum_k t_k log p_k`, t_k in proportion to `exp(-(k - c)^2 / (2 target_width^2))` |
//!
//! The last four are those of lightning-hydra-template-extended (`src/models/losses.py`, `soft_target_loss.py`), with
//! departures named in their files. All of them share one: distances are shares of the range, where the original has
//! the parameter's units or classes. A loss that is in Hz for one head and in seconds for the next, or that grows with
//! the square of the number of classes, would need weights found anew for every data set.
//!
//! Every loss is a sum over labelled samples divided by the number of labelled samples of the whole batch over all
//! ranks and micro-batches, as in [`super::cross_entropy`], in fp32 at least. Nothing waits for the device.

mod distance;
mod ordinal;
mod predict;
mod regression;
mod scale;
mod soft;

use dtrain_configs::schema::{HeadLoss, HeadSettings};
use tch::{Kind, Tensor};

pub use predict::{predicted_classes, predicted_values, probabilities};
pub use scale::HeadScale;

use super::cross_entropy::{NO_LABEL, cross_entropy};
use super::widened;
use scale::Shares;

/// Scores of a sample.
pub fn num_outputs(loss: HeadLoss, num_classes: i64) -> i64 {
    match loss {
        HeadLoss::QuantizedRegression => 1,
        _ => num_classes,
    }
}

/// This rank's share of a head's loss: the sum over its labelled samples, divided by `global_count`, the number of
/// labelled samples of the whole batch. With no labelled sample anywhere it is 0.
///
/// # Shapes
/// With K >= 1 classes: `scores` is `[n, K]`, or `[n, 1]` for `quantized_regression`, n >= 0; `classes` `[n]` of i64 in
/// 0..K or [`NO_LABEL`], on the device of the scores; `values` `[K]`, the classes' values in units, or 0, 1 .. K - 1
/// where they have none, on any device (on that of the scores nothing is copied). The result is 0-dimensional and
/// carries the graph.
pub fn head_loss(
    settings: &HeadSettings,
    scores: &Tensor,
    classes: &Tensor,
    values: &Tensor,
    global_count: u64,
) -> Tensor {
    let labelled = classes.not_equal(NO_LABEL);
    // Without scores a sample has no gradient, were its own not even numbers.
    let scores = widened(scores).where_scalarother(&labelled.unsqueeze(1), 0.0);
    let mean = |losses: Tensor| losses.sum(None::<Kind>) / global_count.max(1) as f64;
    let nll = |smoothing: f64| cross_entropy(&scores, classes, global_count, smoothing);
    let samples = || {
        let shares = Shares::of(values).centred.to_kind(scores.kind()).to_device(scores.device());
        Samples { scores: scores.shallow_clone(), targets: classes.clamp_min(0), labelled, shares }
    };
    match settings.loss {
        HeadLoss::CrossEntropy => nll(settings.label_smoothing),
        HeadLoss::OrdinalRegression => {
            mean(ordinal::distances(&samples())) + nll(0.0) * settings.cross_entropy_weight
        }
        HeadLoss::QuantizedRegression => mean(regression::squared_errors(&samples())),
        HeadLoss::DistanceWeighted => {
            nll(0.0) + mean(distance::penalties(&samples(), settings.distance_power))
        }
        HeadLoss::SoftTargets => mean(soft::cross_entropies(&samples(), settings.target_width)),
    }
}

/// The samples of a head for losses that know no [`NO_LABEL`].
struct Samples {
    /// `[n, K]`, or `[n, 1]`; 0 where there is no label.
    scores: Tensor,
    /// `[n]`; class 0 where there is no label.
    targets: Tensor,
    /// `[n]`, bool.
    labelled: Tensor,
    /// `[K]`, in the scores' kind.
    shares: Tensor,
}

impl Samples {
    /// u_c of each sample, `[n]`.
    fn target_shares(&self) -> Tensor {
        self.shares.index_select(0, &self.targets)
    }

    /// `losses` `[n]` without those of samples that have no label.
    fn of_labelled(&self, losses: &Tensor) -> Tensor {
        losses.where_scalarother(&self.labelled, 0.0)
    }
}

#[cfg(test)]
mod tests;
