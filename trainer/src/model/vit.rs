//! Vision transformers (Dosovitskiy et al. 2021, arXiv 2010.11929) without the classifier, with timm's names, shapes and
//! initialization, as DINO's official code has them too.
//!
//! Departures: a view whose sides the patches do not divide is filled up with zeros at their ends (timm: `dynamic_img_pad`), so
//! that a spectrogram of any length is seen whole; positions of views of another shape come from [`positions`]. The convolution
//! of the patches is a matrix product, since its windows do not overlap.

mod attention;
mod positions;

use dtrain_configs::schema::{VitConfig, VitPool, VitSize};
use tch::{Kind, TchError, Tensor};

use super::dropout::Dropout;
use super::layer_norm::LayerNorm;
use super::layers::Linear;
use super::norm::NormConfig;
use super::parameters::{Init, Parameters, Role};
use super::{Backbone, Features, ForwardContext, InputShape};
use attention::Attention;
use positions::Positions;

/// Standard deviation of linear layers, class token and positions at the beginning. The official codes cut the normal
/// distribution off at 2, a hundred standard deviations away.
const INIT: Init = Init::Normal { std: 0.02 };
/// Number of the first layer that drops paths; two in each block.
const DROP_PATHS: u64 = 1 << 8;

/// Tokens of patches, blocks, and a layer norm.
#[derive(Debug)]
pub struct Vit {
    patches: Patches,
    token: Option<Tensor>,
    positions: Positions,
    blocks: Vec<Block>,
    norm: LayerNorm,
    feature_shape: [i64; 3],
    norm_of_heads: NormConfig,
}

impl Vit {
    /// Registers `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.0`, ..., `norm` in the current scope of `parameters`, with
    /// positions for views of `input`. `norm` is that of heads; this network has layer norms only.
    pub fn build<S: VitSize>(
        config: &VitConfig<S>,
        input: InputShape,
        norm: NormConfig,
        parameters: &mut Parameters,
    ) -> Self {
        let shape = config.shape();
        let (dim, num_heads) = (shape.dim as i64, shape.num_heads as i64);
        let grid = config.grid([input.height as usize, input.width as usize]).map(|side| side as i64);
        // DINO's official code decays both, since they are no vectors.
        let mut weight =
            |name: &str, tokens: i64| parameters.parameter(name, &[1, tokens, dim], INIT, Role::Weight);
        let token = (config.pool == VitPool::Token).then(|| weight("cls_token", 1));
        let num_tokens = i64::from(token.is_some()) + grid[0] * grid[1];
        let positions = Positions::new(weight("pos_embed", num_tokens), grid);
        let patches = Patches::new(config.patch_size as i64, (input.channels, dim), parameters);
        let depth = config.depth;
        let block = |index: usize| {
            // As timm spaces them: from 0 in the first block to the setting in the last.
            let share = config.drop_path * index as f64 / (depth.max(2) - 1) as f64;
            let layer = DROP_PATHS + 2 * index as u64;
            parameters.scope(&format!("blocks.{index}"), |scope| {
                Block::new((dim, num_heads), Dropout { share, layer }, scope)
            })
        };
        let blocks = (0..depth).map(block).collect();
        let last_norm = LayerNorm::new("norm", dim, parameters);
        let feature_shape = [dim, grid[0], grid[1]];
        Self { patches, token, positions, blocks, norm: last_norm, feature_shape, norm_of_heads: norm }
    }
}

/// Positions `weight` [1, tokens, D] of a grid of `from` rows and columns of patches for one of `to`, behind that of a class token
/// where there is one.
///
/// # Errors
/// When memory runs out.
pub fn resized_positions(
    weight: Tensor,
    from: [i64; 2],
    to: [i64; 2],
    has_token: bool,
) -> Result<Tensor, TchError> {
    Positions::new(weight, from).of(to, has_token)
}

impl Backbone for Vit {
    fn features(&self, input: &Tensor, pass: &ForwardContext) -> Result<Features, TchError> {
        let (patches, [rows, columns]) = self.patches.forward(input)?;
        let [dim, ..] = self.feature_shape;
        let mut hidden = match &self.token {
            None => patches,
            Some(token) => {
                let of_rows =
                    token.f_expand([patches.size().first().copied().unwrap_or(0), 1, dim], false)?;
                Tensor::f_cat(&[of_rows, patches], 1)?
            }
        };
        hidden = hidden.f_add(&self.positions.of([rows, columns], self.token.is_some())?)?;
        for block in &self.blocks {
            hidden = block.forward(&hidden, pass)?;
        }
        let hidden = self.norm.forward(&hidden)?;
        let tokens = i64::from(self.token.is_some());
        let maps = hidden.f_narrow(1, tokens, rows * columns)?.f_transpose(1, 2)?;
        let maps = maps.f_unflatten(2, [rows, columns])?;
        let token = (tokens > 0).then(|| hidden.f_select(1, 0)).transpose()?;
        Ok(Features { maps, token })
    }

