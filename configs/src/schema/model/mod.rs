//! The network that turns a view into an embedding. `model.name` is read first; what only that network has is then decoded into
//! a struct of its own. A network's file here holds its settings, their checks, and what the rest of the program needs to know of
//! it before there are tensors; its layers are the file of the same name in the trainer.

mod cnn_small;
mod conv_encoder;
mod facts;
mod mlp;
mod norm;
mod resnet;
mod simple_cnn;
mod vit;

use serde::{Deserialize, Serialize};

use super::tagged::tagged;
use crate::checks::{Checks, MAX_DIM};

pub use cnn_small::CnnSmallConfig;
pub use conv_encoder::ConvEncoderConfig;
pub use facts::{Elsewhere, NetworkFacts, NetworkVariant, PythonLibrary};
pub use mlp::MlpConfig;
pub use norm::{BnStatistics, Norm};
pub use resnet::{Depth18, Depth34, Depth50, ResnetArchitecture, ResnetConfig, ResnetDepth, Stem};
pub use simple_cnn::SimpleCnnConfig;
pub use vit::{VitConfig, VitPool, VitShape, VitSize};
use vit::{VitSmall, VitTiny};

tagged! {
    dyn NetworkSettings;
    /// The network, chosen by `model.name`; from the smallest to the largest.
    pub enum NetworkConfig {
        /// Four convolution blocks for CPUs, 0.4 M parameters, 256 features.
        CnnSmall(CnnSmallConfig) = "cnn_small",
        /// Linear layers with ReLU over all values of a view, for small images; the last of `hidden` is the number of features.
        Mlp(MlpConfig) = "mlp",
        /// Strided convolutions for codecs, whose feature maps keep many positions; 0.06 M parameters, 64 features.
        ConvEncoder(ConvEncoderConfig) = "conv_encoder",
        /// Two convolution blocks, pooling to a fixed size and a hidden layer, for small images; `fc_hidden` features.
        SimpleCnn(SimpleCnnConfig) = "simple_cnn",
        /// timm's vit_tiny, a vision transformer of 5.5 M parameters, 192 features.
        VitTiny(VitConfig<VitTiny>) = "vit_tiny",
        /// torchvision's resnet18, 512 features.
        Resnet18(ResnetConfig<Depth18>) = "resnet18",
        /// timm's vit_small, a vision transformer of 21.7 M parameters, 384 features.
        VitSmall(VitConfig<VitSmall>) = "vit_small",
        /// torchvision's resnet34, 512 features.
        Resnet34(ResnetConfig<Depth34>) = "resnet34",
        /// torchvision's resnet50, 2048 features.
        Resnet50(ResnetConfig<Depth50>) = "resnet50",
    }
}

/// What a network knows about itself.
pub(crate) trait NetworkSettings {
    /// What planning, checks and proofs go by.
    fn facts(&self) -> NetworkFacts;

    /// Weights and biases for views of `input`, channels, rows and columns; scales and shifts of normalization included.
    fn num_parameters(&self, input: [u64; 3]) -> u64;

    /// Settings of its own that cannot work.
    fn check(&self, checks: &mut Checks);

    /// Its forms that a proof goes through, without randomness.
    fn variants(&self) -> Vec<NetworkVariant>;

    /// Rows and columns of what it has positions for in views of these rows and columns, if it has any.
    fn position_grid(&self, _view: [usize; 2]) -> Option<[usize; 2]> {
        None
    }

    /// How to make it with libraries of Python for views of `input`, channels, rows and columns; its own names of layers first.
    fn elsewhere(&self, _input: [u64; 3]) -> Vec<Elsewhere> {
        Vec::new()
    }
}

impl NetworkConfig {
    /// What planning, checks and proofs go by.
    pub fn facts(&self) -> NetworkFacts {
        self.settings().facts()
    }

    /// Weights and biases for views of `input`, channels, rows and columns; scales and shifts of normalization included.
    pub fn num_parameters(&self, input: [u64; 3]) -> u64 {
        self.settings().num_parameters(input)
    }

    /// Its forms that a proof goes through, without randomness.
    pub fn variants(&self) -> Vec<NetworkVariant> {
        self.settings().variants()
    }

    /// Rows and columns of what it has positions for in views of these rows and columns, if it has any.
    pub fn position_grid(&self, view: [usize; 2]) -> Option<[usize; 2]> {
        self.settings().position_grid(view)
    }

    /// How to make it with libraries of Python for views of `input`, channels, rows and columns, that of its names first.
    pub fn elsewhere(&self, input: [u64; 3]) -> Vec<Elsewhere> {
        self.settings().elsewhere(input)
    }
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::Resnet18(ResnetConfig::default())
    }
}

/// The backbone: the network, and what all networks have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// Which network, with the settings that only it has.
    #[serde(flatten, skip_deserializing)]
    pub network: NetworkConfig,
    /// Normalization layers of the backbone and the projector.
    pub norm: Norm,
    /// `norm: group`: groups of channels; layers with fewer channels, or a number that it does not divide, take the
    /// largest number below it that does. In a projector a group has at least 8 features.
    pub norm_groups: usize,
    /// `norm: batch`: by which statistics evaluations normalize; training is the same with each.
    pub bn_statistics: BnStatistics,
    /// `bn_statistics: precise`: samples of the training part that statistics are estimated from, at most.
    pub bn_samples: usize,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            network: NetworkConfig::default(),
            norm: Norm::Batch,
            norm_groups: 32,
            bn_statistics: BnStatistics::default(),
            bn_samples: 4096,
        }
    }
}

impl ModelConfig {
    /// Every network with its defaults, from the smallest to the largest.
    pub fn all() -> Vec<Self> {
        NetworkConfig::all().into_iter().map(Self::from).collect()
    }

    /// The network of that name, with its defaults.
    pub fn named(name: &str) -> Option<Self> {
        NetworkConfig::named(name).map(Self::from)
    }

    /// A network for proofs that are about something else.
    pub fn smallest() -> Self {
        Self::from(NetworkConfig::all().into_iter().next().unwrap_or_default())
    }

    /// As written in `model.name`.
    pub fn name(&self) -> &'static str {
        self.network.name()
    }

    /// Settings that cannot work.
    pub(crate) fn check(&self, checks: &mut Checks) {
        self.network.settings().check(checks);
        checks.count("model.norm_groups", self.norm_groups as u64, 1, MAX_DIM);
    }
}

impl From<NetworkConfig> for ModelConfig {
    /// The network with the defaults of what all networks have.
    fn from(network: NetworkConfig) -> Self {
        Self { network, ..Self::default() }
    }
}
