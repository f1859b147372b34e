//! Stochastic gradient descent.

use serde::{Deserialize, Serialize};

use super::super::Scheduled;
use super::{GroupConfig, OptimizerSettings};
use crate::checks::Checks;

/// Stochastic gradient descent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// L2 penalty, added to the gradient.
    pub weight_decay: Scheduled,
    /// Share of the last update that goes into the next one.
    pub momentum: Scheduled,
    /// Nesterov's form of momentum, which looks one step ahead; needs `momentum` above 0.
    pub nesterov: bool,
    /// Decay biases and norm parameters too, as PyTorch does.
    pub decay_bias_and_norm: bool,
    /// Parameters that are trained in another way than the rest, each by the first group that names it.
    pub groups: Vec<GroupConfig>,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            lr: 0.05,
            weight_decay: Scheduled::Constant(1e-4),
            momentum: Scheduled::Constant(0.9),
            nesterov: true,
            decay_bias_and_norm: true,
            groups: Vec::new(),
        }
    }
}

impl OptimizerSettings for SgdConfig {
    fn lr(&self) -> f64 {
        self.lr
    }

    fn weight_decay(&self) -> Scheduled {
        self.weight_decay
    }

    fn momentum(&self) -> (&'static str, Scheduled) {
        ("optimizer.momentum", self.momentum)
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
        let of_groups = self.groups.iter().filter_map(|group| group.momentum);
        u64::from(of_groups.chain([self.momentum]).any(|momentum| !momentum.is_zero()))
    }

    fn check(&self, checks: &mut Checks) {
        checks.require(
            !self.nesterov || !self.momentum.is_zero(),
            ["optimizer.nesterov", "optimizer.momentum"],
            || "`optimizer.nesterov` is true, but `optimizer.momentum` is 0".into(),
            "`optimizer.nesterov=false`, or a momentum such as 0.9",
        );
    }
}
