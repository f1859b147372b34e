//! Cross-entropy on the target label, with label smoothing as in Szegedy et al., "Rethinking the Inception
//! Architecture" (2016), in PyTorch's formula. Samples without a label are left out of the mean.

use dtrain_configs::schema::SupervisedConfig;
use tch::{Kind, TchError, Tensor};

use super::{DirectLoss, Method, Objective, Sampling, Targets};
use crate::loss::cross_entropy::cross_entropy;
use crate::model::classifier::Classifier;
use crate::model::parameters::Parameters;
use crate::model::{Backbone, Pass};
use crate::state::Stateful;

/// Backbone and linear classifier.
pub struct Supervised {
    backbone: Box<dyn Backbone>,
    classifier: Classifier,
    label_smoothing: f64,
}

impl Supervised {
    /// Registers the classifier under `classifier`.
    pub fn build(
        config: &SupervisedConfig,
        backbone: Box<dyn Backbone>,
        num_classes: i64,
        parameters: &mut Parameters,
    ) -> Self {
        let classifier = parameters
            .scope("classifier", |scope| Classifier::new(backbone.num_features(), num_classes, scope));
        Self { backbone, classifier, label_smoothing: config.label_smoothing }
    }
}

impl Method for Supervised {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn num_views(&self) -> u32 {
        1
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["cross_entropy".into()]
    }

    fn sampling(&self) -> Sampling {
        Sampling::ShuffledLabelled
    }

    fn objective(&self, inputs: &Tensor, targets: &Targets, pass: &Pass) -> Result<Objective, TchError> {
        let logits = self.classifier.forward(&self.backbone.forward(inputs, pass)?)?;
        let classes = Tensor::from_slice(&targets.classes).to_device(inputs.device());
        let loss = cross_entropy(&logits, &classes, targets.global_samples, self.label_smoothing);
        let hits = logits.argmax(1, false).eq_tensor(&classes).sum(Kind::Double);
        Ok(Objective::Direct(DirectLoss { terms: vec![loss], sums: vec![("acc".into(), hits)] }))
    }

    fn embed(&self, inputs: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }

    fn classify(&self, embeddings: &Tensor) -> Result<Option<Tensor>, TchError> {
        Ok(Some(self.classifier.forward(embeddings)?))
    }
}
