//! libtorch's fused optimizer steps: each element of weights, gradient and moments is read and written once.

use std::ffi::c_char;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::check;

#[repr(C)]
struct RawAdamwRun {
    weights: *const C_tensor,
    gradients: *const C_tensor,
    first: *const C_tensor,
    second: *const C_tensor,
    steps: f64,
}

#[repr(C)]
struct RawSgdRun {
    weights: *const C_tensor,
    gradients: *const C_tensor,
    momentum: *const C_tensor,
}

unsafe extern "C" {
    fn dtrain_fused_adamw(
        runs: *const RawAdamwRun,
        num_runs: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
    ) -> *mut c_char;
    fn dtrain_fused_sgd(
        runs: *const RawSgdRun,
        num_runs: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
    ) -> *mut c_char;
}

/// A part of all parameters with its gradient and AdamW's moments, of equal length.
#[derive(Debug)]
pub struct AdamwRun {
    /// Weights, moved.
    pub weights: Tensor,
    /// Gradient, read.
    pub gradients: Tensor,
    /// Mean of the gradients, moved.
    pub first: Tensor,
    /// Mean of their squares, moved.
    pub second: Tensor,
    /// Steps that this part has taken, this one included.
    pub steps: u64,
}

/// Settings of AdamW, of one step.
#[derive(Debug, Clone, Copy)]
pub struct AdamwStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// One step of AdamW in libtorch's fused kernel, which reads and writes each element once.
///
/// # Errors
/// When the tensors of a run do not fit each other.
pub fn fused_adamw(runs: &[AdamwRun], step: AdamwStep) -> Result<(), TchError> {
    let raw: Vec<RawAdamwRun> = runs
        .iter()
        .map(|run| RawAdamwRun {
            weights: run.weights.as_ptr(),
            gradients: run.gradients.as_ptr(),
            first: run.first.as_ptr(),
            second: run.second.as_ptr(),
            steps: run.steps as f64,
        })
        .collect();
    let AdamwStep { lr, beta1, beta2, weight_decay, eps } = step;
    // SAFETY: all tensors live in `runs` until the call returns.
    check(unsafe { dtrain_fused_adamw(raw.as_ptr(), raw.len(), lr, beta1, beta2, weight_decay, eps) })
}

/// A part of all parameters with its gradient and momentum, of equal length.
#[derive(Debug)]
pub struct SgdRun {
    /// Weights, moved.
    pub weights: Tensor,
    /// Gradient, read.
    pub gradients: Tensor,
    /// Momentum, moved; given in all runs or in none.
    pub momentum: Option<Tensor>,
}

/// Settings of SGD, of one step.
#[derive(Debug, Clone, Copy)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum.
    pub momentum: f64,
    /// Weight decay, added to the gradient.
    pub weight_decay: f64,
    /// Nesterov's form.
    pub nesterov: bool,
}

/// One step of SGD in libtorch's fused kernel, which reads and writes each element once.
///
/// # Errors
/// When the tensors of a run do not fit each other.
pub fn fused_sgd(runs: &[SgdRun], step: SgdStep) -> Result<(), TchError> {
    let raw: Vec<RawSgdRun> = runs
        .iter()
        .map(|run| RawSgdRun {
            weights: run.weights.as_ptr(),
            gradients: run.gradients.as_ptr(),
            momentum: run.momentum.as_ref().map_or(std::ptr::null(), Tensor::as_ptr),
        })
        .collect();
    let SgdStep { lr, momentum, weight_decay, nesterov } = step;
    // SAFETY: all tensors live in `runs` until the call returns.
    check(unsafe { dtrain_fused_sgd(raw.as_ptr(), raw.len(), lr, momentum, weight_decay, nesterov) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    #[test]
    fn fused_steps_refuse_what_does_not_fit() {
        let tensor = |len: i64| Tensor::ones([len], DOUBLE);
        let run = |len| AdamwRun {
            weights: tensor(3),
            gradients: tensor(len),
            first: tensor(3),
            second: tensor(3),
            steps: 1,
        };
        let step = AdamwStep { lr: 0.1, beta1: 0.9, beta2: 0.99, weight_decay: 0.0, eps: 1e-8 };
        assert!(fused_adamw(&[run(4)], step).is_err());
        fused_adamw(&[], step).unwrap();
        let runs = [run(3)];
        fused_adamw(&runs, step).unwrap();
        // The first step of Adam moves by the learning rate against the gradient.
        assert!((runs[0].weights.double_value(&[1]) - 0.9).abs() < 1e-6);
        let run = |len| SgdRun { weights: tensor(3), gradients: tensor(len), momentum: None };
        let step = SgdStep { lr: 0.1, momentum: 0.0, weight_decay: 0.0, nesterov: false };
        assert!(fused_sgd(&[run(4)], step).is_err());
        fused_sgd(&[], step).unwrap();
    }
}
