//! LARS (You et al. 2017, arXiv 1708.03888) in the form of SimCLR's reference code and of optax: with gradient g, weight
//! decay d, trust coefficient c and momentum m, for each layer
//!
//! ```text
//! g <- g + d w;   r = c |w| / |g|;   v <- m v + lr r g;   w <- w - v
//! ```
//!
//! Biases and norm parameters have d = 0 and r = 1; so has a layer with |w| = 0 or |g| = 0 an r of 1, so that what starts
//! at zero can move.
//!
//! Departures: the paper divides by |g| + d |w| rather than by |g + d w|. The PyTorch codes of BYOL and Barlow Twins keep
//! lr out of v (`w <- w - lr v`), which differs only while lr changes: there a new rate rescales old gradients too.

use dtrain_configs::schema::LarsConfig;
use tch::{TchError, Tensor};

use super::{Optimizer, moment_views};
use crate::engine::flat::{ActiveSet, Flat, part, squared_norm};
use crate::model::parameters::Role;

/// Layer-wise adaptive rates with momentum.
#[derive(Debug)]
pub struct Lars {
    config: LarsConfig,
    /// v of every parameter.
    momentum: Tensor,
}

impl Lars {
    /// Without any momentum gathered yet.
    pub fn new(config: LarsConfig, flat: &Flat) -> Self {
        Self { config, momentum: flat.zeros_like() }
    }

    /// r of one layer, 0-dimensional; stays on the device.
    fn trust_ratio(&self, weights: &Tensor, gradient: &Tensor) -> Tensor {
        let (weights, gradient) = (squared_norm(weights).sqrt(), squared_norm(gradient).sqrt());
        let both = weights.gt(0.0).logical_and(&gradient.gt(0.0));
        let one = weights.ones_like();
        (weights * self.config.trust_coefficient / gradient).where_self(&both, &one)
    }
}

impl Optimizer for Lars {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, lr: f64) -> Result<(), TchError> {
        // A weight is a run of its own, for its norms; neighbouring biases and norm parameters are one.
        let runs = flat.runs(|index, segment| {
            active.contains(index).then(|| (segment.role == Role::Weight).then_some(index))
        });
        for (range, layer) in runs {
            let mut weights = part(flat.parameters(), &range);
            let mut gradient = part(flat.gradients(), &range).copy();
            if layer.is_some() {
                let _ = gradient.g_add_(&(&weights * self.config.weight_decay));
                let _ = gradient.g_mul_(&self.trust_ratio(&weights, &gradient));
            }
            let mut velocity = part(&self.momentum, &range);
            let _ = velocity.g_mul_scalar_(self.config.momentum).g_add_(&gradient.g_mul_scalar_(lr));
            let _ = weights.g_sub_(&velocity);
        }
        Ok(())
    }

    fn tensors(&self, flat: &Flat) -> Vec<(String, Tensor)> {
        moment_views(flat, "momentum", &self.momentum).collect()
    }
}
