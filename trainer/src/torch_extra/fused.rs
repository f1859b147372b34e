//! libtorch's fused optimizer steps: each element of weights, gradient and moments is read and written once.

use std::ffi::c_char;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::check;

#[repr(C)]
struct RawAdamRun {
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
    fn dtrain_fused_adam(
        runs: *const RawAdamRun,
        num_runs: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        decoupled: bool,
        epsilon: f64,
        skip: *const C_tensor,
    ) -> *mut c_char;
    fn dtrain_fused_sgd(
        runs: *const RawSgdRun,
        num_runs: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: bool,
        skip: *const C_tensor,
    ) -> *mut c_char;
}

/// A part of all parameters with its gradient and Adam's moments, of equal length.
#[derive(Debug)]
pub struct AdamRun {
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

/// Settings of Adam and AdamW, of one step.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second.
    pub beta2: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Weights shrink by it (AdamW), or it is added to the gradient (Adam).
    pub decoupled: bool,
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// One step of Adam in libtorch's fused kernel, which reads and writes each element once. Where `skip`, one element on
/// the device of the weights, is not zero, nothing moves; the host does not wait for it.
///
/// # Errors
/// When the tensors of a run do not fit each other.
pub fn fused_adam(runs: &[AdamRun], step: AdamStep, skip: Option<&Tensor>) -> Result<(), TchError> {
    let raw: Vec<RawAdamRun> = runs
        .iter()
        .map(|run| RawAdamRun {
            weights: run.weights.as_ptr(),
            gradients: run.gradients.as_ptr(),
            first: run.first.as_ptr(),
            second: run.second.as_ptr(),
            steps: run.steps as f64,
        })
        .collect();
    let AdamStep { lr, beta1, beta2, weight_decay, decoupled, eps } = step;
    let skip = skip.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: all tensors live in `runs` and behind `skip` until the call returns.
    check(unsafe {
        dtrain_fused_adam(raw.as_ptr(), raw.len(), lr, beta1, beta2, weight_decay, decoupled, eps, skip)
    })
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

/// One step of SGD in libtorch's fused kernel, which reads and writes each element once; `skip` as in [`fused_adam`].
///
/// # Errors
/// When the tensors of a run do not fit each other.
pub fn fused_sgd(runs: &[SgdRun], step: SgdStep, skip: Option<&Tensor>) -> Result<(), TchError> {
    let raw: Vec<RawSgdRun> = runs
        .iter()
        .map(|run| RawSgdRun {
            weights: run.weights.as_ptr(),
            gradients: run.gradients.as_ptr(),
            momentum: run.momentum.as_ref().map_or(std::ptr::null(), Tensor::as_ptr),
        })
        .collect();
    let SgdStep { lr, momentum, weight_decay, nesterov } = step;
    let skip = skip.map_or(std::ptr::null(), Tensor::as_ptr);
    // SAFETY: all tensors live in `runs` and behind `skip` until the call returns.
    check(unsafe { dtrain_fused_sgd(raw.as_ptr(), raw.len(), lr, momentum, weight_decay, nesterov, skip) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);
    const ADAM: AdamStep =
        AdamStep { lr: 0.1, beta1: 0.9, beta2: 0.99, weight_decay: 0.0, decoupled: true, eps: 1e-8 };
    const SGD: SgdStep = SgdStep { lr: 0.1, momentum: 0.9, weight_decay: 0.0, nesterov: false };

    fn ones(len: i64) -> Tensor {
        Tensor::ones([len], DOUBLE)
    }

    fn adam(gradients: Tensor, steps: u64) -> AdamRun {
        AdamRun { weights: ones(3), gradients, first: ones(3), second: ones(3), steps }
    }

    fn sgd(gradients: Tensor) -> SgdRun {
        SgdRun { weights: ones(3), gradients, momentum: Some(ones(3)) }
    }

    #[test]
    fn fused_steps_refuse_what_does_not_fit() {
        assert!(fused_adam(&[adam(ones(4), 1)], ADAM, None).is_err());
        assert!(fused_sgd(&[sgd(ones(4))], SGD, None).is_err());
        assert!(fused_adam(&[adam(ones(3), 1)], ADAM, Some(&ones(2))).is_err());
        fused_adam(&[], ADAM, None).unwrap();
        fused_sgd(&[], SGD, None).unwrap();
    }

    #[test]
    fn every_run_has_its_own_number_of_steps() {
        let zeros = || ones(3).zeros_like();
        let runs = [1, 1, 7].map(|steps| AdamRun { first: zeros(), second: zeros(), ..adam(ones(3), steps) });
        fused_adam(&runs, ADAM, None).unwrap();
        // m = 0.1 and v = 0.01 from zero; the first step of Adam moves by the learning rate.
        let moved = |t: i32| {
            let (m, v) = (0.1 / (1.0 - 0.9f64.powi(t)), 0.01 / (1.0 - 0.99f64.powi(t)));
            1.0 - 0.1 * m / (v.sqrt() + 1e-8)
        };
        for (run, steps) in runs.iter().zip([1, 1, 7]) {
            assert!((run.weights.double_value(&[1]) - moved(steps)).abs() < 1e-7, "{steps}");
        }
    }

    #[test]
    fn a_flag_that_is_not_zero_skips_the_step() {
        // Two ranks that both found a bad value add up to 2.
        for (flag, skipped) in [(0.0, false), (1.0, true), (2.0, true), (f64::NAN, true)] {
            let flag = Tensor::full([1], flag, (Kind::Float, Device::Cpu));
            let bad = || ones(3) * f64::INFINITY;
            let (first, second) = (adam(bad(), 1), sgd(bad()));
            fused_adam(std::slice::from_ref(&first), ADAM, Some(&flag)).unwrap();
            fused_sgd(std::slice::from_ref(&second), SGD, Some(&flag)).unwrap();
            let states = [&first.weights, &first.first, &first.second, &second.weights];
            for state in states.into_iter().chain(&second.momentum) {
                assert_eq!(*state == ones(3), skipped, "{flag:?}");
            }
        }
    }
}
