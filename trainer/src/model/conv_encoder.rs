//! Strided convolutions whose feature maps a decoder can start from: the encoder of a VQ-VAE (van den Oord et al. 2017, arXiv
//! 1711.00937, section 4.1, without its residual blocks), with normalization before each ReLU.

use dtrain_configs::schema::ConvEncoderConfig;
use tch::{TchError, Tensor};

use super::layers::{Conv2d, ConvNorm, global_average_pool};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{Backbone, Features, ForwardContext, InputShape};

/// 3x3 convolutions of stride 2 and a last one of stride 1, each with normalization and ReLU; the embedding is the mean over
/// positions.
#[derive(Debug)]
pub struct ConvEncoder {
    layers: Vec<ConvNorm>,
    feature_shape: [i64; 3],
    norm: NormConfig,
}

impl ConvEncoder {
    /// Registers `conv1.weight`, `bn1.weight`, ... in the current scope of `parameters`.
    pub fn build(
        config: &ConvEncoderConfig,
        input: InputShape,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let [mut channels, mut height, mut width] = [input.channels, input.height, input.width];
        let last = config.channels.last().map(|&channels| (channels as i64, 1));
        let strided = config.channels.iter().map(|&channels| (channels as i64, 2));
        let layer = |(index, (outputs, stride)): (usize, (i64, i64))| {
            let between = (std::mem::replace(&mut channels, outputs), outputs);
            (height, width) = ((height + stride - 1) / stride, (width + stride - 1) / stride);
            ConvNorm {
                conv: Conv2d::new(&format!("conv{}", index + 1), between, 3, stride, parameters),
                norm: NormLayer::new(&format!("bn{}", index + 1), outputs, norm, parameters),
            }
        };
        let layers = strided.chain(last).enumerate().map(layer).collect();
        Self { layers, feature_shape: [channels, height, width], norm }
    }
}

impl Backbone for ConvEncoder {
    fn features(&self, input: &Tensor, pass: &ForwardContext) -> Result<Features, TchError> {
        let mut hidden = input.shallow_clone();
        for layer in &self.layers {
            hidden = layer.forward_relu(&hidden, None, pass)?;
        }
        Ok(Features::of_maps(hidden))
    }

    fn pool(&self, features: &Features, _pass: &ForwardContext) -> Result<Tensor, TchError> {
        global_average_pool(&features.maps)
    }

    fn feature_shape(&self) -> [i64; 3] {
        self.feature_shape
    }

    fn num_features(&self) -> i64 {
        self.feature_shape[0]
    }

    fn norm(&self) -> NormConfig {
        self.norm
    }
}
