//! Probes on frozen embeddings.

use serde::{Deserialize, Serialize};

use super::auto::AutoValue;
use super::{Auto, RunConfig};

/// Evaluation during training and by `dtrain eval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Epochs between two evaluations; 0 switches evaluation off.
    pub every_epochs: u64,
    /// Samples per forward pass over all ranks.
    pub batch_size: usize,
    /// Probe the embeddings by nearest neighbours and linear classifiers, besides what the network itself predicts; `false`
    /// saves embedding the training part at each evaluation.
    pub embeddings: bool,
    /// Which network embeds, where the method has a teacher beside the trained one; `auto` = what the method's authors
    /// evaluate, and the trained one without a teacher.
    pub encoder: Auto<Encoder>,
    /// Labels to probe besides `data.target`, such as `speaker` or `recording`.
    pub probes: Vec<String>,
    /// The probe by the k nearest neighbours.
    pub knn: KnnConfig,
    /// The probe by a linear classifier.
    pub linear: LinearProbeConfig,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            batch_size: 256,
            embeddings: true,
            encoder: Auto::Auto,
            probes: Vec::new(),
            knn: KnnConfig::default(),
            linear: LinearProbeConfig::default(),
        }
    }
}

/// Networks that can embed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoder {
    /// The one that is trained.
    Online,
    /// Its moving average, where the method has one.
    Teacher,
}

impl AutoValue for Encoder {
    const EXPECTED: &'static str = "`auto`, `online` or `teacher`";
    const CHOICES: &'static [&'static str] = &["auto", "online", "teacher"];
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "online" => Some(Self::Online),
            "teacher" => Some(Self::Teacher),
            _ => None,
        }
    }
}

impl RunConfig {
    /// The network that evaluations embed with.
    pub fn encoder(&self) -> Encoder {
        let usual = self.method.facts().teacher.is_some_and(|teacher| teacher.is_evaluated);
        self.eval.encoder.value().unwrap_or(if usual { Encoder::Teacher } else { Encoder::Online })
    }
}

/// Weighted k-nearest-neighbour classifier on normalized embeddings (Wu et al. 2018, section 3.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KnnConfig {
    /// Neighbours that vote.
    pub k: usize,
    /// A neighbour of cosine similarity s votes with weight exp(s / temperature).
    pub temperature: f64,
}

impl Default for KnnConfig {
    fn default() -> Self {
        Self { k: 20, temperature: 0.07 }
    }
}

/// Multinomial logistic regression on standardized embeddings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearProbeConfig {
    /// Epochs between two probes during training; 0 probes only at the end.
    pub every_epochs: u64,
    /// Iterations of L-BFGS on the full training part, at most.
    pub iterations: usize,
    /// L2 penalty on the weights (not the biases).
    pub weight_decay: f64,
}

impl Default for LinearProbeConfig {
    fn default() -> Self {
        Self { every_epochs: 0, iterations: 200, weight_decay: 1e-3 }
    }
}