    fn pool(&self, features: &Features, _pass: &ForwardContext) -> Result<Tensor, TchError> {
        match &features.token {
            Some(token) => Ok(token.shallow_clone()),
            None => features.maps.f_mean_dim([2_i64, 3].as_slice(), false, None::<Kind>),
        }
    }

    fn feature_shape(&self) -> [i64; 3] {
        self.feature_shape
    }

    fn num_features(&self) -> i64 {
        self.feature_shape[0]
    }

    fn norm(&self) -> NormConfig {
        self.norm_of_heads
    }
}

/// Cuts views into patches and embeds each: a convolution whose stride is its kernel.
#[derive(Debug)]
struct Patches {
    weight: Tensor,
    bias: Tensor,
    size: i64,
}

impl Patches {
    /// Registers `patch_embed.proj`, drawn as `torch.nn.Conv2d` does.
    fn new(size: i64, (in_channels, dim): (i64, i64), parameters: &mut Parameters) -> Self {
        let bound = 1.0 / ((in_channels * size * size) as f64).sqrt();
        let init = Init::Uniform { bound };
        parameters.scope("patch_embed.proj", |scope| Self {
            weight: scope.parameter("weight", &[dim, in_channels, size, size], init, Role::Weight),
            bias: scope.parameter("bias", &[dim], init, Role::Bias),
            size,
        })
    }

    /// (N, C, H, W) to (N, rows * columns, D), with rows and columns of patches.
    fn forward(&self, input: &Tensor) -> Result<(Tensor, [i64; 2]), TchError> {
        let (n, channels, height, width) = input.size4()?;
        let size = self.size;
        let [rows, columns] = [height, width].map(|side| side.div_euclid(size) + i64::from(side % size != 0));
        let missing = [columns * size - width, rows * size - height];
        let filled = match missing {
            [0, 0] => input.shallow_clone(),
            [right, below] => input.f_constant_pad_nd([0, right, 0, below])?,
        };
        let cut = filled.f_reshape([n, channels, rows, size, columns, size])?;
        // Channels last, as the engine lays the weight out.
        let patches = cut.f_permute([0, 2, 4, 3, 5, 1])?;
        let patches = patches.f_reshape([n, rows * columns, size * size * channels])?;
        let weight = self.weight.f_permute([0, 2, 3, 1])?.f_flatten(1, -1)?;
        Ok((patches.f_linear(&weight, Some(&self.bias))?, [rows, columns]))
    }
}

/// Attention, then a perceptron, each behind a layer norm and beside a path that skips it.
#[derive(Debug)]
struct Block {
    attention: (LayerNorm, Attention),
    perceptron: (LayerNorm, Linear, Linear),
    drop_path: Dropout,
}

impl Block {
    fn new((dim, num_heads): (i64, i64), drop_path: Dropout, parameters: &mut Parameters) -> Self {
        let norm = LayerNorm::new("norm1", dim, parameters);
        let attention = parameters.scope("attn", |scope| Attention::new(dim, num_heads, INIT, scope));
        let second = LayerNorm::new("norm2", dim, parameters);
        let hidden = 4 * dim;
        let perceptron = parameters.scope("mlp", |scope| {
            let first = Linear::drawn("fc1", (dim, hidden), INIT, true, scope);
            (second, first, Linear::drawn("fc2", (hidden, dim), INIT, true, scope))
        });
        Self { attention: (norm, attention), perceptron, drop_path }
    }

    /// (N, T, D) to the same.
    fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let (norm, attention) = &self.attention;
        let attended = attention.forward(&norm.forward(input)?, pass)?;
        let hidden = input.f_add(&self.drop_path.forward_rows(&attended, pass)?)?;
        let (norm, first, second) = &self.perceptron;
        let perceived = second.forward(&first.forward(&norm.forward(&hidden)?)?.f_gelu("none")?)?;
        let other = Dropout { layer: self.drop_path.layer + 1, ..self.drop_path };
        hidden.f_add(&other.forward_rows(&perceived, pass)?)
    }
}
