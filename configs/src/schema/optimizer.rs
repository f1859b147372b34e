//! How weights move. `optimizer.name` is read first, as in [`super::method`].

use serde::{Deserialize, Serialize};

use super::tagged::tagged;
use crate::checks::Checks;

tagged! {
    dyn OptimizerSettings;
    /// The optimizer, chosen by `optimizer.name`.
    pub enum OptimizerConfig {
        /// Stochastic gradient descent with (Nesterov) momentum, PyTorch's form.
        Sgd(SgdConfig) = "sgd",
        /// Adam (Kingma & Ba 2015).
        Adam(AdamConfig) = "adam",
        /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
        Adamw(AdamwConfig) = "adamw",
        /// Layer-wise adaptive rates (You et al. 2017).
        Lars(LarsConfig) = "lars",
    }
}

/// What an optimizer knows about itself.
pub(crate) trait OptimizerSettings {
    /// Learning rate at the reference batch, before scaling.
    fn lr(&self) -> f64;

    /// Whether biases and norm parameters are decayed too.
    fn decay_bias_and_norm(&self) -> bool;

    /// Numbers that it keeps for each weight.
    fn num_moments(&self) -> u64;

    /// Settings that cannot work.
    fn check(&self, checks: &mut Checks);
}

impl OptimizerConfig {
    /// Learning rate at the reference batch, before scaling.
    pub fn lr(&self) -> f64 {
        self.settings().lr()
    }

    /// Whether biases and norm parameters are decayed too.
    pub fn decay_bias_and_norm(&self) -> bool {
        self.settings().decay_bias_and_norm()
    }

    /// Numbers that it keeps for each weight.
    pub fn num_moments(&self) -> u64 {
        self.settings().num_moments()
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        OptimizerConfig::Adamw(AdamwConfig::default())
    }
}

/// Stochastic gradient descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Share of the last update that goes into the next one.
    pub momentum: f64,
    /// Nesterov's form of momentum, which looks one step ahead; needs `momentum` above 0.
    pub nesterov: bool,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { lr: 0.05, weight_decay: 1e-4, momentum: 0.9, nesterov: true, decay_bias_and_norm: true }
    }
}

impl OptimizerSettings for SgdConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }

    fn num_moments(&self) -> u64 {
        u64::from(self.momentum != 0.0)
    }

    fn check(&self, checks: &mut Checks) {
        checks.not_negative("optimizer.weight_decay", self.weight_decay);
        checks.below_one("optimizer.momentum", self.momentum);
        checks.require(
            !self.nesterov || self.momentum != 0.0,
            ["optimizer.nesterov", "optimizer.momentum"],
            || "`optimizer.nesterov` is true, but `optimizer.momentum` is 0".into(),
            "`optimizer.nesterov=false`, or a momentum such as 0.9",
        );
    }
}

/// Adam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Share that the mean of the gradients keeps at each step.
    pub beta1: f64,
    /// Share that the mean of the squared gradients keeps at each step.
    pub beta2: f64,
    /// Added to the root of the second moment, so that nothing is divided by 0.
    pub eps: f64,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 1e-3, weight_decay: 0.0, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay_bias_and_norm: true }
    }
}

impl OptimizerSettings for AdamConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }

    fn num_moments(&self) -> u64 {
        2
    }

    fn check(&self, checks: &mut Checks) {
        check_adam(self.weight_decay, [self.beta1, self.beta2], self.eps, checks);
    }
}

/// What both forms of Adam ask of their settings.
fn check_adam(weight_decay: f64, [beta1, beta2]: [f64; 2], eps: f64, checks: &mut Checks) {
    checks.not_negative("optimizer.weight_decay", weight_decay);
    checks.below_one("optimizer.beta1", beta1);
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
    pub weight_decay: f64,
    /// Share that the mean of the gradients keeps at each step.
    pub beta1: f64,
    /// Share that the mean of the squared gradients keeps at each step.
    pub beta2: f64,
    /// Added to the root of the second moment, so that nothing is divided by 0.
    pub eps: f64,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self { lr: 1e-3, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay_bias_and_norm: false }
    }
}

impl OptimizerSettings for AdamwConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay_bias_and_norm(&self) -> bool {
        self.decay_bias_and_norm
    }

    fn num_moments(&self) -> u64 {
        2
    }

    fn check(&self, checks: &mut Checks) {
        check_adam(self.weight_decay, [self.beta1, self.beta2], self.eps, checks);
    }
}

/// Layer-wise adaptive rates; biases and norm parameters are excluded from decay and adaptation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LarsConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// L2 penalty, added to the gradient before the trust ratio.
    pub weight_decay: f64,
    /// Share of the last update that goes into the next one.
    pub momentum: f64,
    /// Trust coefficient: a layer's step is trust * |w| / |g| times its gradient.
    pub trust_coefficient: f64,
}

impl Default for LarsConfig {
    fn default() -> Self {
        Self { lr: 0.3, weight_decay: 1e-6, momentum: 0.9, trust_coefficient: 0.001 }
    }
}

impl OptimizerSettings for LarsConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn decay_bias_and_norm(&self) -> bool {
        false
    }

    fn num_moments(&self) -> u64 {
        1
    }

    fn check(&self, checks: &mut Checks) {
        checks.not_negative("optimizer.weight_decay", self.weight_decay);
        checks.below_one("optimizer.momentum", self.momentum);
        checks.positive("optimizer.trust_coefficient", self.trust_coefficient);
    }
}
