//! The entry points of NCCL 2.28 that dtrain uses.
//!
//! A communicator's handle is the address of a reference that is never released, so that a call after `ncclCommDestroy`
//! finds memory.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::io::Read;
use std::mem::offset_of;
use std::sync::Arc;

use crate::communicator::{
    Communicator, IN_PROGRESS, INVALID_ARGUMENT, INVALID_USAGE, SUCCESS, SYSTEM_ERROR, connections,
    last_error,
};
use crate::group;
use crate::operation::{Operation, Verb};
use crate::reduce::{Kind, Reduction};
use crate::settings::settings;
use crate::stream::Stream;

/// `NCCL_CONFIG_INITIALIZER`'s magic number.
const CONFIG_MAGIC: c_uint = 0xcafe_beef;
/// Bytes of an `ncclUniqueId`, of which the first hold the token as text.
const ID_BYTES: usize = 128;
const TOKEN_CHARS: usize = 32;

/// The fields of `ncclConfig_t` that every version has.
#[repr(C)]
struct Config {
    size: usize,
    magic: c_uint,
    version: c_uint,
    blocking: c_int,
}

/// `ncclUniqueId`.
#[repr(C)]
struct UniqueId {
    internal: [u8; ID_BYTES],
}

/// The communicator behind a handle.
///
/// # Safety
/// `handle` is null or was made by `ncclCommInitRankConfig`.
unsafe fn communicator(handle: *mut c_void) -> Option<Arc<Communicator>> {
    if handle.is_null() {
        return None;
    }
    let pointer = handle.cast_const().cast::<Communicator>();
    // SAFETY: the reference that `ncclCommInitRankConfig` gave away is never released; this is one more.
    unsafe {
        Arc::increment_strong_count(pointer);
        Some(Arc::from_raw(pointer))
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclGetVersion(version: *mut c_int) -> c_int {
    if version.is_null() {
        return INVALID_ARGUMENT;
    }
    // SAFETY: not null, and valid as the entry point demands of its caller.
    unsafe { version.write(settings().version) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclGetUniqueId(id: *mut UniqueId) -> c_int {
    let mut random = [0_u8; TOKEN_CHARS / 2];
    let read = fs_err::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random));
    if read.is_err() {
        return SYSTEM_ERROR;
    }
    if id.is_null() {
        return INVALID_ARGUMENT;
    }
    let mut internal = [0; ID_BYTES];
    let digits = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text = digits.map(|digit| b"0123456789abcdef".get(usize::from(digit)).copied().unwrap_or_default());
    internal.iter_mut().zip(text).for_each(|(place, digit)| *place = digit);
    // SAFETY: not null, and valid as the entry point demands of its caller.
    unsafe { id.write(UniqueId { internal }) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommInitRankConfig(
    place: *mut *mut c_void,
    world_size: c_int,
    id: UniqueId,
    rank: c_int,
    config: *const Config,
) -> c_int {
    // SAFETY: null, or a configuration of this or a later version, as the entry point demands of its caller.
    let blocking = match unsafe { config.as_ref() } {
        None => true,
        Some(config) if config.magic != CONFIG_MAGIC || config.size < offset_of!(Config, blocking) => {
            return INVALID_ARGUMENT;
        }
        Some(config) => config.blocking != 0,
    };
    let blocking = settings().blocking.unwrap_or(blocking);
    let (Ok(size), Ok(rank)) = (usize::try_from(world_size), usize::try_from(rank)) else {
        return INVALID_ARGUMENT;
    };
    let token: String = id.internal.iter().take(TOKEN_CHARS).map(|&byte| char::from(byte)).collect();
    if place.is_null() || rank >= size || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return INVALID_ARGUMENT;
    }
    let Some(device) = crate::cuda::current_device() else { return INVALID_USAGE };
    let communicator = Communicator::new(rank, size, blocking);
    let handle = Arc::into_raw(communicator.clone()).cast_mut().cast();
    // Before the ranks meet, so that another thread can abort it meanwhile.
    // SAFETY: not null, and valid as the entry point demands of its caller.
    unsafe { place.write(handle) };
    communicator.init(token, device);
    if !blocking {
        return IN_PROGRESS;
    }
    let state = communicator.state();
    if state != SUCCESS {
        // SAFETY: as above.
        unsafe { place.write(std::ptr::null_mut()) };
    }
    state
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommGetAsyncError(handle: *mut c_void, state: *mut c_int) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    let Some(communicator) = (unsafe { communicator(handle) }) else { return INVALID_ARGUMENT };
    // SAFETY: as the entry point demands of its caller.
    unsafe { state.write(communicator.state()) };
    SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommFinalize(handle: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    unsafe { communicator(handle) }.map_or(INVALID_ARGUMENT, |communicator| communicator.finalize())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommDestroy(handle: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    unsafe { communicator(handle) }.map_or(INVALID_ARGUMENT, |_| SUCCESS)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclCommAbort(handle: *mut c_void) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    let Some(communicator) = (unsafe { communicator(handle) }) else { return INVALID_ARGUMENT };
    while settings().abort_hangs {
        std::thread::park();
    }
    communicator.abort();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclGetErrorString(code: c_int) -> *const c_char {
    let text = match code {
        SUCCESS => c"no error",
        1 => c"unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
        SYSTEM_ERROR => c"unhandled system error (run with NCCL_DEBUG=INFO for details)",
        3 => c"internal error - please report this issue to the NCCL developers",
        INVALID_ARGUMENT => c"invalid argument (run with NCCL_DEBUG=WARN for details)",
        INVALID_USAGE => c"invalid usage (run with NCCL_DEBUG=WARN for details)",
        6 => c"remote process exited or there was a network error",
        IN_PROGRESS => c"NCCL operation in progress",
        _ => c"unknown result code",
    };
    text.as_ptr()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclGetLastError(handle: *mut c_void) -> *const c_char {
    // SAFETY: as the entry point demands of its caller. The communicator, and its text with it, is never released.
    unsafe { communicator(handle) }.map_or_else(last_error, |communicator| communicator.last_error())
}

#[unsafe(no_mangle)]
extern "C" fn dtrainStandinConnections() -> u64 {
    connections()
}

#[unsafe(no_mangle)]
extern "C" fn ncclGroupStart() -> c_int {
    group::start();
    SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn ncclGroupEnd() -> c_int {
    group::end()
}

/// Submits an operation whose verb and kind the caller's numbers may not name.
///
/// # Safety
/// As the entry points demand of their callers.
unsafe fn submit(
    verb: Option<Verb>,
    kind: c_uint,
    buffers: (*const c_void, *mut c_void),
    count: usize,
    handle: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    // SAFETY: promised by the caller.
    let (communicator, stream): (_, &Stream) = unsafe { (communicator(handle), crate::cuda::stream(stream)) };
    let (Some(communicator), Some(verb), Some(kind)) = (communicator, verb, Kind::of(kind)) else {
        return INVALID_ARGUMENT;
    };
    if matches!(verb, Verb::Broadcast(root) if root >= communicator.world_size()) {
        return INVALID_ARGUMENT;
    }
    let (send, recv) = (buffers.0.cast(), buffers.1.cast());
    group::submit(communicator, stream, Operation { verb, kind, count, send, recv })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclAllReduce(
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    kind: c_uint,
    reduction: c_uint,
    handle: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    let verb = Reduction::of(reduction).map(Verb::AllReduce);
    // SAFETY: as the entry point demands of its caller.
    unsafe { submit(verb, kind, (send, recv), count, handle, stream) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclReduceScatter(
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    kind: c_uint,
    reduction: c_uint,
    handle: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    let verb = Reduction::of(reduction).map(Verb::ReduceScatter);
    // SAFETY: as the entry point demands of its caller.
    unsafe { submit(verb, kind, (send, recv), count, handle, stream) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclAllGather(
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    kind: c_uint,
    handle: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    // SAFETY: as the entry point demands of its caller.
    unsafe { submit(Some(Verb::AllGather), kind, (send, recv), count, handle, stream) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ncclBroadcast(
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    kind: c_uint,
    root: c_int,
    handle: *mut c_void,
    stream: *mut c_void,
) -> c_int {
    let verb = usize::try_from(root).ok().map(Verb::Broadcast);
    // SAFETY: as the entry point demands of its caller.
    unsafe { submit(verb, kind, (send, recv), count, handle, stream) }
}
