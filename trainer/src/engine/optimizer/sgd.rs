//! Stochastic gradient descent in PyTorch's form: with gradient g, weight decay d and momentum m,
//!
//! ```text
//! g <- g + d w;   v <- m v + g;   w <- w - lr v         (Nesterov: w <- w - lr (g + m v))
//! ```
//!
//! PyTorch starts v with the first gradient; with dampening 0 that is what a v of zeros becomes.

use dtrain_configs::schema::SgdConfig;
use tch::Tensor;

use super::{Optimizer, Update, decays};
use crate::engine::flat::{ActiveSet, Flat, part};
use crate::engine::shard::Shard;
use crate::error::TrainError;
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
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(config: SgdConfig, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let momentum = (config.momentum != 0.0).then(|| shard.zeros(flat.parameters())).transpose()?;
        Ok(Self { config, momentum })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError> {
        let SgdConfig { weight_decay, momentum, nesterov, decay_bias_and_norm, .. } = self.config;
        let rank = update.ranks.world().rank;
        for decayed in [true, false] {
            let runs = flat.runs(|index, segment| {
                (active.contains(index) && decays(segment.role, decay_bias_and_norm) == decayed).then_some(())
            });
            let runs: Vec<SgdRun> = update
                .shard
                .runs(rank, &runs)
                .into_iter()
                .map(|run| SgdRun {
                    weights: part(flat.parameters(), &run.flat),
                    gradients: part(flat.gradients(), &run.flat),
                    momentum: self.momentum.as_ref().map(|momentum| part(momentum, &run.local)),
                })
                .collect();
            let weight_decay = if decayed { weight_decay } else { 0.0 };
            // Nesterov's form without momentum is plain SGD, and libtorch wants a buffer for it.
            let nesterov = nesterov && self.momentum.is_some();
            fused_sgd(&runs, SgdStep { lr: update.lr, momentum, weight_decay, nesterov }, update.skip)?;
        }
        Ok(())
    }

    fn moments(&self) -> Vec<(&'static str, &Tensor)> {
        self.momentum.iter().map(|momentum| ("momentum", momentum)).collect()
    }

    fn steps(&self) -> &[u64] {
        &[]
    }

    fn set_steps(&mut self, _: &[u64]) {}
}
