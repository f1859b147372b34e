//! Probes on frozen embeddings.

use serde::{Deserialize, Serialize};

/// Evaluation during training and by `dtrain eval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Epochs between two evaluations; 0 switches evaluation off.
    pub every_epochs: u64,
    /// Samples per forward pass over all ranks.
    pub batch_size: usize,
    /// Probe the embeddings by nearest neighbours and linear classifiers, besides what the network itself predicts.
    pub embeddings: bool,
    /// Labels to probe besides `data.target`, such as `speaker` or `recording`.
    pub probes: Vec<String>,
    /// k nearest neighbours.
    pub knn: KnnConfig,
    /// Linear probe.
    pub linear: LinearProbeConfig,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            every_epochs: 1,
            batch_size: 256,
            embeddings: true,
            probes: Vec::new(),
            knn: KnnConfig::default(),
            linear: LinearProbeConfig::default(),
        }
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
    /// Full-batch iterations.
    pub iterations: usize,
    /// L2 penalty on the weights (not the biases).
    pub weight_decay: f64,
}

impl Default for LinearProbeConfig {
    fn default() -> Self {
        Self { every_epochs: 0, iterations: 200, weight_decay: 1e-3 }
    }
}
