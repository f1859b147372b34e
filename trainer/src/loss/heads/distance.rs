//! Cross-entropy with a penalty on the probability of wrong classes, which is larger for distant ones.
//!
//! `WeightedCrossEntropyLoss`. Departure: the distance is a share of the range, so that a class counts from 1 to 2. With
//! distances in classes the furthest of 256 counts 65 026, beside which neither the cross-entropy nor another head counts.

use tch::{Kind, Tensor};

use super::Samples;

/// `sum_(k != c) (1 + abs(u_k - u_c)^power) p_k`, `[n]`.
pub(super) fn penalties(samples: &Samples, power: f64) -> Tensor {
    let distances = (&samples.shares - samples.target_shares().unsqueeze(1)).abs();
    let weights =
        (distances.pow_tensor_scalar(power) + 1.0).scatter_value_(1, &samples.targets.unsqueeze(1), 0.0);
    let probabilities = samples.scores.softmax(1, None::<Kind>);
    samples.of_labelled(&(weights * probabilities).sum_dim_intlist(1, false, None::<Kind>))
}
