//! What tch does not bind: gradients as views, hooks on gradients, batch norm over all ranks, fused optimizers,
//! autocast, GPUs of a program that does not link them, memory. With the files of its folder the only Rust that talks
//! to `cpp/`.

mod autocast;
mod convolution;
mod cuda;
mod fused;
mod host_memory;
mod loss_scale;
mod memory;
mod switches;

use std::any::Any;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

pub use autocast::Autocast;
pub use convolution::conv2d;
pub use cuda::{Event, HostCopy, current_stream, load_cuda, num_gpus, to_device_async};
pub use fused::{AdamRun, AdamStep, SgdRun, SgdStep, fused_adam, fused_sgd};
pub use host_memory::{copy_to_host_memory, host_memory};
pub use loss_scale::{LossScale, unscale_};
pub use memory::{MemoryMeter, gpu_free_bytes, reusable_bytes};
pub use switches::{set_deterministic, set_tf32};

#[repr(C)]
struct GradientCallback {
    context: *mut c_void,
    call: extern "C" fn(*mut c_void, usize, *mut c_char, usize) -> c_int,
    release: extern "C" fn(*mut c_void),
}

#[repr(C)]
struct SumCallback {
    context: *mut c_void,
    call: Option<extern "C" fn(*mut c_void, *mut C_tensor, *mut c_char, usize) -> c_int>,
    release: Option<extern "C" fn(*mut c_void)>,
}

unsafe extern "C" {
    fn dtrain_free_message(message: *mut c_char);
    fn dtrain_keep_large_blocks();
    fn dtrain_set_grad(leaf: *const C_tensor, gradient: *const C_tensor) -> *mut c_char;
    fn dtrain_add_gradient_hook(
        leaf: *const C_tensor,
        index: usize,
        callback: GradientCallback,
        hook: *mut *mut c_void,
    ) -> *mut c_char;
    fn dtrain_remove_gradient_hook(hook: *mut c_void);
    fn dtrain_batch_norm(
        input: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        running_mean: *const C_tensor,
        running_var: *const C_tensor,
        momentum: f64,
        epsilon: f64,
        after: c_int,
        shortcut: *const C_tensor,
        callback: SumCallback,
        output: *mut *mut C_tensor,
    ) -> *mut c_char;
}

/// From now on the memory of large CPU tensors is kept and used again instead of going back to the kernel, so that a
/// step finds that of the step before. Further calls do nothing.
pub fn keep_large_blocks() {
    // SAFETY: no arguments; may be called at any time and from any thread.
    unsafe { dtrain_keep_large_blocks() }
}

/// Makes `gradient` the gradient of `leaf` without a copy, so that backward adds into its storage, for example a view
/// of one flat buffer.
///
/// The view stays until `zero_grad` or a backward with `create_graph` replaces it. Zero the buffer instead.
///
/// # Errors
/// When `leaf` is not a leaf that requires a gradient, or the shapes, types or devices differ.
pub fn set_grad(leaf: &Tensor, gradient: &Tensor) -> Result<(), TchError> {
    // SAFETY: both pointers are valid tensors for the time of the call.
    check(unsafe { dtrain_set_grad(leaf.as_ptr(), gradient.as_ptr()) })
}

/// Calls back whenever a backward has added to the gradient of one of some leaves; ends when dropped.
///
/// Registered hooks belong to the leaves' present type and device: move the leaves first. Do not drop while a backward
/// through the leaves runs on another thread.
#[must_use = "the hooks end when this is dropped"]
pub struct GradientHooks {
    hooks: Vec<*mut c_void>,
}

// SAFETY: a handle owns a reference-counted node of the graph and may be dropped on any thread.
unsafe impl Send for GradientHooks {}

impl GradientHooks {
    /// Hooks on `leaves`; `on_gradient` hears the position of the leaf in `leaves`, once per leaf and backward, in the
    /// order in which the gradients are ready. A leaf that the graph does not reach is not reported.
    ///
    /// `on_gradient` runs on libtorch's thread for the device of the leaf: on CPUs the one that called backward. If it
    /// panics, backward returns an error.
    ///
    /// # Errors
    /// When a tensor is not a leaf that requires a gradient.
    pub fn new<'a, F>(leaves: impl IntoIterator<Item = &'a Tensor>, on_gradient: F) -> Result<Self, TchError>
    where
        F: Fn(usize) + Send + Sync + 'static,
    {
        let on_gradient = Arc::new(on_gradient);
        let mut hooks = Self { hooks: Vec::new() };
        for (index, leaf) in leaves.into_iter().enumerate() {
            let callback = GradientCallback {
                context: Arc::into_raw(Arc::clone(&on_gradient)).cast_mut().cast(),
                call: call_gradient::<F>,
                release: release_gradient::<F>,
            };
            let mut hook = std::ptr::null_mut();
            // SAFETY: the leaf is valid; the context is an Arc of the type that both functions expect.
            check(unsafe { dtrain_add_gradient_hook(leaf.as_ptr(), index, callback, &mut hook) })?;
            hooks.hooks.push(hook);
        }
        Ok(hooks)
    }
}

