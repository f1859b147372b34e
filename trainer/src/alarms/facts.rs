//! What rules look at: what is known of a run beforehand, and what one evaluation has measured.

use dtrain_configs::schema::{EntropyFacts, LabelUse};
use serde::Serialize;

/// What is known before the first step.
#[derive(Debug, Clone, PartialEq)]
pub struct AlarmFacts {
    /// Width of an embedding.
    pub embedding_width: u64,
    /// The largest rank that the embeddings of an evaluation can or need have: their width, their number, and the classes where
    /// the method pulls those together. `None`: nothing is expected of it.
    pub full_rank: Option<f64>,
    /// The label that names recordings, where there is one beside the target.
    pub recording: Option<String>,
    /// What the method takes from labels.
    pub labels: LabelUse,
    /// The distribution that the method puts out.
    pub entropy: Option<EntropyFacts>,
}

/// How well a label is told.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Share of right answers.
    pub accuracy: f64,
    /// Of guessing.
    pub chance: f64,
}

impl Score {
    /// Share of the way from chance to 1; below 0 where guessing is better. `None` where there is nothing to tell.
    pub fn above_chance(self) -> Option<f64> {
        let above = (self.accuracy - self.chance) / (1.0 - self.chance);
        Some(above).filter(|above| above.is_finite())
    }

    fn of(accuracy: Option<f64>, chance: Option<f64>) -> Option<Self> {
        Some(Self { accuracy: accuracy?, chance: chance? })
    }
}

/// What was measured of the weights after a step; `None` where it was not, or is no number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// Standard deviation of normalized embeddings.
    pub embedding_std: Option<f64>,
    /// RankMe.
    pub effective_rank: Option<f64>,
    /// Mean squared distance of samples of one class.
    pub alignment: Option<f64>,
    /// Spread over the sphere.
    pub uniformity: Option<f64>,
    /// Nearest neighbours on the class.
    pub class: Option<Score>,
    /// Nearest neighbours on the recording.
    pub recording: Option<Score>,
    /// The linear probe on what it was fitted to.
    pub linear_train: Option<Score>,
    /// The linear probe elsewhere.
    pub linear: Option<Score>,
    /// Training loss, as last logged.
    pub loss: Option<f64>,
    /// Mean entropy of the output, as last logged.
    pub entropy: Option<f64>,
}

impl Measured {
    /// By the metrics' names.
    pub fn of(facts: &AlarmFacts, value: &dyn Fn(&str) -> Option<f64>) -> Self {
        let value = |name: &str| value(name).filter(|value| value.is_finite());
        let chance = value("val/chance");
        let recording = facts.recording.as_ref().and_then(|label| {
            Score::of(value(&format!("val/{label}_knn_top1")), value(&format!("val/{label}_chance")))
        });
        // What the probe says of the training part belongs to this evaluation if it was fitted in it.
        let linear = Score::of(value("val/linear_top1"), chance);
        Self {
            embedding_std: value("val/embedding_std"),
            effective_rank: value("val/effective_rank"),
            alignment: value("val/alignment"),
            uniformity: value("val/uniformity"),
            class: Score::of(value("val/knn_top1"), chance),
            recording,
            linear_train: linear.and_then(|_| Score::of(value("train/linear_top1"), chance)),
            linear,
            loss: value("train/loss"),
            entropy: facts.entropy.and_then(|entropy| value(&format!("train/{}", entropy.metric))),
        }
    }
}
