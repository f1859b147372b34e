//! A small convolutional network for CPUs and small inputs such as 1x64x101 log-mel spectrograms.

use tch::{TchError, Tensor};

use super::layers::{Conv2d, ConvNorm, global_average_pool};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{Backbone, Pass};

const CHANNELS: [i64; 4] = [32, 64, 128, 256];

/// Four blocks of 3x3 convolution, normalization, ReLU and 2x2 max-pooling, then the mean over positions. 0.4 M
/// parameters. Inputs are at least 16x16.
#[derive(Debug)]
pub struct CnnSmall {
    blocks: Vec<ConvNorm>,
    norm: NormConfig,
}

impl CnnSmall {
    /// Registers `conv1.weight`, `bn1.weight`, ... in the current scope of `parameters`.
    pub fn new(in_channels: i64, norm: NormConfig, parameters: &mut Parameters) -> Self {
        let mut previous = in_channels;
        let mut block = |(index, channels): (usize, i64)| {
            let between = (std::mem::replace(&mut previous, channels), channels);
            ConvNorm {
                conv: Conv2d::new(&format!("conv{}", index + 1), between, 3, 1, parameters),
                norm: NormLayer::new(&format!("bn{}", index + 1), channels, norm, parameters),
            }
        };
        Self { blocks: CHANNELS.into_iter().enumerate().map(&mut block).collect(), norm }
    }
}

impl Backbone for CnnSmall {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        let mut hidden = input.shallow_clone();
        for block in &self.blocks {
            hidden = block.forward_relu_max_pool(&hidden, pass)?;
        }
        global_average_pool(&hidden)
    }

    fn num_features(&self) -> i64 {
        CHANNELS[CHANNELS.len() - 1]
    }

    fn norm(&self) -> NormConfig {
        self.norm
    }
}
