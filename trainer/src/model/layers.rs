//! Layers shared by the networks, with PyTorch's initialization. They hold shallow clones of registered tensors.

use tch::{Kind, TchError, Tensor};

use super::ForwardContext;
use super::norm::NormLayer;
use super::parameters::{Init, Parameters, Role};
use crate::torch_extra::{conv2d, works_as_cpu};

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
    pub fn forward(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
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
        pass: &ForwardContext,
    ) -> Result<Tensor, TchError> {
        self.norm.forward_relu(&self.conv.forward(input)?, shortcut, pass)
    }

    /// Convolves, normalizes, cuts off at zero, and takes the largest of each 2x2 window.
    ///
    /// # Errors
    /// As [`ConvNorm::forward`].
    pub fn forward_relu_max_pool(&self, input: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.norm.forward_relu_max_pool(&self.conv.forward(input)?, pass)
    }
}

/// A convolution of a single position with a bias: a linear layer of channels.
#[derive(Debug)]
pub struct Pointwise {
    weight: Tensor,
    bias: Tensor,
}

impl Pointwise {
    /// Registers `name.weight` (`out_channels`, `in_channels`, 1, 1) and `name.bias`, drawn as `torch.nn.Conv2d` does:
    /// uniform within 1 / sqrt(`in_channels`).
    pub fn new(name: &str, (in_channels, out_channels): (i64, i64), parameters: &mut Parameters) -> Self {
        let init = Init::Uniform { bound: 1.0 / (in_channels as f64).sqrt() };
        parameters.scope(name, |scope| Self {
            weight: scope.parameter("weight", &[out_channels, in_channels, 1, 1], init, Role::Weight),
            bias: scope.parameter("bias", &[out_channels], init, Role::Bias),
        })
    }

    /// # Shapes
    /// (N, `in_channels`, H, W) to (N, `out_channels`, H, W).
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        conv2d(input, &self.weight, 1, 0)?.f_add(&self.bias.f_view([1, -1, 1, 1])?)
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

    /// As [`Linear::new`], with a weight drawn by `init` and a bias of zeros.
    pub fn drawn(
        name: &str,
        (in_dim, out_dim): (i64, i64),
        init: Init,
        bias: bool,
        parameters: &mut Parameters,
    ) -> Self {
        parameters.scope(name, |scope| Self {
            weight: scope.parameter("weight", &[out_dim, in_dim], init, Role::Weight),
            bias: bias.then(|| scope.parameter("bias", &[out_dim], Init::Constant(0.0), Role::Bias)),
        })
    }

    /// `input * weight^T + bias`.
    ///
    /// # Shapes
    /// (..., `in_dim`) to (..., `out_dim`).
    ///
    /// # Errors
    /// When the shape does not fit or memory runs out.
    pub fn forward(&self, input: &Tensor) -> Result<Tensor, TchError> {
        input.f_linear(&self.weight, self.bias.as_ref())
    }
}

/// Mean over each of `side` x `side` windows, those of `torch.nn.AdaptiveAvgPool2d`: (N, C, H, W) to (N, C, `side`, `side`).
///
/// On a GPU the backward pass of libtorch's own operator adds up in the order in which threads come. There, each axis is
/// averaged by itself, since windows are rectangles: plain means, whose sums have one order. On a CPU it is libtorch's.
///
/// # Errors
/// When the shape does not fit or memory runs out.
pub fn average_pool(input: &Tensor, side: i64) -> Result<Tensor, TchError> {
    if works_as_cpu(input.device()) {
        return input.f_adaptive_avg_pool2d([side, side]);
    }
    average_pool_axis(&average_pool_axis(input, 2, side)?, 3, side)
}

fn average_pool_axis(input: &Tensor, axis: i64, side: i64) -> Result<Tensor, TchError> {
    let size = input.size().get(axis as usize).copied().unwrap_or(0);
    if size % side == 0 {
        return input.f_unflatten(axis, [side, size / side])?.f_mean_dim(axis + 1, false, None::<Kind>);
    }
    // They overlap where the sizes do not divide.
    let windows = (0..side).map(|window| {
        let (begin, end) = (window * size / side, ((window + 1) * size + side - 1) / side);
        input.f_narrow(axis, begin, end - begin)?.f_mean_dim(axis, true, None::<Kind>)
    });
    Tensor::f_cat(&windows.collect::<Result<Vec<_>, _>>()?, axis)
}

/// Mean over positions: (N, C, H, W) to (N, C).
///
/// # Errors
/// When the shape does not fit or memory runs out.
pub fn global_average_pool(input: &Tensor) -> Result<Tensor, TchError> {
    input.f_adaptive_avg_pool2d([1, 1])?.f_flatten(1, -1)
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::torch_extra::cuda_contract::as_on_cuda;

    /// Windows that divide the input, that overlap, and that are more than the input has rows.
    #[test]
    fn windows_are_those_of_adaptive_pooling_in_forward_and_backward() {
        let wave = |shape: &[i64], frequency: f64| {
            let count = shape.iter().product::<i64>();
            (Tensor::arange(count, (Kind::Double, Device::Cpu)) * frequency).sin().reshape(shape)
        };
        for (height, width, side) in [(14, 14, 7), (16, 21, 7), (5, 6, 7), (8, 8, 1), (9, 4, 3)] {
            for rows in [0, 3] {
                let input = wave(&[rows, 2, height, width], 0.731).set_requires_grad(true);
                let pool = |input: &Tensor| {
                    let output = average_pool(input, side).unwrap();
                    let loss = (&output * wave(&output.size(), 1.177)).sum(Kind::Double);
                    [output.detach(), Tensor::run_backward(&[loss], &[input], false, false).remove(0)]
                };
                let (expected, actual) = (pool(&input), as_on_cuda(|| pool(&input)));
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_eq!(actual.size(), expected.size());
                    let what = format!("{height}x{width} to {side}");
                    assert!(actual.allclose(expected, 1e-13, 1e-13, false), "{what}");
                }
            }
        }
    }
}
