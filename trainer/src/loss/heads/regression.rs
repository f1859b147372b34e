//! Regression: the only output of the head is the estimate, a share of the range with 0 in its middle.
//!
//! The output is linear. Through a sigmoid (`NormalizedRegressionLoss`) the least and the largest class could only be
//! reached by infinite scores, and an output that is far off has hardly any gradient; clamped to the range
//! (`QuantizedRegressionLoss`) one beyond it has none at all and never comes back. Here an estimate is clamped only when
//! it is reported. The other departure from `QuantizedRegressionLoss`: the error is squared (its `l2`) and not absolute
//! (its default), so that the estimate is the mean of what the image leaves open, as a parameter's error in units asks.

use tch::Tensor;

use super::Samples;

/// `(score - u_c)^2`, `[n]`.
pub(super) fn squared_errors(samples: &Samples) -> Tensor {
    samples.of_labelled(&(samples.scores.squeeze_dim(1) - samples.target_shares()).square())
}
