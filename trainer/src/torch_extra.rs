//! What tch does not bind: gradients as views, hooks on gradients, batch norm over all ranks, fused optimizers,
//! autocast, GPUs of a program that does not link them, memory. With the files of its folder the only Rust that talks
//! to `cpp/`.

mod autocast;
mod batch_norm;
mod convolution;
mod cuda;
#[cfg(test)]
pub mod cuda_contract;
mod fused;
mod gradients;
mod host_memory;
mod loss_scale;
mod memory;
mod switches;
mod upload;

use std::any::Any;
use std::ffi::{CStr, c_char, c_int};

use tch::{Device, TchError};

pub use autocast::Autocast;
pub use batch_norm::{BatchNormTensors, Epilogue, SyncStatistics, batch_norm};
pub use convolution::conv2d;
pub use cuda::{Event, HostCopy, current_stream, load_cuda, num_gpus};
pub use fused::{AdamRun, AdamStep, SgdRun, SgdStep, fused_adam, fused_sgd};
pub use gradients::{GradientHooks, set_grad};
pub use host_memory::{copy_to_host_memory, host_memory};
pub use loss_scale::LossScale;
pub use memory::{MemoryMeter, gpu_free_bytes, reusable_bytes};
pub use switches::{CUBLAS_WORKSPACE, cublas_problem, set_deterministic, set_tf32};
pub use upload::{Upload, host_floats};

unsafe extern "C" {
    fn dtrain_free_message(message: *mut c_char);
    fn dtrain_keep_large_blocks() -> *mut c_char;
    fn dtrain_computes_as_on_cuda() -> bool;
}

/// Whether work on `device` is that of a CPU, for which there are kernels that GPUs do not have. False for a GPU, and on a
/// thread that computes as on one.
pub fn works_as_cpu(device: Device) -> bool {
    // SAFETY: no arguments.
    device == Device::Cpu && !unsafe { dtrain_computes_as_on_cuda() }
}

/// From now on the memory of large CPU tensors is kept and used again instead of going back to the kernel, so that a
/// step finds that of the step before. Further calls do nothing. Without, steps are slower and no different, so that a
/// failure is a warning.
pub fn keep_large_blocks() {
    // SAFETY: no arguments; may be called at any time and from any thread.
    if let Err(error) = check(unsafe { dtrain_keep_large_blocks() }) {
        tracing::warn!("the memory of large tensors is not kept: {error}");
    }
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

    use tch::{Kind, Tensor};

    use super::*;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// Held by tests that look at the memory of the whole process.
    pub(super) fn alone() -> impl Drop {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A message that cannot be copied for want of memory: null would read as success.
    #[test]
    fn a_failure_without_memory_for_its_message_is_a_failure() {
        unsafe extern "C" {
            fn dtrain_message(
                text: *const c_char,
                duplicate: extern "C" fn(*const c_char) -> *mut c_char,
            ) -> *mut c_char;
        }
        extern "C" fn no_room(_: *const c_char) -> *mut c_char {
            std::ptr::null_mut()
        }
        for _ in 0..2 {
            // SAFETY: both arguments are valid, and the message is given back by `check`.
            let error = check(unsafe { dtrain_message(c"bad shape".as_ptr(), no_room) }).unwrap_err();
            assert!(error.to_string().contains("not enough memory"), "{error}");
        }
    }

    /// The interface holds its promise by its form: what can fail returns a message, and the rest says that it cannot.
    #[test]
    fn no_exception_can_leave_the_interface() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("cpp");
        let header = std::fs::read_to_string(folder.join("torch_extra.h")).unwrap();
        let declaration =
            regex::Regex::new(r"(?m)^([\w: ]+[ *])(dtrain_\w+)\(([^;]*)\)( noexcept)?;").unwrap();
        let sources: String = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect();
        let mut num_functions = 0;
        for found in declaration.captures_iter(&header) {
            num_functions += 1;
            let (result, name) = (found[1].trim(), &found[2]);
            if found.get(4).is_some() {
                continue;
            }
            assert_eq!(result, "char *", "`{name}` returns no message and is not `noexcept`");
            let body =
                regex::Regex::new(&format!(r"(?m)^char \*{name}\([^{{;]*\) \{{\n?\s*return guarded\("))
                    .unwrap();
            assert!(body.is_match(&sources), "`{name}` is not guarded");
        }
        assert!(num_functions > 25, "only {num_functions} functions were found");
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
}
