//! The entry points of the CUDA driver that dtrain uses.
//!
//! Handles are addresses of boxes that live until they are destroyed. Calls that need a current context fail without one,
//! as in CUDA.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crate::settings::settings;
use crate::stream::{Event, Stream};

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const NOT_INITIALIZED: c_int = 3;
const NO_DEVICE: c_int = 100;
const INVALID_DEVICE: c_int = 101;
const INVALID_CONTEXT: c_int = 201;
const NOT_READY: c_int = 600;
const NOT_SUPPORTED: c_int = 801;

/// `CU_STREAM_NON_BLOCKING`.
const NON_BLOCKING: c_uint = 1;
/// Bytes that a device pretends to have.
const DEVICE_BYTES: usize = 16 << 30;
/// More devices than any test asks for.
const MAX_DEVICES: usize = 64;

static INITIALIZED: AtomicBool = AtomicBool::new(false);
/// How often each device's primary context is retained; its address is the context's handle.
static CONTEXTS: [AtomicI32; MAX_DEVICES] = [const { AtomicI32::new(0) }; MAX_DEVICES];

thread_local! {
    static CURRENT: Cell<*mut c_void> = const { Cell::new(std::ptr::null_mut()) };
    /// Calls of `cuCtxSetCurrent` that fail from now on.
    static FAILING: Cell<u32> = const { Cell::new(0) };
}

/// The device of the calling thread's context.
pub(crate) fn current_device() -> Option<c_int> {
    let current = CURRENT.get().cast_const();
    let index = CONTEXTS.iter().position(|context| std::ptr::from_ref(context).cast() == current)?;
    c_int::try_from(index).ok()
}

/// The stream behind a handle; the null handle is the legacy default stream.
///
/// # Safety
/// `handle` is null or was made by `cuStreamCreateWithPriority` and not destroyed.
pub(crate) unsafe fn stream<'a>(handle: *mut c_void) -> &'a Stream {
    // SAFETY: promised by the caller.
    unsafe { handle.cast::<Stream>().as_ref() }.unwrap_or_else(|| Stream::legacy())
}

fn device(ordinal: c_int) -> Option<&'static AtomicI32> {
    let count = settings().num_devices;
    (ordinal < count).then(|| CONTEXTS.get(usize::try_from(ordinal).ok()?)).flatten()
}

/// `Ok` when the calling thread may make streams and events.
fn in_context() -> Result<(), c_int> {
    if !INITIALIZED.load(Ordering::Acquire) {
        return Err(NOT_INITIALIZED);
    }
    current_device().map(drop).ok_or(INVALID_CONTEXT)
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(SUCCESS)
}

/// Writes `value` where the caller wants it.
///
/// # Safety
/// `place` is null or valid for a write.
unsafe fn give<T>(place: *mut T, value: T) -> Result<(), c_int> {
    if place.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: not null, and valid as the caller promises.
    unsafe { place.write(value) };
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    if settings().num_devices <= 0 {
        return NO_DEVICE;
    }
    INITIALIZED.store(true, Ordering::Release);
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(count, settings().num_devices) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(place: *mut c_int, ordinal: c_int) -> c_int {
    if !INITIALIZED.load(Ordering::Acquire) {
        return NOT_INITIALIZED;
    }
    if device(ordinal).is_none() {
        return INVALID_DEVICE;
    }
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(place, ordinal) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, _device: c_int) -> c_int {
    let text = b"dtrain stand-in\0";
    let room = usize::try_from(len).unwrap_or_default();
    if name.is_null() || room < text.len() {
        return INVALID_VALUE;
    }
    // SAFETY: `name` has room for `len` bytes, as the entry point demands of its caller.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr().cast(), name, text.len()) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> c_int {
    let mut bytes = *b"dtrain-standin\0\0";
    if let (Some(last), Ok(ordinal)) = (bytes.last_mut(), u8::try_from(device)) {
        *last = ordinal;
    }
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(uuid, bytes) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(bytes, DEVICE_BYTES) })
}