impl Drop for GradientHooks {
    fn drop(&mut self) {
        for hook in self.hooks.drain(..) {
            // SAFETY: each handle came from `dtrain_add_gradient_hook` and is given back once.
            unsafe { dtrain_remove_gradient_hook(hook) };
        }
    }
}

extern "C" fn call_gradient<F: Fn(usize)>(
    context: *mut c_void,
    index: usize,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // SAFETY: the context is the Arc of `GradientHooks::new`, which C++ has not released yet.
    let on_gradient = unsafe { &*context.cast::<F>() };
    let outcome = catch_unwind(AssertUnwindSafe(|| on_gradient(index)));
    status(outcome.map_err(panicked), message, capacity)
}

extern "C" fn release_gradient<F>(context: *mut c_void) {
    // SAFETY: C++ calls this once per Arc that it was given.
    drop(unsafe { Arc::from_raw(context.cast::<F>()) });
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
    // SAFETY: the context is the box of `batch_norm`, which C++ has not released yet.
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
pub enum After<'a> {
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
    after: After<'_>,
    all_ranks: Option<&SyncStatistics>,
) -> Result<Tensor, TchError> {
    let pointer = |tensor: Option<&Tensor>| tensor.map_or(std::ptr::null(), Tensor::as_ptr);
    let (running_mean, running_var) = tensors.running.unzip();
    // The numbers of `dtrain_after`.
    let (after, shortcut) = match after {
        After::Nothing => (0, None),
        After::Relu { shortcut } => (1, shortcut),
        After::ReluMaxPool => (2, None),
    };
    let callback = match all_ranks {
        Some(all_ranks) => SumCallback {
            context: Box::into_raw(Box::new(Arc::clone(&all_ranks.0))).cast(),
            call: Some(call_sum),
            release: Some(release_sum),
        },
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
            after,
            pointer(shortcut),
            callback,
            &mut output,
        )
    })?;
    // SAFETY: a call without a message has made a new tensor, which this side owns.
    Ok(unsafe { Tensor::from_ptr(output) })
}

fn check(message: *mut c_char) -> Result<(), TchError> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: a message is a C string that is valid until it is given back, once.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    // SAFETY: as above.
    unsafe { dtrain_free_message(message) };
    Err(TchError::Torch(text))
}

/// The status for C++, with the reason written into its buffer of zeros.
fn status(outcome: Result<(), String>, message: *mut c_char, capacity: usize) -> c_int {
    let Err(reason) = outcome else { return 0 };
    let length = reason.len().min(capacity);
    // SAFETY: C++ gives `capacity` writable bytes and a terminating zero after them.
    unsafe { std::ptr::copy_nonoverlapping(reason.as_ptr().cast(), message, length) };
    1
}

