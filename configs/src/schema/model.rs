//! The network that turns a view into an embedding.

use serde::{Deserialize, Serialize};

/// The backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Which backbone; `model=NAME` chooses it with the settings that belong to it.
    pub name: ModelName,
    /// ResNets: the first layers.
    pub stem: Stem,
    /// Normalization layers of the backbone and the projector.
    pub norm: Norm,
    /// `norm: group`: groups of channels; layers with fewer channels, or a number that it does not divide, take the
    /// largest number below it that does. In a projector a group has at least 8 features.
    pub norm_groups: usize,
    /// `norm: batch`: by which statistics evaluations normalize; training is the same with each.
    pub bn_statistics: BnStatistics,
    /// `bn_statistics: precise`: samples of the training part that statistics are estimated from, at most.
    pub bn_samples: usize,
    /// `simple_cnn`: channels of the first convolution.
    pub conv1_channels: usize,
    /// `simple_cnn`: channels of the second convolution.
    pub conv2_channels: usize,
    /// `simple_cnn`: rows and columns after pooling.
    pub pool_size: usize,
    /// `simple_cnn`: width of the hidden layer, which is the embedding.
    pub fc_hidden: usize,
    /// `simple_cnn`: share of the embedding that is set to zero in training.
    pub dropout: f64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            name: ModelName::Resnet18,
            stem: Stem::Imagenet,
            norm: Norm::Batch,
            norm_groups: 32,
            bn_statistics: BnStatistics::default(),
            bn_samples: 4096,
            conv1_channels: 32,
            conv2_channels: 64,
            pool_size: 7,
            fc_hidden: 128,
            dropout: 0.25,
        }
    }
}

/// Backbones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelName {
    /// Four convolution blocks for CPUs, 0.4 M parameters, 256 features.
    CnnSmall,
    /// Two convolution blocks, pooling to a fixed size and a hidden layer, for small images; `fc_hidden` features.
    SimpleCnn,
    /// torchvision's resnet18, 512 features.
    Resnet18,
    /// torchvision's resnet34, 512 features.
    Resnet34,
    /// torchvision's resnet50, 2048 features.
    Resnet50,
}

impl ModelName {
    /// Every backbone, from the smallest to the largest.
    pub const ALL: [Self; 5] =
        [Self::CnnSmall, Self::SimpleCnn, Self::Resnet18, Self::Resnet34, Self::Resnet50];
}

/// First layers of a ResNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7x7 convolution of stride 2 and max-pooling, as published for 224x224 images.
    Imagenet,
    /// 3x3 convolution of stride 1, no pooling, for 32x32 images (SimCLR, appendix B.9).
    Small,
}

/// Normalization layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Batch norm: samples of a batch, or of a micro-batch, are normalized together.
    #[default]
    Batch,
    /// Group norm (Wu & He 2018): each sample by itself, so that micro-batches change nothing.
    Group,
    /// Batch norm whose running statistics are used and never learn, as for fine-tuning: micro-batches change nothing.
    Frozen,
}

/// Statistics that batch norm normalizes by in an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BnStatistics {
    /// The running means of training, as in PyTorch: after t steps they still hold 0.9^t of their start.
    #[default]
    Running,
    /// Estimated anew before each evaluation, from training samples under the weights as they are (Wu & Johnson 2021).
    Precise,
}

impl BnStatistics {
    /// As in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Precise => "precise",
        }
    }
}
