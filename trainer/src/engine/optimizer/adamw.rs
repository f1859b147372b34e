//! AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) in PyTorch's form: with gradient g and step count t,
//!
//! ```text
//! w <- w (1 - lr d);   m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
//! w <- w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//! ```
//!
//! As in PyTorch, t counts the steps in which the parameter took part.

use dtrain_configs::schema::AdamwConfig;
use tch::Tensor;

use super::{Optimizer, Update, decays};
use crate::engine::flat::{ActiveSet, Flat, part};
use crate::engine::shard::Shard;
use crate::error::TrainError;
use crate::torch_extra::{AdamwRun, AdamwStep, fused_adamw};

/// Adam with decoupled weight decay.
#[derive(Debug)]
pub struct Adamw {
    config: AdamwConfig,
    first: Tensor,
    second: Tensor,
    steps: Vec<u64>,
}

impl Adamw {
    /// With moments and step counts of 0.
    pub fn new(config: AdamwConfig, flat: &Flat, shard: &Shard) -> Self {
        let steps = vec![0; flat.segments().len()];
        let zeros = || shard.zeros(flat.parameters());
        Self { config, first: zeros(), second: zeros(), steps }
    }
}

impl Optimizer for Adamw {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError> {
        let AdamwConfig { weight_decay, beta1, beta2, eps, decay_bias_and_norm, .. } = self.config;
        for (index, steps) in self.steps.iter_mut().enumerate() {
            *steps += u64::from(active.contains(index));
        }
        let rank = update.ranks.world().rank;
        for decayed in [true, false] {
            let runs = flat.runs(|index, segment| {
                let takes_part =
                    active.contains(index) && decays(segment.role, decay_bias_and_norm) == decayed;
                self.steps.get(index).copied().filter(|_| takes_part)
            });
            let runs: Vec<AdamwRun> = update
                .shard
                .runs(rank, &runs)
                .into_iter()
                .map(|run| AdamwRun {
                    weights: part(flat.parameters(), &run.flat),
                    gradients: part(flat.gradients(), &run.flat),
                    first: part(&self.first, &run.local),
                    second: part(&self.second, &run.local),
                    steps: run.treatment,
                })
                .collect();
            let weight_decay = if decayed { weight_decay } else { 0.0 };
            fused_adamw(&runs, AdamwStep { lr: update.lr, beta1, beta2, weight_decay, eps }, update.skip)?;
        }
        Ok(())
    }

    fn moments(&self) -> Vec<(&'static str, &Tensor)> {
        vec![("exp_avg", &self.first), ("exp_avg_sq", &self.second)]
    }

    fn steps(&self) -> &[u64] {
        &self.steps
    }

    fn set_steps(&mut self, steps: &[u64]) {
        self.steps = steps.to_vec();
    }

    fn forget_step(&mut self, active: &ActiveSet) {
        for (index, steps) in self.steps.iter_mut().enumerate() {
            *steps -= u64::from(active.contains(index)).min(*steps);
        }
    }
}
