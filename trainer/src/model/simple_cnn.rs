//! The small network of lightning-hydra-template and its kin (`SimpleCNN`): two convolution blocks, pooling to a fixed
//! size, and a hidden layer. Its hidden layer is the embedding, on which heads sit. Departures: convolutions have no bias,
//! which normalization would take away again, and begin as in torchvision's ResNets.

use dtrain_configs::schema::SimpleCnnConfig;
use tch::{TchError, Tensor};

use super::dropout::Dropout;
use super::layers::{Conv2d, ConvNorm, Linear, average_pool};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{Backbone, Features, ForwardContext, InputShape};

/// Tells this network's dropout from others.
const DROPOUT: u64 = 1;

/// Two blocks of 3x3 convolution, normalization, ReLU and 2x2 max-pooling, average pooling to a square, a hidden layer
/// with ReLU and dropout. Inputs are at least 4x4.
#[derive(Debug)]
pub struct SimpleCnn {
    blocks: [ConvNorm; 2],
    hidden: Linear,
    dropout: Dropout,
    pool_size: i64,
    feature_shape: [i64; 3],
    num_features: i64,
    norm: NormConfig,
}

impl SimpleCnn {
    /// Registers `conv1.weight`, `bn1.weight`, ..., `fc.weight` in the current scope of `parameters`.
    pub fn build(
        config: &SimpleCnnConfig,
        input: InputShape,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let (first, second) = (config.conv1_channels as i64, config.conv2_channels as i64);
        let mut block = |number: usize, channels: (i64, i64)| ConvNorm {
            conv: Conv2d::new(&format!("conv{number}"), channels, 3, 1, parameters),
            norm: NormLayer::new(&format!("bn{number}"), channels.1, norm, parameters),
        };
        let blocks = [block(1, (input.channels, first)), block(2, (first, second))];
        let (pool_size, num_features) = (config.pool_size as i64, config.fc_hidden as i64);
        let flat = second * pool_size * pool_size;
        Self {
            blocks,
            hidden: Linear::new("fc", (flat, num_features), true, parameters),
            dropout: Dropout { share: config.dropout, layer: DROPOUT },
            pool_size,
            feature_shape: [second, input.height / 4, input.width / 4],
            num_features,
            norm,
        }
    }
}

impl Backbone for SimpleCnn {
    fn features(&self, input: &Tensor, pass: &ForwardContext) -> Result<Features, TchError> {
        let mut hidden = input.shallow_clone();
        for block in &self.blocks {
            hidden = block.forward_relu_max_pool(&hidden, pass)?;
        }
        Ok(Features::of_maps(hidden))
    }

    /// Mean of each window of a square, then the hidden layer.
    fn pool(&self, features: &Features, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let (features, side) = (&features.maps, self.pool_size);
        let pooled = match features.size().get(2..) == Some([side, side].as_slice()) {
            true => features.shallow_clone(),
            false => average_pool(features, side)?,
        };
        let embedding = self.hidden.forward(&pooled.f_flatten(1, -1)?)?.f_relu()?;
        self.dropout.forward(&embedding, pass)
    }

    fn feature_shape(&self) -> [i64; 3] {
        self.feature_shape
    }

    fn num_features(&self) -> i64 {
        self.num_features
    }

    fn norm(&self) -> NormConfig {
        self.norm
    }
}
