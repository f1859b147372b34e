//! Supervised training on the target label.

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, ScheduledValues};
use super::{BatchFacts, LabelUse, LossMarks, MethodConfig, MethodFacts, MethodSettings, Sampling};
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

    fn loss_marks(&self, batch: &BatchFacts, _: &ScheduledValues) -> LossMarks {
        // All classes alike, also against a target that is smoothed.
        LossMarks { chance: (batch.num_classes > 1).then(|| (batch.num_classes as f64).ln()), minimum: None }
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        checks.below_one("method.label_smoothing", self.label_smoothing);
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Supervised(Self { label_smoothing: 0.1 })
    }
}
