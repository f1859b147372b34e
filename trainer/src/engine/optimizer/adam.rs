//! Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) in PyTorch's form:
//! with gradient g, weight decay d and step count t,
//!
//! ```text
//! Adam:  g <- g + d w            AdamW:  w <- w (1 - lr d)
//! m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
//! w <- w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//! ```
//!
//! As in PyTorch, t counts the steps in which the parameter took part.

use dtrain_configs::schema::{AdamConfig, AdamwConfig};
use tch::Tensor;

use super::{Optimizer, Update, decays};
use crate::engine::flat::{ActiveSet, Flat, part};
use crate::engine::shard::Shard;
use crate::error::TrainError;
use crate::torch_extra::{AdamRun, AdamStep, fused_adam};

/// Adam, with weight decay as a part of the gradient or decoupled from it.
#[derive(Debug)]
pub struct Adam {
    /// Of each step; the learning rate is the schedule's, and what does not decay has no weight decay.
    settings: AdamStep,
    decay_bias_and_norm: bool,
    first: Tensor,
    second: Tensor,
    steps: Vec<u64>,
}

impl Adam {
    /// Adam, with moments and step counts of 0.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(config: &AdamConfig, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let &AdamConfig { lr, weight_decay, beta1, beta2, eps, decay_bias_and_norm } = config;
        let settings = AdamStep { lr, beta1, beta2, weight_decay, decoupled: false, eps };
        Self::with(settings, decay_bias_and_norm, flat, shard)
    }

    /// AdamW, with moments and step counts of 0.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn decoupled(config: &AdamwConfig, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let &AdamwConfig { lr, weight_decay, beta1, beta2, eps, decay_bias_and_norm } = config;
        let settings = AdamStep { lr, beta1, beta2, weight_decay, decoupled: true, eps };
        Self::with(settings, decay_bias_and_norm, flat, shard)
    }

    fn with(
        settings: AdamStep,
        decay_bias_and_norm: bool,
        flat: &Flat,
        shard: &Shard,
    ) -> Result<Self, TrainError> {
        let zeros = || shard.zeros(flat.parameters());
        let steps = vec![0; flat.segments().len()];
        Ok(Self { settings, decay_bias_and_norm, first: zeros()?, second: zeros()?, steps })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError> {
        for (index, steps) in self.steps.iter_mut().enumerate() {
            *steps += u64::from(active.contains(index));
        }
        let rank = update.ranks.world().rank;
        for decayed in [true, false] {
            let runs = flat.runs(|index, segment| {
                let takes_part =
                    active.contains(index) && decays(segment.role, self.decay_bias_and_norm) == decayed;
                self.steps.get(index).copied().filter(|_| takes_part)
            });
            let runs: Vec<AdamRun> = update
                .shard
                .runs(rank, &runs)
                .into_iter()
                .map(|run| AdamRun {
                    weights: part(flat.parameters(), &run.flat),
                    gradients: part(flat.gradients(), &run.flat),
                    first: part(&self.first, &run.local),
                    second: part(&self.second, &run.local),
                    steps: run.treatment,
                })
                .collect();
            let weight_decay = if decayed { self.settings.weight_decay } else { 0.0 };
            fused_adam(&runs, AdamStep { lr: update.lr, weight_decay, ..self.settings }, update.skip)?;
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
