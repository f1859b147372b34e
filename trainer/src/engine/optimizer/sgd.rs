//! Stochastic gradient descent in PyTorch's form: with gradient g, weight decay d and momentum m,
//!
//! ```text
//! g <- g + d w;   v <- m v + g;   w <- w - lr v         (Nesterov: w <- w - lr (g + m v))
//! ```
//!
//! PyTorch starts v with the first gradient; with dampening 0 that is what a v of zeros becomes.

use dtrain_configs::schema::SgdConfig;
use tch::{TchError, Tensor};

use super::{Optimizer, decays, moment_views};
use crate::engine::flat::{ActiveSet, Flat, part};
use crate::torch_extra::{SgdRun, SgdStep, fused_sgd};

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
    fn step(&mut self, flat: &Flat, active: &ActiveSet, lr: f64) -> Result<(), TchError> {
        let SgdConfig { weight_decay, momentum, nesterov, decay_bias_and_norm, .. } = self.config;
        for decayed in [true, false] {
            let runs = flat.runs(|index, segment| {
                (active.contains(index) && decays(segment.role, decay_bias_and_norm) == decayed).then_some(())
            });
            let runs: Vec<SgdRun> = runs
                .iter()
                .map(|(range, ())| SgdRun {
                    weights: part(flat.parameters(), range),
                    gradients: part(flat.gradients(), range),
                    momentum: self.momentum.as_ref().map(|momentum| part(momentum, range)),
                })
                .collect();
            let weight_decay = if decayed { weight_decay } else { 0.0 };
            // Nesterov's form without momentum is plain SGD, and libtorch wants a buffer for it.
            let nesterov = nesterov && self.momentum.is_some();
            fused_sgd(&runs, SgdStep { lr, momentum, weight_decay, nesterov })?;
        }
        Ok(())
    }

    fn tensors(&self, flat: &Flat) -> Vec<(String, Tensor)> {
        self.momentum.iter().flat_map(|momentum| moment_views(flat, "momentum", momentum)).collect()
    }
}
