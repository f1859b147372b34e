//! Stochastic gradient descent in PyTorch's form: with gradient g, weight decay d and momentum m,
//!
//! ```text
//! g <- g + d w;   v <- m v + g;   w <- w - lr v         (Nesterov: w <- w - lr (g + m v))
//! ```
//!
//! PyTorch starts v with the first gradient; with dampening 0 that is what a v of zeros becomes.

use dtrain_configs::schema::SgdConfig;
use tch::Tensor;

use super::{Optimizer, decays, moment_views};
use crate::engine::flat::{ActiveSet, Flat, part};

/// Stochastic gradient descent with optional (Nesterov) momentum.
#[derive(Debug)]
pub struct Sgd {
    config: SgdConfig,
    /// v of every parameter; absent without momentum.
    momentum: Option<Tensor>,
}

impl Sgd {
    /// Without any momentum gathered yet.
    pub fn new(config: SgdConfig, flat: &Flat) -> Self {
        let momentum = (config.momentum != 0.0).then(|| flat.zeros_like());
        Self { config, momentum }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, lr: f64) {
        let SgdConfig { weight_decay, momentum, nesterov, decay_bias_and_norm, .. } = self.config;
        let runs = flat.runs(|index, segment| {
            active.contains(index).then(|| weight_decay != 0.0 && decays(segment.role, decay_bias_and_norm))
        });
        for (range, decayed) in runs {
            for chunk in flat.chunks(range) {
                let mut weights = part(flat.parameters(), &chunk);
                let mut gradient = part(flat.gradients(), &chunk).copy();
                if decayed {
                    let _ = gradient.g_add_(&(&weights * weight_decay));
                }
                if let Some(buffer) = &self.momentum {
                    let mut velocity = part(buffer, &chunk);
                    let _ = velocity.g_mul_scalar_(momentum).g_add_(&gradient);
                    if nesterov {
                        let _ = gradient.g_add_(&(velocity * momentum));
                    } else {
                        gradient.copy_(&velocity);
                    }
                }
                let _ = weights.g_sub_(&gradient.g_mul_scalar_(lr));
            }
        }
    }

    fn tensors(&self, flat: &Flat) -> Vec<(String, Tensor)> {
        self.momentum.iter().flat_map(|momentum| moment_views(flat, "momentum", momentum)).collect()
    }
}
