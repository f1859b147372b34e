//! Gradients as views of other tensors, and hooks on them.

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tch::{TchError, Tensor};
use torch_sys::C_tensor;

use super::{check, panicked, status};

#[repr(C)]
struct GradientCallback {
    context: *mut c_void,
    call: extern "C" fn(*mut c_void, usize, *mut c_char, usize) -> c_int,
    release: extern "C" fn(*mut c_void),
}

unsafe extern "C" {
    fn dtrain_set_grad(leaf: *const C_tensor, gradient: *const C_tensor) -> *mut c_char;
    fn dtrain_add_gradient_hook(
        leaf: *const C_tensor,
        index: usize,
        callback: GradientCallback,
        hook: *mut *mut c_void,
    ) -> *mut c_char;
    fn dtrain_remove_gradient_hook(hook: *mut c_void) -> *mut c_char;
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
            if let Err(error) = check(unsafe { dtrain_remove_gradient_hook(hook) }) {
                tracing::warn!("a hook on a gradient could not be removed: {error}");
            }
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tch::{Device, Kind};

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
}
