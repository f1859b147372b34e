//! ResNet-18, -34 and -50 (He et al. 2015, arXiv 1512.03385) without the classifier, with torchvision's names, shapes
//! and initialization.

use dtrain_configs::schema::Stem;
use tch::{TchError, Tensor};

use super::layers::{Conv2d, ConvNorm, global_average_pool};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{Backbone, Pass};

/// How deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Basic blocks, 2-2-2-2.
    Resnet18,
    /// Basic blocks, 3-4-6-3.
    Resnet34,
    /// Bottleneck blocks, 3-4-6-3.
    Resnet50,
}

impl Depth {
    fn blocks_per_stage(self) -> [usize; 4] {
        match self {
            Depth::Resnet18 => [2, 2, 2, 2],
            Depth::Resnet34 | Depth::Resnet50 => [3, 4, 6, 3],
        }
    }

    /// Output channels of a block per channel of its stage.
    fn expansion(self) -> i64 {
        match self {
            Depth::Resnet18 | Depth::Resnet34 => 1,
            Depth::Resnet50 => 4,
        }
    }
}

/// A ResNet up to its pooled features.
#[derive(Debug)]
pub struct Resnet {
    stem: ConvNorm,
    pool: bool,
    blocks: Vec<Block>,
    num_features: i64,
    norm: NormConfig,
}

impl Resnet {
    /// Registers all tensors in the current scope of `parameters`.
    pub fn new(
        depth: Depth,
        stem: Stem,
        in_channels: i64,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let (kernel, stride, pool) = match stem {
            Stem::Imagenet => (7, 2, true),
            Stem::Small => (3, 1, false),
        };
        let mut channels = 64;
        let stem = ConvNorm {
            conv: Conv2d::new("conv1", (in_channels, channels), kernel, stride, parameters),
            norm: NormLayer::new("bn1", channels, norm, parameters),
        };
        let mut blocks = Vec::new();
        for (stage, num_blocks) in depth.blocks_per_stage().into_iter().enumerate() {
            let width = 64 << stage;
            for index in 0..num_blocks {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let name = format!("layer{}.{index}", stage + 1);
                let block = parameters
                    .scope(&name, |scope| Block::new(depth, (channels, width), stride, norm, scope));
                blocks.push(block);
                channels = width * depth.expansion();
            }
        }
        Self { stem, pool, blocks, num_features: channels, norm }
    }
}

impl Backbone for Resnet {
    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        let mut hidden = self.stem.forward_relu(input, None, pass)?;
        if self.pool {
            hidden = hidden.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        }
        for block in &self.blocks {
            hidden = block.forward(&hidden, pass)?;
        }
        global_average_pool(&hidden)
    }

    fn num_features(&self) -> i64 {
        self.num_features
    }

    fn norm(&self) -> NormConfig {
        self.norm
    }
}

/// A residual block, basic or bottleneck: ReLU after each layer but the last, then the sum with the input, then ReLU.
#[derive(Debug)]
struct Block {
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(
        depth: Depth,
        (in_channels, width): (i64, i64),
        stride: i64,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let out_channels = width * depth.expansion();
        let mut layer = |index: usize, channels: (i64, i64), kernel: i64, stride: i64| ConvNorm {
            conv: Conv2d::new(&format!("conv{index}"), channels, kernel, stride, parameters),
            norm: NormLayer::new(&format!("bn{index}"), channels.1, norm, parameters),
        };
        let (inner, last) = match depth {
            Depth::Resnet18 | Depth::Resnet34 => {
                (vec![layer(1, (in_channels, width), 3, stride)], layer(2, (width, width), 3, 1))
            }
            // As torchvision and not the paper: the 3x3 convolution has the stride ("v1.5").
            Depth::Resnet50 => (
                vec![layer(1, (in_channels, width), 1, 1), layer(2, (width, width), 3, stride)],
                layer(3, (width, out_channels), 1, 1),
            ),
        };
        let downsample = (stride != 1 || in_channels != out_channels).then(|| ConvNorm {
            conv: Conv2d::new("downsample.0", (in_channels, out_channels), 1, stride, parameters),
            norm: NormLayer::new("downsample.1", out_channels, norm, parameters),
        });
        Self { inner, last, downsample }
    }

    fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        let mut hidden = input.shallow_clone();
        for layer in &self.inner {
            hidden = layer.forward_relu(&hidden, None, pass)?;
        }
        let shortcut = match &self.downsample {
            Some(downsample) => downsample.forward(input, pass)?,
            None => input.shallow_clone(),
        };
        self.last.forward_relu(&hidden, Some(&shortcut), pass)
    }
}
