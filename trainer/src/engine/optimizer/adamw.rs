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

use super::{Optimizer, decays, moment_views};
use crate::engine::flat::{ActiveSet, Flat, part};

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
    pub fn new(config: AdamwConfig, flat: &Flat) -> Self {
        let steps = vec![0; flat.segments().len()];
        Self { config, first: flat.zeros_like(), second: flat.zeros_like(), steps }
    }
}

impl Optimizer for Adamw {
    fn step(&mut self, flat: &Flat, active: &ActiveSet, lr: f64) {
        let AdamwConfig { weight_decay, beta1, beta2, eps, decay_bias_and_norm, .. } = self.config;
        for (index, steps) in self.steps.iter_mut().enumerate() {
            *steps += u64::from(active.contains(index));
        }
        let runs = flat.runs(|index, segment| {
            let steps = self.steps.get(index).copied().filter(|_| active.contains(index))?;
            Some((steps, decays(segment.role, decay_bias_and_norm)))
        });
        for (range, (steps, decayed)) in runs {
            let step_size = lr / (1.0 - beta1.powf(steps as f64));
            let second_scale = 1.0 / (1.0 - beta2.powf(steps as f64)).sqrt();
            for chunk in flat.chunks(range) {
                let mut weights = part(flat.parameters(), &chunk);
                let gradient = part(flat.gradients(), &chunk);
                let (mut first, mut second) = (part(&self.first, &chunk), part(&self.second, &chunk));
                if decayed && weight_decay != 0.0 {
                    let _ = weights.g_mul_scalar_(1.0 - lr * weight_decay);
                }
                let _ = first.lerp_(&gradient, 1.0 - beta1);
                let _ = second.lerp_(&gradient.square(), 1.0 - beta2);
                let mut update = second.sqrt().g_mul_scalar_(second_scale).g_add_scalar_(eps);
                let _ = first.div_out(&update, &update);
                let _ = weights.g_sub_(&update.g_mul_scalar_(step_size));
            }
        }
    }

    fn tensors(&self, flat: &Flat) -> Vec<(String, Tensor)> {
        moment_views(flat, "exp_avg", &self.first)
            .chain(moment_views(flat, "exp_avg_sq", &self.second))
            .collect()
    }

    fn steps(&self) -> &[u64] {
        &self.steps
    }

    fn set_steps(&mut self, steps: &[u64]) {
        self.steps = steps.to_vec();
    }
}
