//! Memory of the host that tensors of a device are copied into while the device works on.

use std::ffi::{c_char, c_int};

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

use super::check;
use super::cuda::gpu_index;

unsafe extern "C" {
    fn dtrain_host_memory(bytes: i64, pinned: c_int, memory: *mut *mut C_tensor) -> *mut c_char;
    fn dtrain_copy_to_host_memory(source: *const C_tensor, target: *const C_tensor) -> *mut c_char;
}

/// `bytes` zeros as 8-bit integers, every page touched; pinned where they are for copies from a GPU.
///
/// # Errors
/// When memory runs out or libtorch_cuda is not loaded.
pub fn host_memory(bytes: i64, device: Device) -> Result<Tensor, TchError> {
    let mut memory = std::ptr::null_mut();
    let pinned = c_int::from(gpu_index(device).is_some());
    // SAFETY: plain numbers; `memory` is written before the call returns.
    check(unsafe { dtrain_host_memory(bytes, pinned, &mut memory) })?;
    // SAFETY: a call without a message has made a new tensor, which this side owns.
    Ok(unsafe { Tensor::from_ptr(memory) })
}

/// Copies `source` into `target`, a tensor of its shape and type in host memory. From a GPU into pinned memory the copy is
/// queued on the current stream, and this thread does not wait for it: record an [`super::Event`] behind it.
///
/// # Errors
/// When shapes differ or the device has failed.
pub fn copy_to_host_memory(source: &Tensor, target: &Tensor) -> Result<(), TchError> {
    debug_assert_eq!((source.kind(), target.device()), (target.kind(), Device::Cpu));
    let alike = source.size() == target.size() && source.kind() == target.kind();
    if alike && source.device() == Device::Cpu && source.is_contiguous() && target.is_contiguous() {
        copy_bytes(source, target);
        return Ok(());
    }
    // SAFETY: both tensors are valid for the time of the call; libtorch keeps pinned memory until a queued copy is done.
    check(unsafe { dtrain_copy_to_host_memory(source.as_ptr(), target.as_ptr()) })
}

/// Bytes that are worth a thread.
const THREAD_BYTES: usize = 8 << 20;

/// Copies the bytes of one contiguous CPU tensor into another of its size. libtorch's copy reads what it is about to
/// overwrite; the C library's leaves the cache alone when there is much to copy.
fn copy_bytes(source: &Tensor, target: &Tensor) {
    let bytes = source.numel() * source.kind().elt_size_in_bytes();
    if bytes == 0 {
        return;
    }
    // SAFETY: contiguous CPU tensors hold `bytes` bytes at their data pointers while they are borrowed.
    let from = unsafe { std::slice::from_raw_parts(source.data_ptr().cast::<u8>(), bytes) };
    // SAFETY: as above; a copy into memory that shares the source's would be a mistake of the caller, who allocated it.
    let to = unsafe { std::slice::from_raw_parts_mut(target.data_ptr().cast::<u8>(), bytes) };
    let threads = (tch::get_num_threads().max(1) as usize).min(bytes.div_ceil(THREAD_BYTES));
    let part = bytes.div_ceil(threads.max(1));
    std::thread::scope(|scope| {
        let mut parts = from.chunks(part).zip(to.chunks_mut(part));
        let own = parts.next();
        parts.for_each(|(from, to)| {
            scope.spawn(move || to.copy_from_slice(from));
        });
        if let Some((from, to)) = own {
            to.copy_from_slice(from);
        }
    });
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;
    use tch::Kind;

    use super::*;

    #[test]
    fn memory_is_zero_and_takes_copies_of_any_order() {
        let memory = host_memory(64, Device::Cpu).unwrap();
        assert_eq!((memory.size(), memory.sum(Kind::Int64).int64_value(&[])), (vec![64], 0));
        let source = Tensor::arange(6, (Kind::Float, Device::Cpu)).view([2, 3]).transpose(0, 1);
        let target = memory.narrow(0, 8, 24).view_dtype(Kind::Float).as_strided([3, 2], [1, 3], None);
        copy_to_host_memory(&source, &target).unwrap();
        assert_eq!(target, source);
        assert_eq!(memory.narrow(0, 0, 8).sum(Kind::Int64).int64_value(&[]), 0);
        let large = Tensor::randn([5 << 20], (Kind::Float, Device::Cpu));
        let copy = host_memory(20 << 20, Device::Cpu).unwrap();
        copy_to_host_memory(&large, &copy.view_dtype(Kind::Float)).unwrap();
        assert_eq!(copy.view_dtype(Kind::Float), large);
        let other = Tensor::zeros([5], (Kind::Float, Device::Cpu));
        assert!(copy_to_host_memory(&source, &other).is_err());
    }

    #[test]
    fn pinned_memory_needs_a_gpu() {
        if super::super::num_gpus().unwrap() > 0 {
            return skipped("this machine has a GPU");
        }
        assert!(host_memory(8, Device::Cuda(0)).is_err());
    }
}