/// Every attribute is 0: the compute capability of no GPU.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, _attribute: c_uint, _device: c_int) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(value, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut *mut c_void, ordinal: c_int) -> c_int {
    let Some(place) = device(ordinal) else { return INVALID_DEVICE };
    place.fetch_add(1, Ordering::AcqRel);
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(context, std::ptr::from_ref(place).cast_mut().cast()) })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(ordinal: c_int) -> c_int {
    let Some(place) = device(ordinal) else { return INVALID_DEVICE };
    if place.fetch_sub(1, Ordering::AcqRel) > 0 { SUCCESS } else { INVALID_CONTEXT }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(context: *mut c_void) -> c_int {
    if let Some(left) = FAILING.get().checked_sub(1) {
        FAILING.set(left);
        return INVALID_CONTEXT;
    }
    CURRENT.set(context);
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn dtrainStandinFailContexts(calls: u32) {
    FAILING.set(calls);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(context, CURRENT.get()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    code(in_context().and_then(|()| unsafe { give(least, 0) }).and_then(|()| unsafe { give(greatest, -5) }))
}

/// Only streams without order to the legacy default stream exist here.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(place: *mut *mut c_void, flags: c_uint, _: c_int) -> c_int {
    if flags != NON_BLOCKING {
        return NOT_SUPPORTED;
    }
    let create = || Box::into_raw(Box::new(Stream::new())).cast();
    // SAFETY: as the entry point demands of its caller.
    code(in_context().and_then(|()| unsafe { give(place, create()) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamDestroy_v2(handle: *mut c_void) -> c_int {
    if handle.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: a handle that is not null was made by `cuStreamCreateWithPriority`; its caller destroys it once.
    drop(unsafe { Box::from_raw(handle.cast::<Stream>()) });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(handle: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    code(in_context().map(|()| unsafe { stream(handle) }.synchronize()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamQuery(handle: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    if unsafe { stream(handle) }.is_idle() { code(in_context()) } else { NOT_READY }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamWaitEvent(handle: *mut c_void, event: *mut c_void, _flags: c_uint) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    let Some(event) = (unsafe { event.cast::<Event>().as_ref() }) else { return INVALID_VALUE };
    if let (Some(mark), false) = (event.last(), settings().ignore_waits) {
        // SAFETY: as the entry point demands of its caller.
        unsafe { stream(handle) }.push(move || mark.wait());
    }
    code(in_context())
}

/// A function for the host that a stream calls, and its argument.
struct HostCall(unsafe extern "C" fn(*mut c_void), *mut c_void);

// SAFETY: whoever enqueues the call promises that it may be made on the stream's thread.
unsafe impl Send for HostCall {}

impl HostCall {
    fn make(self) {
        // SAFETY: as the entry point demands of its caller.
        unsafe { (self.0)(self.1) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchHostFunc(
    handle: *mut c_void,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    argument: *mut c_void,
) -> c_int {
    let Some(function) = function else { return INVALID_VALUE };
    let call = HostCall(function, argument);
    // SAFETY: as the entry point demands of its caller.
    code(in_context().map(|()| unsafe { stream(handle) }.push(move || call.make())))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(place: *mut *mut c_void, _flags: c_uint) -> c_int {
    let create = || Arc::into_raw(Arc::new(Event::default())).cast_mut().cast();
    // SAFETY: as the entry point demands of its caller.
    code(in_context().and_then(|()| unsafe { give(place, create()) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(event: *mut c_void) -> c_int {
    if event.is_null() {
        return INVALID_VALUE;
    }
    // SAFETY: a handle that is not null was made by `cuEventCreate`; its caller destroys it once.
    drop(unsafe { Arc::from_raw(event.cast::<Event>()) });
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: *mut c_void, handle: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    let Some(event) = (unsafe { event.cast::<Event>().as_ref() }) else { return INVALID_VALUE };
    // SAFETY: as the entry point demands of its caller.
    code(in_context().map(|()| event.record(unsafe { stream(handle) })))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventQuery(event: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    let Some(event) = (unsafe { event.cast::<Event>().as_ref() }) else { return INVALID_VALUE };
    if event.last().is_none_or(|mark| mark.is_reached()) { code(in_context()) } else { NOT_READY }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(status: c_int, name: *mut *const c_char) -> c_int {
    let text = match status {
        SUCCESS => c"CUDA_SUCCESS",
        INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        NOT_INITIALIZED => c"CUDA_ERROR_NOT_INITIALIZED",
        NO_DEVICE => c"CUDA_ERROR_NO_DEVICE",
        INVALID_DEVICE => c"CUDA_ERROR_INVALID_DEVICE",
        INVALID_CONTEXT => c"CUDA_ERROR_INVALID_CONTEXT",
        NOT_READY => c"CUDA_ERROR_NOT_READY",
        NOT_SUPPORTED => c"CUDA_ERROR_NOT_SUPPORTED",
        _ => return INVALID_VALUE,
    };
    // SAFETY: as the entry point demands of its caller.
    code(unsafe { give(name, text.as_ptr()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(status: c_int, text: *mut *const c_char) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    unsafe { cuGetErrorName(status, text) }
}
