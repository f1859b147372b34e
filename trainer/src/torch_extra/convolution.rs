//! Two-dimensional convolution whose weight's gradient takes the faster of two ways in bf16 on CPUs.

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::check;

unsafe extern "C" {
    fn dtrain_conv2d(
        input: *const C_tensor,
        weight: *const C_tensor,
        stride: i64,
        padding: i64,
        output: *mut *mut C_tensor,
    ) -> *mut std::ffi::c_char;
}

/// Convolution without bias, as libtorch's. Under bf16 autocast on a CPU, where outputs are small or strided, the gradient
/// of the weight is one matrix product per position of the kernel: the same sums in another order.
///
/// # Shapes
/// `input` (N, C, H, W) and `weight` (O, C, K, L) to (N, O, (H + 2 padding - K) / stride + 1, likewise for W); N may be 0.
///
/// # Errors
/// When shapes do not fit or memory runs out.
pub fn conv2d(input: &Tensor, weight: &Tensor, stride: i64, padding: i64) -> Result<Tensor, TchError> {
    let mut output = std::ptr::null_mut();
    // SAFETY: both tensors are valid for the time of the call.
    check(unsafe { dtrain_conv2d(input.as_ptr(), weight.as_ptr(), stride, padding, &mut output) })?;
    // SAFETY: a call without a message has made a new tensor, which this side owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::torch_extra::Autocast;

    /// Numbers that bf16 holds exactly.
    fn numbers(shape: &[i64], frequency: f64) -> Tensor {
        let count = shape.iter().product::<i64>();
        let wave = (Tensor::arange(count, (Kind::Double, Device::Cpu)) * frequency).sin();
        let tensor = wave.reshape(shape).to_kind(Kind::BFloat16).to_kind(Kind::Double);
        tensor.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
    }

    fn difference(actual: &Tensor, expected: &Tensor) -> f64 {
        let (actual, expected) = (actual.to_kind(Kind::Double), expected.to_kind(Kind::Double));
        ((actual - &expected).norm() / expected.norm().clamp_min(1e-30)).double_value(&[])
    }

    /// Output and gradients of input and weight.
    fn outcome(input: &Tensor, weight: &Tensor, stride: i64, padding: i64, kind: Kind) -> [Tensor; 3] {
        let leaf = |tensor: &Tensor, kind| tensor.detach().to_kind(kind).set_requires_grad(true);
        let weights = if kind == Kind::BFloat16 { Kind::Float } else { kind };
        let (input, weight) = (leaf(input, weights), leaf(weight, weights));
        let output = {
            let _autocast = Autocast::enter(Device::Cpu, kind);
            conv2d(&input, &weight, stride, padding).unwrap()
        };
        (&output * numbers(&output.size(), 1.177).to_kind(output.kind())).sum(Kind::Double).backward();
        assert_eq!(output.kind(), kind);
        [output, input.grad(), weight.grad()]
    }

    #[test]
    fn gradients_in_bf16_are_those_of_f64_rounded() {
        let cases = [
            // Small outputs and strides, which take products by position; the last ones take libtorch's way.
            ([3, 128, 2, 4], [64, 3, 3], 1, 1),
            ([3, 128, 4, 7], [32, 3, 3], 2, 1),
            ([2, 130, 5, 5], [16, 1, 1], 2, 0),
            ([2, 128, 1, 1], [16, 3, 3], 1, 1),
            ([2, 128, 6, 3], [16, 3, 3], 2, 0),
            ([2, 128, 3, 9], [16, 7, 7], 2, 3),
            ([1, 128, 2, 2], [16, 5, 5], 3, 2),
            ([4, 8, 9, 9], [16, 3, 3], 1, 1),
            ([2, 128, 16, 16], [16, 3, 3], 1, 1),
        ];
        for (size, [outputs, height, width], stride, padding) in cases {
            let input = numbers(&size, 0.731);
            let weight = numbers(&[outputs, size[1], height, width], 0.377);
            let expected = outcome(&input, &weight, stride, padding, Kind::Double);
            let actual = outcome(&input, &weight, stride, padding, Kind::BFloat16);
            for (actual, expected) in actual.iter().zip(&expected) {
                assert_eq!(actual.size(), expected.size());
                let error = difference(actual, expected);
                assert!(
                    error < 6e-3,
                    "{size:?} {height}x{width} stride {stride} padding {padding}: {error:e}"
                );
            }
        }
    }

    #[test]
    fn empty_batches_give_gradients_of_zero() {
        let (input, weight) = (numbers(&[0, 128, 2, 2], 1.0), numbers(&[16, 128, 3, 3], 0.377));
        let [output, _, gradient] = outcome(&input, &weight, 1, 1, Kind::BFloat16);
        assert_eq!(output.size(), [0, 16, 2, 2]);
        assert_eq!(gradient.norm().double_value(&[]), 0.0);
    }

    #[test]
    fn weights_that_do_not_fit_are_an_error() {
        let error = conv2d(&numbers(&[1, 3, 4, 4], 1.0), &numbers(&[2, 4, 3, 3], 1.0), 1, 1).unwrap_err();
        assert!(error.to_string().contains("convolution of"), "{error}");
    }
}
