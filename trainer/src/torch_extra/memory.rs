//! How much memory tensors take.

use std::ffi::{c_char, c_int};

use tch::{Device, TchError};

use super::cuda::gpu_index;
use super::{check, keep_large_blocks};

#[repr(C)]
#[derive(Default)]
struct CpuState {
    live: i64,
    peak: i64,
    reusable: i64,
}

#[repr(C)]
#[derive(Default)]
struct CudaState {
    live: i64,
    peak: i64,
    reserved: i64,
    free: i64,
}

unsafe extern "C" {
    fn dtrain_cpu_memory() -> CpuState;
    fn dtrain_cpu_memory_reset_peak();
    fn dtrain_cuda_memory(device_index: c_int, state: *mut CudaState) -> *mut c_char;
    fn dtrain_cuda_memory_reset_peak(device_index: c_int) -> *mut c_char;
}

fn cpu_state() -> CpuState {
    // SAFETY: no arguments.
    unsafe { dtrain_cpu_memory() }
}

fn cuda_state(index: c_int) -> Result<CudaState, TchError> {
    let mut state = CudaState::default();
    // SAFETY: `state` is written before the call returns.
    check(unsafe { dtrain_cuda_memory(index, &mut state) })?;
    Ok(state)
}

/// Bytes of memory that hold no tensor but are kept for the next ones instead of being given back.
///
/// # Errors
/// When libtorch_cuda is not loaded.
pub fn reusable_bytes(device: Device) -> Result<u64, TchError> {
    let bytes = match gpu_index(device) {
        None => cpu_state().reusable,
        Some(index) => cuda_state(index).map(|state| state.reserved - state.live)?,
    };
    Ok(u64::try_from(bytes).unwrap_or(0))
}

/// Bytes of a GPU that its driver still has; `None` for a CPU.
///
/// # Errors
/// When libtorch_cuda is not loaded.
pub fn gpu_free_bytes(device: Device) -> Result<Option<u64>, TchError> {
    let Some(index) = gpu_index(device) else { return Ok(None) };
    Ok(Some(u64::try_from(cuda_state(index)?.free).unwrap_or(0)))
}

/// The most memory that this process's tensors on a device take from a point in time on.
///
/// Counts tensors, as the allocator rounds them, and not what libraries such as oneDNN and cuDNN take for themselves.
/// One meter at a time per kind of device: a further one lets earlier ones forget what was before it.
#[derive(Debug)]
pub struct MemoryMeter {
    gpu: Option<c_int>,
    begin: i64,
}

impl MemoryMeter {
    /// Starts to measure. Operations that a GPU has been given count at once, not when they run. On a CPU it is
    /// [`keep_large_blocks`] that counts, from its first call on; this calls it.
    ///
    /// # Errors
    /// When libtorch_cuda is not loaded.
    pub fn start(device: Device) -> Result<Self, TchError> {
        let gpu = gpu_index(device);
        match gpu {
            None => {
                keep_large_blocks();
                // SAFETY: no arguments.
                unsafe { dtrain_cpu_memory_reset_peak() };
            }
            // SAFETY: a plain number.
            Some(index) => check(unsafe { dtrain_cuda_memory_reset_peak(index) })?,
        }
        let mut meter = Self { gpu, begin: 0 };
        meter.begin = meter.live_and_peak()?.0;
        Ok(meter)
    }

    /// Bytes, above those that lived at the start, of the moment with the most.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn peak_bytes(&self) -> Result<u64, TchError> {
        Ok(u64::try_from(self.live_and_peak()?.1 - self.begin).unwrap_or(0))
    }

    /// Bytes above those that lived at the start; 0 if fewer live now.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn live_bytes(&self) -> Result<u64, TchError> {
        Ok(u64::try_from(self.live_and_peak()?.0 - self.begin).unwrap_or(0))
    }

    fn live_and_peak(&self) -> Result<(i64, i64), TchError> {
        match self.gpu {
            None => {
                let CpuState { live, peak, .. } = cpu_state();
                Ok((live, peak))
            }
            Some(index) => cuda_state(index).map(|state| (state.live, state.peak)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);
    /// Larger than anything that other tests hold or give back meanwhile.
    const LARGE: i64 = 400 << 20;
    /// What other tests may move.
    const SLACK: u64 = 250 << 20;

    #[test]
    fn the_peak_is_what_lived_at_once() {
        let _alone = crate::torch_extra::tests::alone();
        let meter = MemoryMeter::start(Device::Cpu).unwrap();
        let near = |actual: u64, expected: u64| {
            assert!(actual.abs_diff(expected) < SLACK, "{actual} is not about {expected}");
        };
        let floats = |bytes: i64| Tensor::empty([bytes / 4], FLOAT);
        let first = floats(LARGE);
        drop(floats(2 * LARGE));
        let second = floats(LARGE);
        near(meter.live_bytes().unwrap(), 2 * LARGE as u64);
        near(meter.peak_bytes().unwrap(), 3 * LARGE as u64);
        drop((first, second));
        near(meter.live_bytes().unwrap(), 0);
        assert!(reusable_bytes(Device::Cpu).unwrap() >= 2 * LARGE as u64);

        // Also many that are too small for the pool.
        let small: Vec<Tensor> = (0..3200).map(|_| floats(128 << 10)).collect();
        near(meter.live_bytes().unwrap(), LARGE as u64);
        drop(small);
        near(meter.live_bytes().unwrap(), 0);
    }
}
