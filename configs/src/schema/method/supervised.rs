//! Supervised training on the target label.

use serde::{Deserialize, Serialize};

use super::super::RunConfig;
use super::{LabelUse, MethodConfig, MethodFacts, MethodSettings, Sampling};
use crate::checks::Checks;

/// Cross-entropy on the target label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupervisedConfig {
    /// Share of the target probability that is spread over all classes (PyTorch's formula).
    pub label_smoothing: f64,
}

impl Default for SupervisedConfig {
    fn default() -> Self {
        Self { label_smoothing: 0.0 }
    }
}

impl MethodSettings for SupervisedConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            sampling: Sampling::ShuffledLabelled,
            labels: LabelUse::Target,
            ..MethodFacts::default()
        }
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        checks.below_one("method.label_smoothing", self.label_smoothing);
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Supervised(Self { label_smoothing: 0.1 })
    }
}
