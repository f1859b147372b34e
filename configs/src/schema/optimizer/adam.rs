//! Adam and AdamW.

use serde::{Deserialize, Serialize};

use super::super::Scheduled;
use super::{GroupConfig, OptimizerSettings};
use crate::checks::Checks;

/// Adam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: Scheduled,
    /// Share that the mean of the gradients keeps at each step.
    pub beta1: Scheduled,
    /// Share that the mean of the squared gradients keeps at each step.
    pub beta2: f64,
    /// Added to the root of the second moment, so that nothing is divided by 0.
    pub eps: f64,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
    /// Parameters that are trained in another way than the rest, each by the first group that names it.
    pub groups: Vec<GroupConfig>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: Scheduled::Constant(0.0),
            beta1: Scheduled::Constant(0.9),
            beta2: 0.999,
            eps: 1e-8,
            decay_bias_and_norm: true,
            groups: Vec::new(),
        }
    }
}

impl OptimizerSettings for AdamConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> Scheduled {
        self.weight_decay
    }

    fn momentum(&self) -> (&'static str, Scheduled) {
        ("optimizer.beta1", self.beta1)
    }

    fn groups(&self) -> &[GroupConfig] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut Vec<GroupConfig> {
        &mut self.groups
    }

    fn decay_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }

    fn num_moments(&self) -> u64 {
        2
    }

    fn check(&self, checks: &mut Checks) {
        check_adam(self.beta2, self.eps, checks);
    }
}

/// What both forms of Adam ask of their settings.
fn check_adam(beta2: f64, eps: f64, checks: &mut Checks) {
    checks.below_one("optimizer.beta2", beta2);
    checks.positive("optimizer.eps", eps);
}

/// Adam with decoupled weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamwConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// Decoupled weight decay: weights shrink by lr * weight_decay per step.
    pub weight_decay: Scheduled,
    /// Share that the mean of the gradients keeps at each step.
    pub beta1: Scheduled,
    /// Share that the mean of the squared gradients keeps at each step.
    pub beta2: f64,
    /// Added to the root of the second moment, so that nothing is divided by 0.
    pub eps: f64,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
    /// Parameters that are trained in another way than the rest, each by the first group that names it.
    pub groups: Vec<GroupConfig>,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            weight_decay: Scheduled::Constant(0.01),
            beta1: Scheduled::Constant(0.9),
            beta2: 0.999,
            eps: 1e-8,
            decay_bias_and_norm: false,
            groups: Vec::new(),
        }
    }
}

impl OptimizerSettings for AdamwConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> Scheduled {
        self.weight_decay
    }

    fn momentum(&self) -> (&'static str, Scheduled) {
        ("optimizer.beta1", self.beta1)
    }

    fn groups(&self) -> &[GroupConfig] {
        &self.groups
    }

    fn groups_mut(&mut self) -> &mut Vec<GroupConfig> {
        &mut self.groups
    }

    fn decay_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }

    fn num_moments(&self) -> u64 {
        2
    }

    fn check(&self, checks: &mut Checks) {
        check_adam(self.beta2, self.eps, checks);
    }
}
