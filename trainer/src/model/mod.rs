//! Networks with torchvision's parameter names: backbones that turn a view into an embedding, and the heads on them.

pub mod batch_norm;
pub mod classifier;
pub mod cnn_small;
pub mod conv_encoder;
pub mod decoder;
pub mod dino_head;
pub mod dropout;
pub mod freeze;
pub mod frozen;
pub mod group_norm;
pub mod layer_norm;
pub mod layers;
pub mod mlp;
pub mod norm;
pub mod parameters;
pub mod projector;
pub mod resnet;
pub mod semantic_head;
pub mod simple_cnn;
mod stateful;
pub mod statistics;
mod synchronized_norm;
pub mod vit;

use dtrain_configs::schema::{ModelConfig, NetworkConfig};
use tch::{TchError, Tensor};

use crate::torch_extra::SyncStatistics;
use cnn_small::CnnSmall;
use conv_encoder::ConvEncoder;
use dropout::Noise;
use mlp::Mlp;
use norm::NormConfig;
use parameters::Parameters;
use resnet::Resnet;
use simple_cnn::SimpleCnn;
use vit::Vit;

/// How layers behave in one forward.
#[derive(Debug, Clone)]
pub struct ForwardContext {
    /// Normalize by the statistics of the batch rather than by the running ones.
    pub train: bool,
    /// In training: take the statistics over all ranks. `None` takes those of the tensor at hand.
    pub sync: Option<SyncStatistics>,
    /// In training: share of the batch's statistics in the running ones, which learn by it. `None` leaves them, as where
    /// a batch goes through a second time, in the second encoding of a micro-batched contrastive step.
    pub momentum: Option<f64>,
    /// In training: what dropout draws from. `None` drops nothing.
    pub noise: Option<Noise>,
    /// Gradients of gradients will be taken: layers compute by operations that have them, in more passes over memory than by
    /// those that have a first derivative only.
    pub differentiable_twice: bool,
}

impl ForwardContext {
    /// Evaluation: each sample by itself.
    pub fn eval() -> Self {
        Self { train: false, sync: None, momentum: None, noise: None, differentiable_twice: false }
    }

    /// Training, with statistics over all ranks if `sync` is given.
    pub fn train(sync: Option<SyncStatistics>) -> Self {
        Self { train: true, sync, momentum: Some(batch_norm::MOMENTUM), ..Self::eval() }
    }

    /// The same, in a graph whose gradients have gradients if `differentiable_twice`.
    pub fn twice(self, differentiable_twice: bool) -> Self {
        Self { differentiable_twice, ..self }
    }

    /// The same, leaving the running statistics as they are.
    pub fn without_update(self) -> Self {
        Self { momentum: None, ..self }
    }

    /// As in training but without dropout; afterwards the running statistics are those of this batch.
    pub fn taking_statistics(sync: Option<SyncStatistics>) -> Self {
        Self { momentum: Some(1.0), ..Self::train(sync) }
    }
}

/// What a network is built for: channels, rows and columns of a view.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputShape {
    /// Channels.
    pub channels: i64,
    /// Rows.
    pub height: i64,
    /// Columns.
    pub width: i64,
}

impl From<[i64; 3]> for InputShape {
    /// (C, H, W).
    fn from([channels, height, width]: [i64; 3]) -> Self {
        Self { channels, height, width }
    }
}

/// What a network knows of a batch before positions are summed up.
#[derive(Debug)]
pub struct Features {
    /// Of each position: (N, [`Backbone::feature_shape`]).
    pub maps: Tensor,
    /// The class token (N, D) of a transformer whose embedding it is. Its maps take no part in [`Backbone::pool`] then.
    pub token: Option<Tensor>,
}

impl Features {
    /// Feature maps, whose positions are summed up to the embedding.
    pub fn of_maps(maps: Tensor) -> Self {
        Self { maps, token: None }
    }

    /// What the embedding is made of.
    pub fn pooled(&self) -> &Tensor {
        self.token.as_ref().unwrap_or(&self.maps)
    }
}

/// A network that turns views into embeddings, by way of feature maps.
pub trait Backbone: Send {
    /// Feature maps of a batch: what the network knows of each position, before positions are summed up. They are what
    /// Grad-CAM weighs and a decoder starts from; a gradient with respect to them is that of any tensor of the graph.
    ///
    /// # Shapes
    /// `input` (N, C, H, W) to maps of [`Backbone::feature_shape`] where it has the shape that the network was built for; small
    /// views of another shape have maps of their own. N may be 0.
    ///
    /// # Errors
    /// When memory runs out, the shape does not fit, or the ranks fail to exchange statistics.
    fn features(&self, input: &Tensor, pass: &ForwardContext) -> Result<Features, TchError>;

    /// Embeddings of feature maps.
    ///
    /// # Shapes
    /// `features` as [`Backbone::features`] gives them, to (N, `num_features`); N may be 0.
    ///
    /// # Errors
    /// As [`Backbone::features`].
    fn pool(&self, features: &Features, pass: &ForwardContext) -> Result<Tensor, TchError>;

    /// Embeds a batch: the pooled feature maps.
    ///
    /// # Shapes
    /// `input` (N, C, H, W) to (N, `num_features`); N may be 0.
    ///
    /// # Errors
    /// As [`Backbone::features`].
    fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.pool(&self.features(input, pass)?, pass)
    }

    /// Channels, rows and columns of a feature map.
    fn feature_shape(&self) -> [i64; 3];

    /// Width of an embedding.
    fn num_features(&self) -> i64;

    /// Kind of its normalization layers, for heads.
    fn norm(&self) -> NormConfig;
}

/// Builds the configured backbone for views of `input` and registers its tensors in the current scope of `parameters`. Whether
/// views are large enough is checked before ([`dtrain_configs::schema::NetworkFacts::min_side`]).
pub fn build_backbone(
    config: &ModelConfig,
    input: InputShape,
    parameters: &mut Parameters,
) -> Box<dyn Backbone> {
    let norm = NormConfig::from(config);
    match &config.network {
        NetworkConfig::CnnSmall(config) => Box::new(CnnSmall::build(config, input, norm, parameters)),
        NetworkConfig::Mlp(config) => Box::new(Mlp::build(config, input, norm, parameters)),
        NetworkConfig::ConvEncoder(config) => Box::new(ConvEncoder::build(config, input, norm, parameters)),
        NetworkConfig::SimpleCnn(config) => Box::new(SimpleCnn::build(config, input, norm, parameters)),
        NetworkConfig::VitTiny(config) => Box::new(Vit::build(config, input, norm, parameters)),
        NetworkConfig::VitSmall(config) => Box::new(Vit::build(config, input, norm, parameters)),
        NetworkConfig::Resnet18(config) => Box::new(Resnet::build(config, input, norm, parameters)),
        NetworkConfig::Resnet34(config) => Box::new(Resnet::build(config, input, norm, parameters)),
        NetworkConfig::Resnet50(config) => Box::new(Resnet::build(config, input, norm, parameters)),
    }
}

#[cfg(test)]
mod parity;
#[cfg(test)]
mod second_derivatives;
#[cfg(test)]
mod thread_ranks;

#[cfg(test)]
mod tests;
