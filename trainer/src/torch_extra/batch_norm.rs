//! Batch norm in training mode over the samples of all ranks, and what follows it.

use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

use super::{check, panicked, status};

#[repr(C)]
struct SumCallback {
    context: *mut c_void,
    call: Option<extern "C" fn(*mut c_void, *mut C_tensor, *mut c_char, usize) -> c_int>,
    release: Option<extern "C" fn(*mut c_void)>,
}

unsafe extern "C" {
    fn dtrain_batch_norm(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        momentum: f64,
        epsilon: f64,
        epilogue: c_int,
        shortcut: *const C_tensor,
        callback: SumCallback,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
    fn dtrain_sum_over_ranks(
        own: *const C_tensor,
        callback: SumCallback,
        sums: *mut *mut C_tensor,
    ) -> *mut c_char;
}

type Sum = dyn Fn(&mut Tensor) -> Result<(), String> + Send + Sync;

/// How synchronized layers add up their statistics over the ranks. Clones share the function.
///
/// All ranks call it equally often and in the same order, in forward and backward, each with the same length.
#[derive(Clone)]
pub struct SyncStatistics(Arc<Sum>);

impl SyncStatistics {
    /// `all_reduce` sums a buffer in host memory over all ranks, in place. Statistics on a GPU are copied to the host
    /// and back, which waits for the GPU; see [`SyncStatistics::on_device`].
    pub fn new<F>(all_reduce: F) -> Self
    where
        F: Fn(&mut [f64]) -> Result<(), String> + Send + Sync + 'static,
    {
        Self::on_device(move |sums| {
            if sums.device() == Device::Cpu {
                return all_reduce(as_slice(sums));
            }
            let copy = || sums.f_to_device(Device::Cpu)?.f_contiguous();
            let mut host = copy().map_err(|error| error.to_string())?;
            all_reduce(as_slice(&mut host))?;
            sums.f_copy_(&host).map_err(|error| error.to_string())
        })
    }

    /// `all_reduce` sums a tensor over all ranks, in place: f64, one-dimensional, contiguous, on the device of the
    /// layer. Work that it starts must be ordered before what libtorch does next on its current stream.
    pub fn on_device<F>(all_reduce: F) -> Self
    where
        F: Fn(&mut Tensor) -> Result<(), String> + Send + Sync + 'static,
    {
        Self(Arc::new(all_reduce))
    }

    /// Sums `values` over all ranks, in place: f64, one-dimensional, contiguous.
    ///
    /// # Errors
    /// When the ranks cannot talk.
    pub fn sum_in_place(&self, values: &mut Tensor) -> Result<(), TchError> {
        (self.0)(values).map_err(TchError::Torch)
    }

    /// The sum of `own` over all ranks, within the graph: of a loss that is the sum of what each rank makes of the result,
    /// the gradient of `own` is the sum over the ranks of theirs, itself a sum of this kind, so that derivatives of every
    /// order exist. Ranks whose graphs are alike call in the same order in backward too.
    ///
    /// # Shapes
    /// `own` `[n]`, f64, to the same; n is the same on all ranks.
    ///
    /// # Errors
    /// When another shape or type is given, memory runs out, or the function fails or panics, here or later in backward.
    pub fn sum(&self, own: &Tensor) -> Result<Tensor, TchError> {
        let mut sums = std::ptr::null_mut();
        // SAFETY: the tensor is valid for the time of the call; the context is what both functions expect.
        check(unsafe { dtrain_sum_over_ranks(own.as_ptr(), self.callback(), &mut sums) })?;
        // SAFETY: a call without a message has made a new tensor, which this side owns.
        Ok(unsafe { Tensor::from_ptr(sums) })
    }

    /// For C++, which releases it.
    fn callback(&self) -> SumCallback {
        SumCallback {
            context: Box::into_raw(Box::new(Arc::clone(&self.0))).cast(),
            call: Some(call_sum),
            release: Some(release_sum),
        }
    }
}

impl std::fmt::Debug for SyncStatistics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncStatistics")
    }
}

