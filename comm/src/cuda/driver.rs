//! The functions of `libcuda.so.1`.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::sync::OnceLock;

use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdeviceptr, CUevent, CUstream, CUuuid_st};

use crate::dynamic::{Unusable, functions};
use crate::error::CommError;
use crate::world::World;

/// Status codes that are no errors here.
pub(crate) const SUCCESS: c_int = 0;
pub(crate) const NOT_READY: c_int = 600;

functions! {
    /// Functions of the CUDA driver, with their C declarations; all return a `CUresult`.
    Driver {
        init = "cuInit"(c_uint) -> c_int;
        error_name = "cuGetErrorName"(c_int, *mut *const c_char) -> c_int;
        error_string = "cuGetErrorString"(c_int, *mut *const c_char) -> c_int;
        device_count = "cuDeviceGetCount"(*mut c_int) -> c_int;
        device_get = "cuDeviceGet"(*mut CUdevice, c_int) -> c_int;
        device_name = "cuDeviceGetName"(*mut c_char, c_int, CUdevice) -> c_int;
        device_uuid = "cuDeviceGetUuid_v2"(*mut CUuuid_st, CUdevice) -> c_int;
        device_bytes = "cuDeviceTotalMem_v2"(*mut usize, CUdevice) -> c_int;
        device_attribute = "cuDeviceGetAttribute"(*mut c_int, c_uint, CUdevice) -> c_int;
        context_retain = "cuDevicePrimaryCtxRetain"(*mut CUcontext, CUdevice) -> c_int;
        context_release = "cuDevicePrimaryCtxRelease_v2"(CUdevice) -> c_int;
        context_set_current = "cuCtxSetCurrent"(CUcontext) -> c_int;
        stream_priorities = "cuCtxGetStreamPriorityRange"(*mut c_int, *mut c_int) -> c_int;
        stream_create = "cuStreamCreateWithPriority"(*mut CUstream, c_uint, c_int) -> c_int;
        stream_destroy = "cuStreamDestroy_v2"(CUstream) -> c_int;
        stream_query = "cuStreamQuery"(CUstream) -> c_int;
        stream_wait_event = "cuStreamWaitEvent"(CUstream, CUevent, c_uint) -> c_int;
        event_create = "cuEventCreate"(*mut CUevent, c_uint) -> c_int;
        event_destroy = "cuEventDestroy_v2"(CUevent) -> c_int;
        event_record = "cuEventRecord"(CUevent, CUstream) -> c_int;
        event_query = "cuEventQuery"(CUevent) -> c_int;
        memory_allocate = "cuMemAlloc_v2"(*mut CUdeviceptr, usize) -> c_int;
        memory_free = "cuMemFree_v2"(CUdeviceptr) -> c_int;
    }
}

/// The driver of this machine, loaded once.
///
/// # Errors
/// There is none, or it is too old.
pub(crate) fn driver() -> Result<&'static Driver, Unusable> {
    static DRIVER: OnceLock<Result<Driver, Unusable>> = OnceLock::new();
    DRIVER.get_or_init(load).as_ref().map_err(Unusable::clone)
}

fn load() -> Result<Driver, Unusable> {
    let unusable =
        |reason: &str, hint| Unusable { library: "the CUDA driver", reason: reason.to_owned(), hint };
    // SAFETY: loads `libcuda.so`, whose initializers have no requirements.
    if !unsafe { sys::is_culib_present() } {
        return Err(unusable(
            "`libcuda.so.1` is not on this machine",
            "install the NVIDIA driver, or train on the CPU",
        ));
    }
    // SAFETY: the library has just been found, which is when this does not panic.
    let library = unsafe { sys::culib() };
    Driver::find(library).map_err(|reason| unusable(&reason, "update the NVIDIA driver"))
}

/// A function of the driver that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CudaError {
    pub operation: &'static str,
    pub code: c_int,
    pub text: String,
}

impl CudaError {
    /// The error of a rank.
    pub(crate) fn on(self, world: &World) -> CommError {
        let Self { operation, code, text } = self;
        CommError::Cuda { operation, rank: world.rank, world_size: world.world_size, code, text }
    }
}

impl Driver {
    /// Turns a status into an error with the driver's own text.
    ///
    /// # Errors
    /// Every status but success.
    pub(crate) fn check(&self, code: c_int, operation: &'static str) -> Result<(), CudaError> {
        if code == SUCCESS {
            return Ok(());
        }
        let texts = [self.error_name, self.error_string].map(|function| {
            let mut text = std::ptr::null();
            // SAFETY: the pointer is to a local. The text that it gets is a constant of the driver.
            let known = unsafe { function(code, &raw mut text) } == SUCCESS && !text.is_null();
            // SAFETY: checked above.
            known.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        });
        let text = match texts {
            [Some(name), Some(text)] => format!("{text} ({name})"),
            _ => format!("error code {code}"),
        };
        Err(CudaError { operation, code, text })
    }
}
