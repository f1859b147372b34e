//! Work of this thread as a GPU would do it: through libtorch's operators alone, each held against what its CUDA kernel
//! demands of its arguments. For tests on machines without a GPU.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};

use super::{check, dtrain_free_message};

unsafe extern "C" {
    fn dtrain_cuda_contract_begin() -> *mut c_char;
    fn dtrain_cuda_contract_end(broken: *mut *mut c_char, operators: *mut *mut c_char) -> *mut c_char;
}

/// What was seen of some work.
#[derive(Debug, Default)]
pub struct Seen {
    /// Rules that calls have broken, each once.
    pub broken: Vec<String>,
    /// How often each operator was called.
    pub operators: BTreeMap<String, usize>,
}

impl Seen {
    /// How often the operator `aten::name` was called.
    pub fn calls(&self, name: &str) -> usize {
        self.operators.get(&format!("aten::{name}")).copied().unwrap_or(0)
    }
}

/// Ends the watch also when the work panics.
struct Watch;

impl Watch {
    fn end() -> Seen {
        let (mut broken, mut operators) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: both are written before the call returns.
        check(unsafe { dtrain_cuda_contract_end(&mut broken, &mut operators) }).unwrap();
        let [broken, operators] = [broken, operators].map(|message| {
            // SAFETY: a C string that is valid until it is given back, once.
            let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
            // SAFETY: as above.
            unsafe { dtrain_free_message(message) };
            text
        });
        let counted = |line: &str| {
            let (name, count) = line.rsplit_once(' ')?;
            Some((name.to_owned(), count.parse().ok()?))
        };
        Seen {
            broken: broken.lines().map(str::to_owned).collect(),
            operators: operators.lines().filter_map(counted).collect(),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = Self::end();
        }
    }
}

/// Does `work` on this thread as on a GPU and tells what was seen of it. Threads that it starts compute as usual.
pub fn observed<T>(work: impl FnOnce() -> T) -> (T, Seen) {
    // SAFETY: no arguments; it is ended below on this thread.
    check(unsafe { dtrain_cuda_contract_begin() }).unwrap();
    let watch = Watch;
    let result = work();
    std::mem::forget(watch);
    (result, Watch::end())
}

/// Does `work` on this thread as on a GPU.
///
/// # Panics
/// When a CUDA kernel would have refused a call, or would not have computed the same bits each time.
pub fn as_on_cuda<T>(work: impl FnOnce() -> T) -> T {
    let (result, seen) = observed(work);
    assert!(seen.broken.is_empty(), "{:#?}", seen.broken);
    result
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn calls_that_a_gpu_would_refuse_are_named_and_others_pass() {
        let (_, seen) = observed(|| {
            let input = Tensor::ones([2, 3, 4, 4], FLOAT);
            let row = Tensor::ones([3], FLOAT);
            let norm = |input: &Tensor, weight: &Tensor| {
                let row = Some(&row);
                let _ = Tensor::f_native_batch_norm(input, Some(weight), row, row, row, false, 0.1, 1e-5);
            };
            norm(&input, &row);
            norm(&input.narrow(0, 0, 0), &row);
            norm(&input.to_kind(Kind::Double), &row);
        });
        assert_eq!(seen.calls("native_batch_norm"), 3);
        assert_eq!(
            seen.broken,
            [
                "aten::native_batch_norm: an input without elements launches no kernel",
                "aten::native_batch_norm: weights of Float do not go with an input of Double"
            ]
        );
    }

    #[test]
    fn what_sums_in_any_order_is_named_in_backward_too() {
        let pool = |size: i64| {
            let input = Tensor::ones([2, 3, 5, 5], FLOAT).set_requires_grad(true);
            observed(|| input.adaptive_avg_pool2d([size, size]).sum(Kind::Float).backward()).1.broken
        };
        assert_eq!(pool(2), ["aten::_adaptive_avg_pool2d_backward: not deterministic on a GPU"]);
        assert!(pool(1).is_empty(), "the mean of all is a sum of its own");
    }

    #[test]
    fn a_watch_ends_with_its_work() {
        let panicked = std::panic::catch_unwind(|| observed(|| panic!("work")));
        assert!(panicked.is_err());
        let ((), seen) = observed(|| ());
        assert!(seen.operators.is_empty());
        // Another thread's work is its own.
        let (_, seen) = observed(|| std::thread::spawn(|| Tensor::ones([3], FLOAT)).join().unwrap());
        assert_eq!(seen.calls("ones"), 0);
    }
}