/// Elements of a contiguous f64 tensor on the CPU.
fn as_slice(tensor: &mut Tensor) -> &mut [f64] {
    // SAFETY: the tensor holds `numel` contiguous f64 in host memory, and the borrow is exclusive.
    unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<f64>(), tensor.numel()) }
}

extern "C" fn call_sum(
    context: *mut c_void,
    sums: *mut C_tensor,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // SAFETY: the context is the box of `SyncStatistics::callback`, which C++ has not released yet.
    let sum = unsafe { &*context.cast::<Arc<Sum>>() };
    // SAFETY: C++ lends the tensor for the time of the call and keeps it: it is not dropped here.
    let mut sums = ManuallyDrop::new(unsafe { Tensor::from_ptr(sums) });
    let outcome = catch_unwind(AssertUnwindSafe(|| sum(&mut sums)));
    status(outcome.unwrap_or_else(|payload| Err(panicked(payload))), message, capacity)
}

extern "C" fn release_sum(context: *mut c_void) {
    // SAFETY: C++ calls this once per box that it was given.
    drop(unsafe { Box::from_raw(context.cast::<Arc<Sum>>()) });
}

/// Weights and state of a batch norm layer, each of shape (C).
#[derive(Debug, Clone, Copy)]
pub struct BatchNormTensors<'a> {
    /// Scale.
    pub weight: &'a Tensor,
    /// Shift.
    pub bias: &'a Tensor,
    /// Running mean and variance to be updated, if any.
    pub running: Option<(&'a Tensor, &'a Tensor)>,
}

/// What follows the normalization.
#[derive(Debug, Clone, Copy)]
pub enum Epilogue<'a> {
    /// Nothing.
    Nothing,
    /// ReLU, of the sum with the shortcut of a residual block where there is one. On CPUs, channels last, it costs no pass
    /// over memory of its own.
    Relu {
        /// Of the shape and type of the input.
        shortcut: Option<&'a Tensor>,
    },
    /// ReLU, then the largest element of each 2x2 window: (N, C, H, W) becomes (N, C, H / 2, W / 2), rounded down. On CPUs,
    /// channels last, it costs no pass over memory of its own.
    ReluMaxPool,
}

