//! Stochastic gradient descent in PyTorch's form: with gradient g, weight decay d and momentum m,
//!
//! ```text
//! g <- g + d w;   v <- m v + g;   w <- w - lr v         (Nesterov: w <- w - lr (g + m v))
//! ```
//!
//! PyTorch starts v with the first gradient; with dampening 0 that is what a v of zeros becomes.

use dtrain_configs::schema::{OptimizerConfig, SgdConfig};
use tch::Tensor;

use super::{Optimizer, Rates, Update};
use crate::engine::flat::{ActiveSet, Flat, part};
use crate::engine::shard::Shard;
use crate::error::TrainError;
use crate::torch_extra::{SgdRun, SgdStep, fused_sgd};

/// Stochastic gradient descent with optional (Nesterov) momentum.
#[derive(Debug)]
pub struct Sgd {
    nesterov: bool,
    decay_bias_and_norm: bool,
    /// v of every parameter; absent without momentum.
    momentum: Option<Tensor>,
}

impl Sgd {
    /// Without any momentum gathered yet.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(config: &SgdConfig, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let has_momentum = OptimizerConfig::Sgd(config.clone()).num_moments() > 0;
        let momentum = has_momentum.then(|| shard.zeros(flat.parameters())).transpose()?;
        Ok(Self { nesterov: config.nesterov, decay_bias_and_norm: config.decay_bias_and_norm, momentum })
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError> {
        let rank = update.ranks.world().rank;
        for call in update.calls() {
            let Rates { lr, weight_decay, momentum } = call.rates;
            let runs = flat.runs(|index, segment| {
                let takes_part = active.contains(index)
                    && update.takes_part(call, index, segment.role, self.decay_bias_and_norm);
                takes_part.then_some(())
            });
            // As in PyTorch, v stays where there is no momentum in a step.
            let velocity = self.momentum.as_ref().filter(|_| momentum != 0.0);
            let runs: Vec<SgdRun> = update
                .shard
                .runs(rank, &runs)
                .into_iter()
                .map(|run| SgdRun {
                    weights: part(flat.parameters(), &run.flat),
                    gradients: part(flat.gradients(), &run.flat),
                    momentum: velocity.map(|velocity| part(velocity, &run.local)),
                })
                .collect();
            // Nesterov's form without momentum is plain SGD, and libtorch wants a buffer for it.
            let nesterov = self.nesterov && velocity.is_some();
            fused_sgd(&runs, SgdStep { lr, momentum, weight_decay, nesterov }, update.skip)?;
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
