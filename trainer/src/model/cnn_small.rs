//! A small convolutional network for CPUs and small inputs such as 1x64x101 log-mel spectrograms.

use dtrain_configs::schema::CnnSmallConfig;
use tch::{TchError, Tensor};

use super::layers::{Conv2d, ConvNorm, global_average_pool};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{Backbone, Features, ForwardContext, InputShape};

/// Four blocks of 3x3 convolution, normalization, ReLU and 2x2 max-pooling, then the mean over positions. 0.4 M
/// parameters. Inputs are at least 16x16.
#[derive(Debug)]
pub struct CnnSmall {
    blocks: Vec<ConvNorm>,
    feature_shape: [i64; 3],
    norm: NormConfig,
}

impl CnnSmall {
    /// Registers `conv1.weight`, `bn1.weight`, ... in the current scope of `parameters`.
    pub fn build(
        config: &CnnSmallConfig,
        input: InputShape,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let [mut channels, mut height, mut width] = [input.channels, input.height, input.width];
        let mut block = |(index, outputs): (usize, usize)| {
            let between = (std::mem::replace(&mut channels, outputs as i64), outputs as i64);
            (height, width) = (height / 2, width / 2);
            ConvNorm {
                conv: Conv2d::new(&format!("conv{}", index + 1), between, 3, 1, parameters),
                norm: NormLayer::new(&format!("bn{}", index + 1), between.1, norm, parameters),
            }
        };
        let blocks = config.channels().into_iter().enumerate().map(&mut block).collect();
        Self { blocks, feature_shape: [channels, height, width], norm }
    }
}

impl Backbone for CnnSmall {
    fn features(&self, input: &Tensor, pass: &ForwardContext) -> Result<Features, TchError> {
        let mut hidden = input.shallow_clone();
        for block in &self.blocks {
            hidden = block.forward_relu_max_pool(&hidden, pass)?;
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