/// Batch norm in training mode over the samples of all ranks, as if they were one batch (without autograd through
/// `all_ranks`: backward sums over the ranks itself); over this rank's where that is `None`. Gradients of weight and bias are
/// this rank's share of the sum. The running statistics learn the global mean and the unbiased global variance; nothing from
/// fewer than two values.
///
/// # Shapes
/// `input` (N, C, ...) and the result are alike but for pooling; N may be 0 on some or all ranks.
///
/// # Errors
/// When shapes do not fit, memory runs out, or `all_ranks` fails or panics, here or later in backward.
pub fn batch_norm(
    input: &Tensor,
    tensors: BatchNormTensors<'_>,
    (momentum, epsilon): (f64, f64),
    epilogue: Epilogue<'_>,
    all_ranks: Option<&SyncStatistics>,
) -> Result<Tensor, TchError> {
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(std::ptr::null(), Tensor::as_ptr);
    let (running_mean, running_var) = tensors.running.unzip();
    // The numbers of `dtrain_epilogue`.
    let (epilogue, shortcut) = match epilogue {
        Epilogue::Nothing => (0, None),
        Epilogue::Relu { shortcut } => (1, shortcut),
        Epilogue::ReluMaxPool => (2, None),
    };
    let callback = match all_ranks {
        Some(all_ranks) => all_ranks.callback(),
        None => SumCallback { context: std::ptr::null_mut(), call: None, release: None },
    };
    let mut output = std::ptr::null_mut();
    // SAFETY: all tensors are valid for the time of the call; the context is what both functions expect.
    check(unsafe {
        dtrain_batch_norm(
            input.as_ptr(),
            tensors.weight.as_ptr(),
            tensors.bias.as_ptr(),
            pointer(running_mean),
            pointer(running_var),
            momentum,
            epsilon,
            epilogue,
            pointer(shortcut),
            callback,
            &mut output,
        )
    })?;
    // SAFETY: a call without a message has made a new tensor, which this side owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::Kind;

    use super::*;

    fn leaf(shape: &[i64]) -> Tensor {
        Tensor::ones(shape, (Kind::Double, Device::Cpu)).set_requires_grad(true)
    }

    fn normalized(input: &Tensor, all_ranks: &SyncStatistics) -> Result<Tensor, TchError> {
        let channels = input.size()[1];
        let (weight, bias) = (leaf(&[channels]), leaf(&[channels]));
        let tensors = BatchNormTensors { weight: &weight, bias: &bias, running: None };
        batch_norm(input, tensors, (0.1, 1e-5), Epilogue::Nothing, Some(all_ranks))
    }

    #[test]
    fn a_failing_or_panicking_sum_is_an_error_in_forward_and_backward() {
        let input = leaf(&[4, 3]);
        let failing = SyncStatistics::new(|_| Err("rank 3 has left".to_owned()));
        let error = normalized(&input, &failing).unwrap_err().to_string();
        assert!(error.contains("rank 3 has left"), "{error}");

        let calls = AtomicUsize::new(0);
        let second = SyncStatistics::new(move |_| {
            assert_eq!(calls.fetch_add(1, Ordering::Relaxed), 0, "{}", "long ".repeat(200));
            Ok(())
        });
        let output = normalized(&input, &second).unwrap();
        let error = output.square().sum(Kind::Double).f_backward().unwrap_err().to_string();
        assert!(error.contains("callback panicked") && error.contains("long long"), "{error}");
    }

    #[test]
    fn a_graph_keeps_its_sum_alive_and_lets_it_go() {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let all_ranks = SyncStatistics::new(move |_| {
            let _ = &held;
            Ok(())
        });
        let output = normalized(&leaf(&[4, 3]), &all_ranks).unwrap();
        drop(all_ranks);
        assert_eq!(Arc::strong_count(&token), 2);
        output.sum(Kind::Double).backward();
        drop(output);
        assert_eq!(Arc::strong_count(&token), 1);
    }

    /// y is the sum over two ranks, here of the same numbers x, and both have the loss y^3: the losses of both are 2 y^3, whose
    /// derivative is 6 y^2 = 24 x^2. Both have the sum of that for their second loss, 12 y^2 together, and so on.
    #[test]
    fn a_sum_over_ranks_has_derivatives_of_every_order() {
        let ranks = SyncStatistics::new(|sums| {
            // The other rank has the same numbers.
            sums.iter_mut().for_each(|sum| *sum *= 2.0);
            Ok(())
        });
        let x = Tensor::from_slice(&[0.5, -1.25]).set_requires_grad(true);
        let y = ranks.sum(&x).unwrap();
        let first =
            Tensor::run_backward(&[y.pow_tensor_scalar(3).sum(Kind::Double)], &[&x], true, true).remove(0);
        assert!(first.allclose(&(x.square() * 24.0), 1e-12, 1e-12, false));
        let second = Tensor::run_backward(&[first.sum(Kind::Double)], &[&x], true, true).remove(0);
        assert!(second.allclose(&(&x * 48.0), 1e-12, 1e-12, false), "{second}");
        let third = Tensor::run_backward(&[second.sum(Kind::Double)], &[&x], false, false).remove(0);
        assert!(third.allclose(&x.full_like(48.0), 1e-12, 1e-12, false), "{third}");
        assert!(ranks.sum(&leaf(&[2, 2])).is_err() && ranks.sum(&x.to_kind(Kind::Float)).is_err());
    }

    #[test]
    fn wrong_shapes_are_errors() {
        let alone = SyncStatistics::new(|_| Ok(()));
        let three = leaf(&[3]);
        let tensors = BatchNormTensors { weight: &three, bias: &three, running: None };
        let normalized =
            |input: &Tensor, epilogue| batch_norm(input, tensors, (0.1, 1e-5), epilogue, Some(&alone));
        assert!(normalized(&leaf(&[4, 5]), Epilogue::Nothing).is_err());
        assert!(normalized(&three, Epilogue::Nothing).is_err());
        let shortcut = leaf(&[2, 3, 2]);
        assert!(normalized(&leaf(&[4, 3, 1, 1]), Epilogue::Relu { shortcut: Some(&shortcut) }).is_err());
    }
}
