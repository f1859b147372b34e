//! Adam (Kingma & Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) in PyTorch's form:
//! with gradient g, weight decay d and step count t,
//!
//! ```text
//! Adam:  g <- g + d w            AdamW:  w <- w (1 - lr d)
//! m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2
//! w <- w - lr / (1 - b1^t) m / (sqrt(v) / sqrt(1 - b2^t) + eps)
//! ```
//!
//! As in PyTorch, t counts the steps in which the parameter took part, and a b1 that changes over the run takes the place of the
//! old one in the correction too.

use dtrain_configs::schema::{AdamConfig, AdamwConfig};
use tch::Tensor;

use super::{Optimizer, Rates, Update};
use crate::engine::flat::{ActiveSet, Flat, part};
use crate::engine::shard::Shard;
use crate::error::TrainError;
use crate::torch_extra::{AdamRun, AdamStep, fused_adam};

/// What does not change over the run.
#[derive(Debug, Clone, Copy)]
struct Settings {
    beta2: f64,
    eps: f64,
    decoupled: bool,
    decay_bias_and_norm: bool,
}

/// Adam, with weight decay as a part of the gradient or decoupled from it.
#[derive(Debug)]
pub struct Adam {
    /// What is the same in every step and group; the rest is that of the step.
    settings: Settings,
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
        let &AdamConfig { beta2, eps, decay_bias_and_norm, .. } = config;
        Self::with(Settings { beta2, eps, decoupled: false, decay_bias_and_norm }, flat, shard)
    }

    /// AdamW, with moments and step counts of 0.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn decoupled(config: &AdamwConfig, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let &AdamwConfig { beta2, eps, decay_bias_and_norm, .. } = config;
        Self::with(Settings { beta2, eps, decoupled: true, decay_bias_and_norm }, flat, shard)
    }

    fn with(settings: Settings, flat: &Flat, shard: &Shard) -> Result<Self, TrainError> {
        let zeros = || shard.zeros(flat.parameters());
        let steps = vec![0; flat.segments().len()];
        Ok(Self { settings, first: zeros()?, second: zeros()?, steps })
    }
}

impl Optimizer for Adam {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, update: &Update<'_>) -> Result<(), TrainError> {
        for (index, steps) in self.steps.iter_mut().enumerate() {
            *steps += u64::from(active.contains(index));
        }
        let rank = update.ranks.world().rank;
        let Settings { beta2, eps, decoupled, decay_bias_and_norm } = self.settings;
        for call in update.calls() {
            let runs = flat.runs(|index, segment| {
                let takes_part = active.contains(index)
                    && update.takes_part(call, index, segment.role, decay_bias_and_norm);
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
            let Rates { lr, weight_decay, momentum: beta1 } = call.rates;
            let step = AdamStep { lr, beta1, beta2, weight_decay, decoupled, eps };
            fused_adam(&runs, step, update.skip)?;
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
