//! An evaluation in full, as `result.json` and `dtrain eval --json` have it: every accuracy with what it is to be held
//! against.

use std::collections::BTreeMap;

use dtrain_configs::schema::EvalWeights;
use serde::{Deserialize, Serialize};

use super::Audit;

/// What certain weights reach on the parts that are reported on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FullEvaluation {
    /// Which weights.
    pub weights: EvalWeights,
    /// Optimizer steps that they have seen.
    pub step: u64,
    /// The part that `val/...` is measured on: `test` where the data have no validation part, so that whatever was chosen by
    /// it was chosen on the test part; absent where there is neither.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_part: Option<String>,
    /// Of each part, label and probe.
    pub accuracies: Vec<Accuracy>,
    /// Of each class of the target, on each part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub per_class: Vec<ClassAccuracies>,
    /// Of the classes that are held out of training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub few_shot: Vec<FewShotAccuracy>,
    /// What else than the class the embedding knows, where that was asked (`eval.audit`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// What few labelled samples of new classes are worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FewShotAccuracy {
    /// Classes of an episode.
    pub ways: usize,
    /// Labelled samples of each.
    pub shots: usize,
    /// Episodes.
    pub episodes: usize,
    /// Mean over episodes; chance is one over `ways`.
    pub accuracy: f64,
    /// Ends of its 95 % interval, 1.96 standard errors away; absent for a single episode.
    pub interval: Option<[f64; 2]>,
}

/// What the probes reach on one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassAccuracies {
    /// The part.
    pub part: String,
    /// The class.
    pub class: String,
    /// Samples of the class that were asked about, by probe as in `accuracies`: a linear probe within a part asks for half.
    pub samples: BTreeMap<String, u64>,
    /// Share of them that was answered rightly, by probe.
    pub accuracies: BTreeMap<String, f64>,
}

/// A line of the accuracy tables. Shares are from 0 to 1; `null` where there were no samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// The part.
    pub part: String,
    /// The label.
    pub label: String,
    /// `kNN`, `linear`, `linear (lightly)` or `classifier`, with its setting where several were tried.
    pub probe: String,
    /// `train`, or `part` where the answers come from other samples of the part.
    pub answers_from: String,
    /// On the training part; absent where the protocol has none or it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<f64>,
    /// On the part.
    pub accuracy: Option<f64>,
    /// The same of the untrained network, where `eval.baseline` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untrained: Option<f64>,
    /// The same of the inputs, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<f64>,
    /// Ends of its 95 % interval (Wilson).
    pub interval: Option<[f64; 2]>,
    /// One over the number of classes that occur.
    pub chance: Option<f64>,
    /// Always the most frequent class.
    pub majority: Option<f64>,
    /// Samples that were asked about.
    pub samples: u64,
}
