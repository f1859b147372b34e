//! Batch norm (Ioffe & Szegedy 2015, arXiv 1502.03167) by the statistics of a tensor, of all ranks, or the running
//! ones.

use tch::{TchError, Tensor};

use super::frozen::Frozen;
use super::parameters::{Init, Parameters, Role};
use super::{ForwardContext, synchronized_norm};
use crate::torch_extra::{BatchNormTensors, Epilogue, batch_norm, works_as_cpu};

/// Share of the new statistics in the running ones (PyTorch's convention and default).
pub const MOMENTUM: f64 = 0.1;
/// Added to variances (PyTorch's default).
const EPSILON: f64 = 1e-5;

/// Normalizes each channel and scales and shifts it.
#[derive(Debug)]
pub struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    num_batches_tracked: Tensor,
    frozen: Frozen,
}

impl BatchNorm {
    /// Registers PyTorch's five tensors under `name`: scale 1, shift 0, running mean 0 and variance 1, batches 0.
    pub fn new(name: &str, channels: i64, parameters: &mut Parameters) -> Self {
        parameters.scope(name, |scope| Self {
            weight: scope.parameter("weight", &[channels], Init::Constant(1.0), Role::Norm),
            bias: scope.parameter("bias", &[channels], Init::Constant(0.0), Role::Norm),
            running_mean: scope.buffer("running_mean", &[channels], 0.0),
            running_var: scope.buffer("running_var", &[channels], 1.0),
            num_batches_tracked: scope.counter("num_batches_tracked"),
            frozen: scope.frozen(),
        })
    }

    /// Normalizes as `pass` says, then does `epilogue`; a frozen layer always by the running statistics, which it leaves as they
    /// are.
    ///
    /// # Shapes
    /// `input` (N, C, ...) and the result are alike but for pooling; N may be 0.
    ///
    /// # Errors
    /// When the shape does not fit, memory runs out, or the ranks fail to exchange statistics.
    pub fn forward(
        &self,
        input: &Tensor,
        pass: &ForwardContext,
        epilogue: Epilogue<'_>,
    ) -> Result<Tensor, TchError> {
        if !pass.train || self.frozen.is_set() {
            return finish(self.forward_by_running_statistics(input)?, epilogue);
        }
        if pass.momentum.is_some() {
            // A shallow clone shares the counter; tch takes `&mut` for operations in place.
            let _ = self.num_batches_tracked.shallow_clone().f_add_scalar_(1)?;
        }
        let running = pass.momentum.map(|_| (&self.running_mean, &self.running_var));
        let momentum = pass.momentum.unwrap_or(0.0);
        let tensors = BatchNormTensors { weight: &self.weight, bias: &self.bias, running };
        let constants = (momentum, EPSILON);
        let by_operations = pass.differentiable_twice;
        if let Some(all_ranks) = pass.sync.as_ref().filter(|_| by_operations) {
            return finish(synchronized_norm::batch_norm(input, tensors, constants, all_ranks)?, epilogue);
        }
        let fused = !by_operations && !matches!(epilogue, Epilogue::Nothing) && works_as_cpu(input.device());
        if pass.sync.is_some() || fused {
            return batch_norm(input, tensors, constants, epilogue, pass.sync.as_ref());
        }
        // One value says nothing about a variance; libtorch would store NaN (torch.nn refuses).
        let values_per_channel = input.numel() / self.weight.numel();
        finish(self.native(input, running.filter(|_| values_per_channel > 1), Some(momentum))?, epilogue)
    }

    /// Normalizes by the running statistics, in training and in evaluation, and leaves them as they are.
    ///
    /// # Errors
    /// As [`BatchNorm::forward`].
    pub fn forward_by_running_statistics(&self, input: &Tensor) -> Result<Tensor, TchError> {
        self.native(input, Some((&self.running_mean, &self.running_var)), None)
    }

    /// `momentum`: by the statistics of `input`, of which the running ones take that share.
    fn native(
        &self,
        input: &Tensor,
        running: Option<(&Tensor, &Tensor)>,
        momentum: Option<f64>,
    ) -> Result<Tensor, TchError> {
        let (mean, var) = running.unzip();
        let (train, momentum) = (momentum.is_some(), momentum.unwrap_or(0.0));
        input.f_batch_norm(Some(&self.weight), Some(&self.bias), mean, var, train, momentum, EPSILON, true)
    }
}

/// Does `epilogue` by operations of their own.
pub fn finish(mut normalized: Tensor, epilogue: Epilogue<'_>) -> Result<Tensor, TchError> {
    match epilogue {
        Epilogue::Nothing => Ok(normalized),
        Epilogue::Relu { shortcut: None } => normalized.f_relu_(),
        Epilogue::Relu { shortcut: Some(shortcut) } => normalized.f_add_(shortcut)?.f_relu_(),
        Epilogue::ReluMaxPool => normalized.f_relu_()?.f_max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false),
    }
}

#[cfg(test)]
mod tests;
