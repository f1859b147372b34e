//! ResNet-18, -34 and -50 (He et al. 2015, arXiv 1512.03385) without the classifier, with torchvision's names, shapes
//! and initialization.

use dtrain_configs::schema::{ResnetArchitecture, ResnetConfig, ResnetDepth, Stem};
use tch::{TchError, Tensor};

use super::layers::{Conv2d, ConvNorm, global_average_pool};
use super::norm::{NormConfig, NormLayer};
use super::parameters::Parameters;
use super::{Backbone, Features, ForwardContext, InputShape};

/// A ResNet up to its pooled features.
#[derive(Debug)]
pub struct Resnet {
    stem: ConvNorm,
    pool: bool,
    blocks: Vec<Block>,
    feature_shape: [i64; 3],
    norm: NormConfig,
}

impl Resnet {
    /// Registers all tensors in the current scope of `parameters`.
    pub fn build<D: ResnetDepth>(
        config: &ResnetConfig<D>,
        input: InputShape,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let architecture = config.architecture();
        let kernel = config.stem.kernel() as i64;
        let (stride, pool) = match config.stem {
            Stem::Imagenet => (2, true),
            Stem::Small => (1, false),
        };
        // Of each layer of stride 2.
        let halvings = if pool { 5 } else { 3 };
        let mut channels = 64;
        let stem = ConvNorm {
            conv: Conv2d::new("conv1", (input.channels, channels), kernel, stride, parameters),
            norm: NormLayer::new("bn1", channels, norm, parameters),
        };
        let mut blocks = Vec::new();
        for (stage, num_blocks) in architecture.blocks_per_stage.into_iter().enumerate() {
            let width = 64 << stage;
            for index in 0..num_blocks {
                let stride = if stage > 0 && index == 0 { 2 } else { 1 };
                let name = format!("layer{}.{index}", stage + 1);
                let block = parameters
                    .scope(&name, |scope| Block::new(&architecture, (channels, width), stride, norm, scope));
                blocks.push(block);
                channels = width * architecture.expansion() as i64;
            }
        }
        let side = |size: i64| (0..halvings).fold(size, |size, _| (size + 1) / 2);
        let feature_shape = [channels, side(input.height), side(input.width)];
        Self { stem, pool, blocks, feature_shape, norm }
    }
}

impl Backbone for Resnet {
    fn features(&self, input: &Tensor, pass: &ForwardContext) -> Result<Features, TchError> {
        let mut hidden = self.stem.forward_relu(input, None, pass)?;
        if self.pool {
            hidden = hidden.f_max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)?;
        }
        for block in &self.blocks {
            hidden = block.forward(&hidden, pass)?;
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

/// A residual block, basic or bottleneck: ReLU after each layer but the last, then the sum with the input, then ReLU.
#[derive(Debug)]
struct Block {
    inner: Vec<ConvNorm>,
    last: ConvNorm,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(
        architecture: &ResnetArchitecture,
        (in_channels, width): (i64, i64),
        stride: i64,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let out_channels = width * architecture.expansion() as i64;
        let mut layer = |index: usize, channels: (i64, i64), kernel: i64, stride: i64| ConvNorm {
            conv: Conv2d::new(&format!("conv{index}"), channels, kernel, stride, parameters),
            norm: NormLayer::new(&format!("bn{index}"), channels.1, norm, parameters),
        };
        let (inner, last) = if architecture.bottleneck {
            // As torchvision and not the paper: the 3x3 convolution has the stride ("v1.5").
            let inner = vec![layer(1, (in_channels, width), 1, 1), layer(2, (width, width), 3, stride)];
            (inner, layer(3, (width, out_channels), 1, 1))
        } else {
            (vec![layer(1, (in_channels, width), 3, stride)], layer(2, (width, width), 3, 1))
        };
        let downsample = (stride != 1 || in_channels != out_channels).then(|| ConvNorm {
            conv: Conv2d::new("downsample.0", (in_channels, out_channels), 1, stride, parameters),
            norm: NormLayer::new("downsample.1", out_channels, norm, parameters),
        });
        Self { inner, last, downsample }
    }

    fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
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
