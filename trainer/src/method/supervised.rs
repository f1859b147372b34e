//! Cross-entropy on the target label, with label smoothing as in Szegedy et al., "Rethinking the Inception
//! Architecture" (2016), in PyTorch's formula. Samples without a label are left out of the mean.

use dtrain_configs::schema::{Encoder, MethodFacts, SupervisedConfig};
use tch::{Kind, TchError, Tensor};

use super::target_head::TargetHead;
use super::{
    ACCURACY, Explained, HeadReading, HeadTask, LocalBatch, Mean, Method, Objective, Parts, StepContext,
    Targets, Task,
};
use crate::loss::cross_entropy::cross_entropy;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone and linear classifier.
pub struct Supervised {
    facts: MethodFacts,
    backbone: Box<dyn Backbone>,
    head: TargetHead,
    label_smoothing: f64,
}

impl Supervised {
    /// Registers the classifier under `classifier`.
    pub(super) fn build(config: &SupervisedConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, task: Task { target, .. }, parameters, .. } = parts;
        let label_smoothing = config.label_smoothing;
        let head = TargetHead::build(target, backbone.num_features(), label_smoothing, parameters);
        Self { facts, backbone, head, label_smoothing }
    }
}

impl Method for Supervised {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["cross_entropy".into()]
    }

    fn mean_names(&self) -> Vec<String> {
        vec![ACCURACY.into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/acc", "val/loss"]
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (inputs, targets) = (part.inputs(), &part.targets);
        let logits = self.head.scores(&self.backbone.forward(inputs, context.pass())?)?;
        let classes = Tensor::from_slice(targets.classes()).to_device(inputs.device());
        let loss = cross_entropy(&logits, &classes, targets.global_samples, self.label_smoothing);
        let hits = logits.argmax(1, false).eq_tensor(&classes).sum(Kind::Double);
        Ok(Objective { means: vec![Mean::new(ACCURACY, hits)], ..Objective::direct(loss) })
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }

    fn heads(&self) -> &[HeadTask] {
        self.head.tasks()
    }

    fn explained(&self) -> Option<Explained<'_>> {
        Some(Explained { backbone: &*self.backbone, classifier: self.head.classifier() })
    }

    fn read_heads(&self, embeddings: &Tensor, targets: &Targets) -> Result<Vec<HeadReading>, TchError> {
        self.head.read(embeddings, targets)
    }
}
