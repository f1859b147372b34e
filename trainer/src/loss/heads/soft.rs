//! Cross-entropy against a Gaussian around the target class, in classes.
//!
//! `SoftTargetLoss` with `mode="gaussian"`. Departures: the Gaussian is not cut off at a number of classes; what is given
//! is the cross-entropy and not the Kullback-Leibler divergence, which is less by the entropy of the target and has the
//! same gradient. So the least value is that entropy and not 0.

use tch::{Kind, Tensor};

use super::Samples;

/// `-sum_k t_k log p_k`, `[n]`.
pub(super) fn cross_entropies(samples: &Samples, width: f64) -> Tensor {
    let shares = &samples.shares;
    let classes = Tensor::arange(shares.numel() as i64, (shares.kind(), shares.device()));
    let targets = samples.targets.to_kind(classes.kind()).unsqueeze(1);
    let z = (classes - targets) / width;
    // A softmax of the exponents is the normalization, and holds for any width.
    let t = (z.square() * -0.5).softmax(1, None::<Kind>);
    let log_p = samples.scores.log_softmax(1, None::<Kind>);
    samples.of_labelled(&-(t * log_p).sum_dim_intlist(1, false, None::<Kind>))
}
