//! What a head says about a sample.

use dtrain_configs::schema::{HeadLoss, HeadSettings};
use tch::{Kind, Tensor};

use super::ordinal::expected_shares;
use super::scale::Shares;
use crate::loss::widened;

/// The class of each sample, `[n]` of i64: the one with the largest score; where the head is trained to tell a value,
/// the one whose value is nearest to it.
///
/// # Shapes
/// As in [`super::head_loss`].
pub fn predicted_classes(settings: &HeadSettings, scores: &Tensor, values: &Tensor) -> Tensor {
    match estimates(settings.loss, scores, values) {
        Some((estimates, shares)) => {
            (shares.centred - estimates.to_kind(Kind::Double).unsqueeze(1)).abs().argmin(1, false)
        }
        None => scores.argmax(1, false),
    }
}

/// The value of each sample in units, `[n]` of f64, within the range of `values`: the one that the head is trained to
/// tell, or that of the class with the largest score.
///
/// # Shapes
/// As in [`super::head_loss`].
pub fn predicted_values(settings: &HeadSettings, scores: &Tensor, values: &Tensor) -> Tensor {
    match estimates(settings.loss, scores, values) {
        Some((estimates, shares)) => shares.in_units(&estimates),
        None => {
            values.to_device(scores.device()).to_kind(Kind::Double).index_select(0, &scores.argmax(1, false))
        }
    }
}

/// The probability of each class, `[n, K]`; `None` where the head's only output is a value.
///
/// # Shapes
/// As in [`super::head_loss`].
pub fn probabilities(settings: &HeadSettings, scores: &Tensor) -> Option<Tensor> {
    match settings.loss {
        HeadLoss::QuantizedRegression => None,
        HeadLoss::CrossEntropy
        | HeadLoss::OrdinalRegression
        | HeadLoss::DistanceWeighted
        | HeadLoss::SoftTargets => {
            let scores = widened(scores);
            Some(scores.softmax(-1, scores.kind()))
        }
    }
}

/// The estimates of a head that is trained to tell a value, as shares of the range, `[n]`.
fn estimates(loss: HeadLoss, scores: &Tensor, values: &Tensor) -> Option<(Tensor, Shares)> {
    let shares = || Shares::of(&values.to_device(scores.device()));
    let scores = widened(scores);
    match loss {
        HeadLoss::OrdinalRegression => {
            let shares = shares();
            Some((expected_shares(&scores, &shares.centred.to_kind(scores.kind())), shares))
        }
        HeadLoss::QuantizedRegression => Some((scores.squeeze_dim(1), shares())),
        HeadLoss::CrossEntropy | HeadLoss::DistanceWeighted | HeadLoss::SoftTargets => None,
    }
}
