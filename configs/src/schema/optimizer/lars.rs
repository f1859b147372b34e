//! Layer-wise adaptive rates.

use serde::{Deserialize, Serialize};

use super::super::Scheduled;
use super::{GroupConfig, OptimizerSettings};
use crate::checks::Checks;

/// Layer-wise adaptive rates; biases and norm parameters are excluded from decay and adaptation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LarsConfig {
    /// Learning rate at the peak of the schedule, for `schedule.reference_batch` samples; `schedule.lr_scaling` says what
    /// another batch makes of it.
    pub lr: f64,
    /// L2 penalty, added to the gradient before the trust ratio.
    pub weight_decay: Scheduled,
    /// Share of the last update that goes into the next one.
    pub momentum: Scheduled,
    /// Trust coefficient: a layer's step is trust * |w| / |g| times its gradient.
    pub trust_coefficient: f64,
    /// Parameters that are trained in another way than the rest, each by the first group that names it.
    pub groups: Vec<GroupConfig>,
}

impl Default for LarsConfig {
    fn default() -> Self {
        Self {
            lr: 0.3,
            weight_decay: Scheduled::Constant(1e-6),
            momentum: Scheduled::Constant(0.9),
            trust_coefficient: 0.001,
            groups: Vec::new(),
        }
    }
}

impl OptimizerSettings for LarsConfig {
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
        false
    }

    fn num_moments(&self) -> u64 {
        1
    }

    fn check(&self, checks: &mut Checks) {
        checks.positive("optimizer.trust_coefficient", self.trust_coefficient);
    }
}
