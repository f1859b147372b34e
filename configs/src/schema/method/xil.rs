//! Training a classifier that has learned a confounder with what a user says about it.

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, ScheduledValues};
use super::{BatchFacts, LabelUse, LossMarks, MethodConfig, MethodFacts, MethodSettings, Sampling};
use crate::checks::Checks;

/// Cross-entropy on samples as they are and on samples that a user has corrected, which are those of `data.pools`. The log has
/// the loss of both apart, whatever they are combined to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct XilConfig {
    /// How the losses of samples as they are and of corrected ones are combined.
    pub loss: XilLoss,
    /// `loss: balanced`: weight of the mean loss of corrected samples beside that of the others.
    pub lambda: f64,
    /// `loss: lagrangian`: largest mean loss of corrected samples that is allowed.
    pub epsilon: f64,
    /// `loss: lagrangian`: what the multiplier grows by in a step for each unit of loss above `epsilon`; it falls as fast below.
    pub dual_step: f64,
    /// `loss: lagrangian`: largest multiplier. Where `epsilon` cannot be reached, the multiplier stays there.
    pub max_multiplier: f64,
    /// `loss: rrr`: weight of the squared input gradient within masks, summed over the positions of a sample. It is of the
    /// network's inputs: of pixels from 0 to 255 instead of 0 to 1 the same penalty has 65,025 times the weight.
    pub gradient_penalty: f64,
    /// Share of the target probability that is spread over all classes (PyTorch's formula).
    pub label_smoothing: f64,
}

/// How the losses of corrected and of other samples are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XilLoss {
    /// The mean loss of the others, plus `lambda` times that of corrected samples.
    Balanced,
    /// The mean over all samples alike.
    #[default]
    Imbalanced,
    /// The mean loss of the others, while that of corrected samples is held below `epsilon` by a multiplier.
    Lagrangian,
    /// Right for the right reasons: the mean over all samples alike, plus a penalty on what the answer depends on within masks.
    Rrr,
}

impl Default for XilConfig {
    fn default() -> Self {
        Self {
            loss: XilLoss::Imbalanced,
            lambda: 1.0,
            epsilon: 0.05,
            dual_step: 0.1,
            max_multiplier: 20.0,
            gradient_penalty: 0.0154,
            label_smoothing: 0.0,
        }
    }
}

impl MethodSettings for XilConfig {
    fn facts(&self) -> MethodFacts {
        let looks_inside = self.loss == XilLoss::Rrr;
        MethodFacts {
            sampling: Sampling::ShuffledLabelled,
            labels: LabelUse::Target,
            masks: looks_inside,
            second_order: looks_inside,
            ..MethodFacts::default()
        }
    }

    fn loss_marks(&self, batch: &BatchFacts, _: &ScheduledValues) -> LossMarks {
        // Of `balanced` and `lagrangian` the objective is no mean over the batch.
        let is_mean = self.loss == XilLoss::Imbalanced && batch.num_classes > 1;
        LossMarks { chance: is_mean.then(|| (batch.num_classes as f64).ln()), minimum: None }
    }

    fn check(&self, config: &RunConfig, checks: &mut Checks) {
        checks.not_negative("method.lambda", self.lambda);
        checks.not_negative("method.epsilon", self.epsilon);
        checks.positive("method.dual_step", self.dual_step);
        checks.positive("method.max_multiplier", self.max_multiplier);
        checks.not_negative("method.gradient_penalty", self.gradient_penalty);
        checks.below_one("method.label_smoothing", self.label_smoothing);
        let needs_pool = matches!(self.loss, XilLoss::Balanced | XilLoss::Lagrangian);
        checks.require(
            !needs_pool || !config.data.pools.is_empty(),
            ["method.loss", "data.pools"],
            || "this loss tells corrected samples from others, and `data.pools` is empty".into(),
            "give corrected samples places in each batch: \
             `'data.pools=[{label: is_user_corrected, values: [\"yes\"], count: 4}]'`, or without corrections \
             `method.loss=imbalanced`",
        );
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Xil(Self { label_smoothing: 0.1, ..self.clone() })
    }
}
