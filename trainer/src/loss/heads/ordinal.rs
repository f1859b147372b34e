//! Ordinal regression: the expected value under the softmax is an estimate.
//!
//! `OrdinalRegressionLoss` with its default, the absolute distance. Departures: the estimate is taken over the values of
//! the classes and not over their numbers, which is the same where values are evenly spaced; the distance is a share of
//! the range (see [`super`]), so that `cross_entropy_weight` too means the same for every parameter.

use tch::{Kind, Tensor};

use super::Samples;

/// `abs(sum_k p_k u_k - u_c)`, `[n]`.
pub(super) fn distances(samples: &Samples) -> Tensor {
    let expected = expected_shares(&samples.scores, &samples.shares);
    samples.of_labelled(&(expected - samples.target_shares()).abs())
}

/// `sum_k p_k u_k`, `[n]`, of `scores` `[n, K]` and `shares` `[K]` of one kind.
pub(super) fn expected_shares(scores: &Tensor, shares: &Tensor) -> Tensor {
    (scores.softmax(1, None::<Kind>) * shares).sum_dim_intlist(1, false, None::<Kind>)
}
