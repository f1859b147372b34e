//! Training objectives. `method.name` is read first; the section is then decoded into that method's own struct.

use serde::{Deserialize, Serialize};

use super::{Auto, MultiheadConfig};

/// The objective, chosen by `method.name`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum MethodConfig {
    /// Two views of a sample attract, all others repel (Chen et al. 2020).
    Simclr(SimclrConfig),
    /// All views of a class attract (Khosla et al. 2020).
    Supcon(SupconConfig),
    /// Cross-entropy on the target label.
    Supervised(SupervisedConfig),
    /// One classifier for each label of the data, on a shared backbone.
    Multihead(MultiheadConfig),
}

impl MethodConfig {
    /// Every method with its defaults.
    pub fn all() -> Vec<Self> {
        vec![
            MethodConfig::Simclr(SimclrConfig::default()),
            MethodConfig::Supcon(SupconConfig::default()),
            MethodConfig::Supervised(SupervisedConfig::default()),
            MethodConfig::Multihead(MultiheadConfig::default()),
        ]
    }

    /// As written in `method.name`.
    pub fn name(&self) -> &'static str {
        match self {
            MethodConfig::Simclr(_) => "simclr",
            MethodConfig::Supcon(_) => "supcon",
            MethodConfig::Supervised(_) => "supervised",
            MethodConfig::Multihead(_) => "multihead",
        }
    }
}

impl Default for MethodConfig {
    fn default() -> Self {
        MethodConfig::Supcon(SupconConfig::default())
    }
}

/// SimCLR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimclrConfig {
    /// Softmax temperature of the cosine similarities.
    pub temperature: f64,
    /// Head between embedding and loss.
    pub projector: ProjectorConfig,
    /// Rows of a tile of the loss; `auto` = 512 on a CPU, 4096 on a GPU, less where memory is short.
    pub tile: Auto<usize>,
    /// Embeddings of earlier batches that are kept as further rows to compare with (MoCo's queue without its encoder);
    /// 0 = none.
    pub queue_size: usize,
    /// Pairs of different samples that are alike in one of these are left out of the loss, neither positive nor negative.
    pub exclude_pairs: Vec<PairExclusion>,
    /// Keep two samples of one recording out of a batch (needs `data.recording`).
    pub distinct_recordings: bool,
}

impl Default for SimclrConfig {
    fn default() -> Self {
        Self {
            temperature: 0.1,
            projector: ProjectorConfig::default(),
            tile: Auto::Auto,
            queue_size: 0,
            exclude_pairs: Vec::new(),
            distinct_recordings: true,
        }
    }
}

/// What makes a pair of samples one that the contrastive loss leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairExclusion {
    /// Both come from one recording (`data.recording`).
    Recording,
    /// Both have the same target label. In SupCon such pairs are the positives and cannot be left out.
    Label,
}

/// SupCon, the "out" form (equation 2 of the paper).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupconConfig {
    /// Softmax temperature of the cosine similarities.
    pub temperature: f64,
    /// Head between embedding and loss.
    pub projector: ProjectorConfig,
    /// Rows of a tile of the loss; `auto` = 512 on a CPU, 4096 on a GPU, less where memory is short.
    pub tile: Auto<usize>,
    /// Embeddings of earlier batches that are kept as further rows to compare with (MoCo's queue without its encoder);
    /// 0 = none.
    pub queue_size: usize,
    /// Pairs of different samples that are alike in one of these are left out of the loss, neither positive nor negative.
    pub exclude_pairs: Vec<PairExclusion>,
    /// Samples of each class in a batch (K of P x K, over the global batch); `auto` = as many as give each class
    /// in the batch the same share, at least 2.
    pub samples_per_class: Auto<usize>,
}

impl Default for SupconConfig {
    fn default() -> Self {
        Self {
            temperature: 0.07,
            projector: ProjectorConfig::default(),
            tile: Auto::Auto,
            queue_size: 0,
            exclude_pairs: Vec::new(),
            samples_per_class: Auto::Auto,
        }
    }
}

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

/// A multi-layer perceptron whose output the contrastive loss sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectorConfig {
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of the output.
    pub out_dim: usize,
    /// Linear layers.
    pub num_layers: usize,
    /// Batch norm after each hidden layer.
    pub batch_norm: bool,
}

impl Default for ProjectorConfig {
    fn default() -> Self {
        Self { hidden_dim: 512, out_dim: 128, num_layers: 2, batch_norm: true }
    }
}
