//! How weights and the learning rate move. `optimizer.name` is read first, as in [`super::method`].

use serde::{Deserialize, Serialize};

/// The optimizer, chosen by `optimizer.name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with (Nesterov) momentum, PyTorch's form.
    Sgd(SgdConfig),
    /// Adam (Kingma & Ba 2015).
    Adam(AdamConfig),
    /// Adam with decoupled weight decay (Loshchilov & Hutter 2019).
    Adamw(AdamwConfig),
    /// Layer-wise adaptive rates (You et al. 2017).
    Lars(LarsConfig),
}

impl OptimizerConfig {
    /// Every optimizer with its defaults.
    pub fn all() -> Vec<Self> {
        vec![
            OptimizerConfig::Sgd(SgdConfig::default()),
            OptimizerConfig::Adam(AdamConfig::default()),
            OptimizerConfig::Adamw(AdamwConfig::default()),
            OptimizerConfig::Lars(LarsConfig::default()),
        ]
    }

    /// As written in `optimizer.name`.
    pub fn name(&self) -> &'static str {
        match self {
            OptimizerConfig::Sgd(_) => "sgd",
            OptimizerConfig::Adam(_) => "adam",
            OptimizerConfig::Adamw(_) => "adamw",
            OptimizerConfig::Lars(_) => "lars",
        }
    }

    /// Learning rate at the reference batch, before scaling.
    pub fn lr(&self) -> f64 {
        match self {
            OptimizerConfig::Sgd(c) => c.lr,
            OptimizerConfig::Adam(c) => c.lr,
            OptimizerConfig::Adamw(c) => c.lr,
            OptimizerConfig::Lars(c) => c.lr,
        }
    }

    /// Whether biases and norm parameters are decayed too.
    pub fn decay_bias_and_norm(&self) -> bool {
        match self {
            OptimizerConfig::Sgd(c) => c.decay_bias_and_norm,
            OptimizerConfig::Adam(c) => c.decay_bias_and_norm,
            OptimizerConfig::Adamw(c) => c.decay_bias_and_norm,
            OptimizerConfig::Lars(_) => false,
        }
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
    /// Learning rate at the schedule's reference batch.
    pub lr: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Nesterov's momentum.
    pub nesterov: bool,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self { lr: 0.05, weight_decay: 1e-4, momentum: 0.9, nesterov: true, decay_bias_and_norm: true }
    }
}

/// Adam.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Learning rate at the schedule's reference batch.
    pub lr: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { lr: 1e-3, weight_decay: 0.0, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay_bias_and_norm: true }
    }
}

/// Adam with decoupled weight decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamwConfig {
    /// Learning rate at the schedule's reference batch.
    pub lr: f64,
    /// Decoupled weight decay: weights shrink by lr * weight_decay per step.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
}

impl Default for AdamwConfig {
    fn default() -> Self {
        Self { lr: 1e-3, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, decay_bias_and_norm: false }
    }
}

/// Layer-wise adaptive rates; biases and norm parameters are excluded from decay and adaptation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LarsConfig {
    /// Learning rate at the schedule's reference batch.
    pub lr: f64,
    /// L2 penalty, added to the gradient before the trust ratio.
    pub weight_decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Trust coefficient: a layer's step is trust * |w| / |g| times its gradient.
    pub trust_coefficient: f64,
}

impl Default for LarsConfig {
    fn default() -> Self {
        Self { lr: 0.3, weight_decay: 1e-6, momentum: 0.9, trust_coefficient: 0.001 }
    }
}

/// The learning rate over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Epochs of linear warm-up from 0 (may be a fraction).
    pub warmup_epochs: f64,
    /// Learning rate at the end as a fraction of the peak.
    pub final_lr_fraction: f64,
    /// `step`: epochs between two steps.
    pub step_epochs: u64,
    /// `step`: factor of a step.
    pub gamma: f64,
    /// How the learning rate follows the global batch.
    pub lr_scaling: LrScaling,
    /// Batch for which `optimizer.lr` is meant.
    pub reference_batch: usize,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup_epochs: 0.0,
            final_lr_fraction: 0.0,
            step_epochs: 10,
            gamma: 0.1,
            lr_scaling: LrScaling::None,
            reference_batch: 256,
        }
    }
}

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine down to the final fraction.
    Cosine,
    /// Stays at the peak.
    Constant,
    /// Falls by the factor `gamma` every `step_epochs` epochs, counted from the beginning (PyTorch's `StepLR`).
    Step,
}

/// How the learning rate follows the global batch B, with reference batch R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrScaling {
    /// lr
    None,
    /// lr * B / R
    Linear,
    /// lr * sqrt(B / R)
    Sqrt,
}
