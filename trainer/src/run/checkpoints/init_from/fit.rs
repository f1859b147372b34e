//! Weights of another shape that can be made to fit, where that is asked for: a first convolution for more channels, and
//! positions of a vision transformer for other patches.

use dtrain_configs::schema::InitConfig;
use tch::{Kind, TchError, Tensor};

use crate::model::vit::resized_positions;

/// How a tensor of a file becomes one of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It has the shape.
    Same,
    /// Summed over its channels.
    SumChannels,
    /// Interpolated from one grid of patches to another, behind the position of a class token.
    Positions { from: [i64; 2], to: [i64; 2], has_token: bool },
}

/// What of the network decides whether weights fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub settings: &'a InitConfig,
    /// Rows and columns of patches, of a network that has positions.
    pub grid: Option<[i64; 2]>,
}

impl Wanted<'_> {
    /// How the tensor `name` of the backbone, of `shape` in the file, becomes one of `target`.
    ///
    /// # Errors
    /// What to do about it, if there is something.
    pub fn fit(&self, name: &str, shape: &[i64], target: &[i64]) -> Result<Fit, Option<String>> {
        if shape == target {
            return Ok(Fit::Same);
        }
        match (shape, target) {
            (&[outputs, _, ref kernel @ ..], &[wanted, 1, ref other @ ..])
                if kernel.len() == 2 && outputs == wanted && kernel == other =>
            {
                match self.settings.sum_channels {
                    true => Ok(Fit::SumChannels),
                    false => {
                        Err(Some("`init.sum_channels=true` sums the weights of the file over its channels".into()))
                    }
                }
            }
            (&[1, tokens, dim], &[1, wanted, other]) if name.ends_with("pos_embed") && dim == other => {
                self.positions(tokens, wanted)
            }
            _ => Err(None),
        }
    }

    fn positions(&self, tokens: i64, wanted: i64) -> Result<Fit, Option<String>> {
        let Some(to @ [rows, columns]) = self.grid else { return Err(None) };
        let extra = wanted - rows * columns;
        let side = ((tokens - extra).max(0) as f64).sqrt().round() as i64;
        if !(0..=1).contains(&extra) || side == 0 || side * side + extra != tokens {
            let what = "its positions are those of no square of patches";
            return Err(Some(format!("{what}: choose the `model` and `data` that the weights were trained with")));
        }
        match self.settings.resize_positions {
            true => Ok(Fit::Positions { from: [side, side], to, has_token: extra == 1 }),
            false => Err(Some("`init.resize_positions=true` interpolates the positions of the file".into())),
        }
    }
}

impl Fit {
    /// Makes it so.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn apply(self, tensor: Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Same => Ok(tensor),
            Self::SumChannels => tensor.f_sum_dim_intlist([1_i64].as_slice(), true, None::<Kind>),
            Self::Positions { from, to, has_token } => {
                resized_positions(tensor.f_to_kind(Kind::Float)?, from, to, has_token)
            }
        }
    }

    /// What is said about it.
    pub fn described(self) -> Option<String> {
        match self {
            Self::Same => None,
            Self::SumChannels => Some("summed over its channels".into()),
            Self::Positions { from: [a, b], to: [c, d], .. } => {
                Some(format!("interpolated from {a}x{b} to {c}x{d} patches"))
            }
        }
    }
}
