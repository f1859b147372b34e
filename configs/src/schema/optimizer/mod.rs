//! How weights move. `optimizer.name` is read first, as in [`super::method`].

mod adam;
mod groups;
mod lars;
mod sgd;

use serde::{Deserialize, Serialize};

use super::Scheduled;
use super::tagged::tagged;
use crate::checks::Checks;

pub use adam::{AdamConfig, AdamwConfig};
pub use groups::{GroupConfig, GroupSchedule};
pub use lars::LarsConfig;
pub use sgd::SgdConfig;

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

    /// Weight decay of what is in no group that says otherwise.
    fn weight_decay(&self) -> Scheduled;

    /// Share of the last update that goes into the next one, with its key.
    fn momentum(&self) -> (&'static str, Scheduled);

    /// Parameters that are trained in another way than the rest.
    fn groups(&self) -> &[GroupConfig];

    /// As [`Self::groups`], to be changed.
    fn groups_mut(&mut self) -> &mut Vec<GroupConfig>;

    /// Whether biases and norm parameters are decayed too.
    fn decay_bias_and_norm(&self) -> bool;

    /// Numbers that it keeps for each weight.
    fn num_moments(&self) -> u64;

    /// Settings that cannot work, besides what all have.
    fn check(&self, checks: &mut Checks);
}

impl OptimizerConfig {
    /// Learning rate at the reference batch, before scaling.
    pub fn lr(&self) -> f64 {
        self.settings().lr()
    }

    /// Weight decay of what is in no group that says otherwise.
    pub fn weight_decay(&self) -> Scheduled {
        self.settings().weight_decay()
    }

    /// Share of the last update that goes into the next one: momentum, or the decay of Adam's first moment.
    pub fn momentum(&self) -> Scheduled {
        self.settings().momentum().1
    }

    /// The key of [`Self::momentum`].
    pub fn momentum_key(&self) -> &'static str {
        self.settings().momentum().0
    }

    /// Parameters that are trained in another way than the rest.
    pub fn groups(&self) -> &[GroupConfig] {
        self.settings().groups()
    }

    /// As [`Self::groups`], to be changed.
    pub fn groups_mut(&mut self) -> &mut Vec<GroupConfig> {
        self.settings_mut().groups_mut()
    }

    /// Settings that cannot work.
    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.positive("optimizer.lr", self.lr());
        self.weight_decay().check_not_negative("optimizer.weight_decay", checks);
        self.momentum().check_below_one(self.momentum_key(), checks);
        self.settings().check(checks);
        groups::check(self.groups(), checks);
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
