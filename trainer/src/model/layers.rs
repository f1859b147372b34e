//! Layers shared by the networks, with PyTorch's initialization. They hold shallow clones of registered tensors.

use tch::{TchError, Tensor};

use super::Pass;
use super::norm::NormLayer;
use super::parameters::{Init, Parameters, Role};
use crate::torch_extra::conv2d;

/// A two-dimensional convolution with a square kernel, padding of half a kernel and no bias (normalization follows).
#[derive(Debug)]
pub struct Conv2d {
    weight: Tensor,
    stride: i64,
    padding: i64,
}

impl Conv2d {
    /// Registers `name.weight` (`out_channels`, `in_channels`, `kernel`, `kernel`), drawn as in torchvision's ResNets:
    /// He et al. 2015 (arXiv 1502.01852) with the fan-out, for ReLU.
    pub fn new(
        name: &str,
        (in_channels, out_channels): (i64, i64),
        kernel: i64,
        stride: i64,
        parameters: &mut Parameters,
    ) -> Self {
        let shape = [out_channels, in_channels, kernel, kernel];
        let std = (2.0 / (out_channels * kernel * kernel) as f64).sqrt();
        let weight = parameters
            .scope(name, |scope| scope.parameter("weight", &shape, Init::Normal { std }, Role::Weight));
        Self { weight, stride, padding: kernel / 2 }
    }

    /// Convolves.
    ///
    /// # Shapes
    /// (N, `in_channels`, H, W) to (N, `out_channels`, ceil(H / stride), ceil(W / stride)) for odd kernels.
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        conv2d(input, &self.weight, self.stride, self.padding)
    }
}

/// A convolution and its normalization.
#[derive(Debug)]
pub struct ConvNorm {
    /// First.
    pub conv: Conv2d,
    /// Second.
    pub norm: NormLayer,
}

impl ConvNorm {
    /// Convolves, then normalizes.
    ///
    /// # Errors
    /// When the shape does not fit, memory runs out, or the ranks fail to exchange statistics.
    pub fn forward(&self, input: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.norm.forward(&self.conv.forward(input)?, pass)
    }

    /// Convolves, normalizes, adds the shortcut of a residual block if there is one, and cuts off at zero.
    ///
    /// # Errors
    /// As [`ConvNorm::forward`].
    pub fn forward_relu(
        &self,
        input: &Tensor,
        shortcut: Option<&Tensor>,
        pass: &Pass,
    ) -> Result<Tensor, TchError> {
        self.norm.forward_relu(&self.conv.forward(input)?, shortcut, pass)
    }

    /// Convolves, normalizes, cuts off at zero, and takes the largest of each 2x2 window.
    ///
    /// # Errors
    /// As [`ConvNorm::forward`].
    pub fn forward_relu_max_pool(&self, input: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.norm.forward_relu_max_pool(&self.conv.forward(input)?, pass)
    }
}

/// A fully connected layer.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Registers `name.weight` (`out_dim`, `in_dim`) and, with `bias`, `name.bias` (`out_dim`), both drawn as
    /// `torch.nn.Linear` does: uniform within 1 / sqrt(`in_dim`).
    pub fn new(name: &str, (in_dim, out_dim): (i64, i64), bias: bool, parameters: &mut Parameters) -> Self {
        let init = Init::Uniform { bound: 1.0 / (in_dim as f64).sqrt() };
        parameters.scope(name, |scope| Self {
            weight: scope.parameter("weight", &[out_dim, in_dim], init, Role::Weight),
            bias: bias.then(|| scope.parameter("bias", &[out_dim], init, Role::Bias)),
        })
    }

    /// `input * weight^T + bias`.
    ///
    /// # Shapes
    /// (N, `in_dim`) to (N, `out_dim`).
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_linear(&self.weight, self.bias.as_ref())
    }
}

/// Mean over positions: (N, C, H, W) to (N, C).
///
/// # Errors
/// When the shape does not fit or memory runs out.
pub fn global_average_pool(input: &Tensor) -> Result<Tensor, TchError> {
    input.f_adaptive_avg_pool2d([1, 1])?.f_flatten(1, -1)
}