fn panicked(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("callback panicked: {}", text.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::Kind;

    use super::*;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn leaf(shape: &[i64]) -> Tensor {
        Tensor::ones(shape, DOUBLE).set_requires_grad(true)
    }

    #[test]
    fn backward_adds_into_a_view_of_the_flat_buffer() {
        let flat = Tensor::zeros([7], DOUBLE);
        let leaves = [leaf(&[2, 2]), leaf(&[3])];
        set_grad(&leaves[0], &flat.narrow(0, 0, 4).view([2, 2])).unwrap();
        set_grad(&leaves[1], &flat.narrow(0, 4, 3)).unwrap();
        for _ in 0..2 {
            (leaves[0].sum(Kind::Double) * 2.0 + leaves[1].sum(Kind::Double) * 5.0).backward();
        }
        assert_eq!(flat, Tensor::from_slice(&[4.0, 4.0, 4.0, 4.0, 10.0, 10.0, 10.0]));
        assert_eq!(leaves[1].grad().data_ptr(), flat.narrow(0, 4, 3).data_ptr());
    }

    #[test]
    fn a_gradient_that_does_not_fit_is_refused() {
        let leaf = leaf(&[3]);
        for gradient in [Tensor::zeros([4], DOUBLE), Tensor::zeros([3], (Kind::Float, Device::Cpu))] {
            let error = set_grad(&leaf, &gradient).unwrap_err().to_string();
            assert!(error.contains("the shape, the type and the device of its leaf"), "{error}");
        }
        assert!(set_grad(&(&leaf * 2.0), &Tensor::zeros([3], DOUBLE)).is_err());
        assert!(set_grad(&Tensor::zeros([3], DOUBLE), &Tensor::zeros([3], DOUBLE)).is_err());
    }

    /// Held by tests that look at the memory of the whole process.
    pub(super) fn alone() -> impl Drop {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    #[test]
    fn large_blocks_are_used_again_and_never_overlap() {
        let _alone = alone();
        keep_large_blocks();
        keep_large_blocks();
        let work = |seed: usize| {
            let mut held: Vec<(Tensor, f64)> = Vec::new();
            let mut random = seed;
            for round in 0..400 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                if held.len() > 12 || (random >> 33).is_multiple_of(3) && !held.is_empty() {
                    let (tensor, value) = held.swap_remove((random >> 40) % held.len());
                    assert_eq!(
                        (tensor.min().double_value(&[]), tensor.max().double_value(&[])),
                        (value, value)
                    );
                } else {
                    // Around the limit below which malloc is asked, up to 2 MB.
                    let len = 1 + (random >> 35) % 250_000;
                    let value = (seed * 1000 + round) as f64;
                    held.push((Tensor::full([len as i64], value, DOUBLE), value));
                }
            }
        };
        std::thread::scope(|scope| {
            for seed in 1..4 {
                scope.spawn(move || work(seed));
            }
        });
        // Larger than what any other test frees meanwhile, so that it is this block that comes back.
        let block = || Tensor::empty([300_000_001], DOUBLE);
        let first = block().data_ptr();
        assert_eq!(block().data_ptr(), first);
    }

    /// A chain of three layers and a leaf that nothing uses.
    fn chain(leaves: &[Tensor]) -> Tensor {
        leaves[..3].iter().fold(Tensor::ones([2, 4], DOUBLE), |x, weight| x.matmul(weight).tanh())
    }

    #[test]
    fn hooks_fire_once_per_leaf_and_backward_from_the_last_layer_to_the_first() {
        let leaves: Vec<_> = (0..4).map(|_| leaf(&[4, 4])).collect();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let gradients: Vec<_> =
            leaves.iter().map(|leaf| leaf.zeros_like().set_requires_grad(false)).collect();
        for (leaf, gradient) in leaves.iter().zip(&gradients) {
            set_grad(leaf, gradient).unwrap();
        }
        let seen: Vec<_> = gradients.iter().map(Tensor::shallow_clone).map(Mutex::new).collect();
        let hooks = GradientHooks::new(&leaves, move |index| {
            let norm = seen[index].lock().unwrap().norm().double_value(&[]);
            hears.lock().unwrap().push((index, norm));
        })
        .unwrap();
        chain(&leaves).sum(Kind::Double).backward();
        chain(&leaves).sum(Kind::Double).backward();
        let norm = |index: usize| gradients[index].norm().double_value(&[]);
        let expected: Vec<_> =
            [0.5, 1.0].iter().flat_map(|share| [2, 1, 0].map(|index| (index, share * norm(index)))).collect();
        assert_eq!(*heard.lock().unwrap(), expected);

        drop(hooks);
        chain(&leaves).sum(Kind::Double).backward();
        assert_eq!(heard.lock().unwrap().len(), 6);
        assert_eq!(Arc::strong_count(&heard), 1, "the closure is dropped with the hooks");
    }

    #[test]
    fn a_panic_in_a_hook_is_an_error_of_backward() {
        let leaves: Vec<_> = (0..3).map(|_| leaf(&[4, 4])).collect();
        let hooks =
            GradientHooks::new(&leaves, |index| assert_ne!(index, 1, "bucket {index} is gone")).unwrap();
        let error = chain(&leaves).sum(Kind::Double).f_backward().unwrap_err().to_string();
        assert!(error.contains("callback panicked") && error.contains("bucket 1 is gone"), "{error}");
        drop(hooks);
        chain(&leaves).sum(Kind::Double).backward();
        assert!(GradientHooks::new([&(&leaves[0] * 1.0)], |_| ()).is_err());
    }

    fn normalized(input: &Tensor, all_ranks: &SyncStatistics) -> Result<Tensor, TchError> {
        let channels = input.size()[1];
        let (weight, bias) = (leaf(&[channels]), leaf(&[channels]));
        let tensors = BatchNormTensors { weight: &weight, bias: &bias, running: None };
        batch_norm(input, tensors, (0.1, 1e-5), After::Nothing, Some(all_ranks))
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

    #[test]
    fn wrong_shapes_are_errors() {
        let alone = SyncStatistics::new(|_| Ok(()));
        let three = leaf(&[3]);
        let tensors = BatchNormTensors { weight: &three, bias: &three, running: None };
        let normalized = |input: &Tensor, after| batch_norm(input, tensors, (0.1, 1e-5), after, Some(&alone));
        assert!(normalized(&leaf(&[4, 5]), After::Nothing).is_err());
        assert!(normalized(&three, After::Nothing).is_err());
        let shortcut = leaf(&[2, 3, 2]);
        assert!(normalized(&leaf(&[4, 3, 1, 1]), After::Relu { shortcut: Some(&shortcut) }).is_err());
    }
}
