//! The one classifier of a method that learns the target.

use dtrain_configs::schema::{HeadSettings, HeadsConfig};
use tch::{TchError, Tensor};

use super::{CLASSIFIER, HeadReading, HeadTask, Targets};
use crate::model::classifier::Classifier;
use crate::model::parameters::Parameters;

/// A linear classifier of the target, and what is said of its answers.
pub(super) struct TargetHead {
    classifier: Classifier,
    label_smoothing: f64,
    /// The target, and the value of each of its classes, `[K]`.
    task: [HeadTask; 1],
    values: Tensor,
}

impl TargetHead {
    /// Registers the classifier under [`CLASSIFIER`].
    pub fn build(
        target: &HeadTask,
        num_features: i64,
        label_smoothing: f64,
        parameters: &mut Parameters,
    ) -> Self {
        let classifier =
            parameters.scope(CLASSIFIER, |scope| Classifier::new(num_features, target.num_classes, scope));
        let values = Tensor::from_slice(&target.scale()).to_device(parameters.device());
        Self { classifier, label_smoothing, task: [target.clone()], values }
    }

    /// Scores of embeddings `[n, num_features]`, `[n, K]`.
    pub fn scores(&self, embeddings: &Tensor) -> Result<Tensor, TchError> {
        self.classifier.forward(embeddings)
    }

    /// Its layer.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }

    /// The target alone.
    pub fn tasks(&self) -> &[HeadTask] {
        &self.task
    }

    /// What it says of embeddings, as of a head of several.
    pub fn read(&self, embeddings: &Tensor, targets: &Targets) -> Result<Vec<HeadReading>, TchError> {
        let [task] = &self.task;
        let plain = HeadsConfig::default().settings(&task.name, false);
        let settings = HeadSettings { label_smoothing: self.label_smoothing, ..plain };
        let scores = self.scores(embeddings)?;
        let classes = Tensor::from_slice(targets.label(task)).to_device(embeddings.device());
        Ok(vec![HeadReading::of(&settings, &scores, &classes, &self.values)])
    }
}
