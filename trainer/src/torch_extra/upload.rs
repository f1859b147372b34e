//! Batches on their way to a GPU, ahead of the steps that use them, on a stream of their own.

use std::ffi::{c_char, c_int, c_void};

use tch::{Device, TchError, Tensor};
use torch_sys::C_tensor;

use super::check;
use super::cuda::{Event, gpu_index};

unsafe extern "C" {
    fn dtrain_host_floats(len: i64, pinned: c_int, memory: *mut *mut C_tensor) -> *mut c_char;
    fn dtrain_upload(
        host: *const C_tensor,
        device_index: c_int,
        copy: *mut *mut C_tensor,
        event: *mut *mut c_void,
    ) -> *mut c_char;
    fn dtrain_upload_arrived(copy: *const C_tensor, event: *const c_void, device_index: c_int)
    -> *mut c_char;
}

/// `[len]` 32-bit floats of host memory that nobody has written yet; pinned where they are for a GPU. libtorch takes the memory
/// back with the last tensor over it, and gives pinned memory out again only when the copies that were queued from it are done.
///
/// # Errors
/// When memory runs out or libtorch_cuda is not loaded.
pub fn host_floats(len: usize, device: Device) -> Result<Tensor, TchError> {
    let mut memory = std::ptr::null_mut();
    let len = i64::try_from(len).map_err(|_| TchError::Torch(format!("no memory for {len} values")))?;
    let pinned = c_int::from(gpu_index(device).is_some());
    // SAFETY: plain numbers; `memory` is written before the call returns.
    check(unsafe { dtrain_host_floats(len, pinned, &mut memory) })?;
    // SAFETY: a call without a message has made a new tensor, which this side owns.
    Ok(unsafe { Tensor::from_ptr(memory) })
}

/// A host tensor that is being copied to a device; on a CPU the tensor itself, and no copy.
#[derive(Debug)]
pub struct Upload {
    tensor: Tensor,
    /// The end of the copy, on a GPU.
    copied: Option<(Event, c_int)>,
}

impl Upload {
    /// Starts to copy `host`, from where it lies if that is pinned memory. This thread does not wait, and neither does what the
    /// GPU computes meanwhile.
    ///
    /// # Errors
    /// When memory runs out or libtorch_cuda is not loaded.
    pub fn start(host: &Tensor, device: Device) -> Result<Self, TchError> {
        let Some(index) = gpu_index(device) else {
            return Ok(Self { tensor: host.shallow_clone(), copied: None });
        };
        let (mut copy, mut event) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the tensor is valid for the time of the call, which makes a new one and an event.
        check(unsafe { dtrain_upload(host.as_ptr(), index, &mut copy, &mut event) })?;
        // SAFETY: a call without a message has made both, which this side owns.
        let (tensor, event) = unsafe { (Tensor::from_ptr(copy), Event::from_raw(event, index)) };
        Ok(Self { tensor, copied: Some((event, index)) })
    }

    /// The tensor, for what this thread gives the device from now on, which waits for the copy where it is not done yet. This
    /// thread does not.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn arrived(self) -> Result<Tensor, TchError> {
        if let Some((event, index)) = &self.copied {
            // SAFETY: the tensor and the event live for the time of the call.
            check(unsafe { dtrain_upload_arrived(self.tensor.as_ptr(), event.as_raw(), *index) })?;
        }
        Ok(self.tensor)
    }
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;
    use tch::Kind;

    use super::super::num_gpus;
    use super::*;

    #[test]
    fn on_a_cpu_nothing_is_copied() {
        let host = host_floats(6, Device::Cpu).unwrap();
        assert_eq!((host.size(), host.kind()), (vec![6], Kind::Float));
        let there = Upload::start(&host, Device::Cpu).unwrap().arrived().unwrap();
        assert_eq!(there.data_ptr(), host.data_ptr());
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error() {
        if num_gpus().is_ok_and(|gpus| gpus > 0) {
            return skipped("this machine has a GPU");
        }
        assert!(host_floats(6, Device::Cuda(0)).is_err());
        assert!(Upload::start(&Tensor::from_slice(&[1.0_f32]), Device::Cuda(0)).is_err());
    }
}
