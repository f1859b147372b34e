//! Layer norm (Ba et al. 2016, arXiv 1607.06450): each token by its own mean and variance, so that neither batch nor ranks
//! matter.

use tch::{TchError, Tensor};

use super::parameters::{Init, Parameters, Role};

/// Over the last axis, with scale and shift.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    dim: i64,
}

impl LayerNorm {
    /// Added to the variance; timm's for vision transformers, and DINO's. `torch.nn.LayerNorm` has 1e-5.
    const EPSILON: f64 = 1e-6;

    /// Registers `name.weight` of ones and `name.bias` of zeros.
    pub fn new(name: &str, dim: i64, parameters: &mut Parameters) -> Self {
        parameters.scope(name, |scope| Self {
            weight: scope.parameter("weight", &[dim], Init::Constant(1.0), Role::Norm),
            bias: scope.parameter("bias", &[dim], Init::Constant(0.0), Role::Norm),
            dim,
        })
    }

    /// Normalizes.
    ///
    /// # Shapes
    /// (..., `dim`) to the same.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_layer_norm([self.dim], Some(&self.weight), Some(&self.bias), Self::EPSILON, true)
    }
}
