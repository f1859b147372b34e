//! One nonblocking communicator. Its calls return at once and go on; [`Communicator::settle`] polls until they are over.
//!
//! Only nonblocking communicators can be aborted safely while something hangs.

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::time::{Duration, Instant};

use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::{ncclComm_t, ncclConfig_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

use super::library::Nccl;
use crate::buffer::{Buffer, ElementKind};
use crate::collective::ReduceOp;
use crate::error::CommError;
use crate::transport::TensorOp;
use crate::world::World;

/// `ncclResult_t` of a call that is complete, and of one that goes on.
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;

/// `NCCL_CONFIG_INITIALIZER` of NCCL 2.28.
const MAGIC: c_uint = 0xcafe_beef;
const VERSION: c_uint = 22800;
const UNDEFINED: c_int = c_int::MIN;

/// An operation for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub operation: &'static str,
    /// How many operations this rank has started with it.
    pub number: u64,
    pub count: usize,
    pub rank: usize,
    pub world_size: usize,
}

impl Call {
    /// A call that moves no elements.
    pub(super) fn without_elements(operation: &'static str, world: &World) -> Self {
        Self { operation, number: 0, count: 0, rank: world.rank, world_size: world.world_size }
    }

    /// The error of a call that has lasted too long.
    pub(super) fn timed_out(self, waited: Duration) -> CommError {
        let Self { operation, number, count, rank, world_size } = self;
        CommError::TimedOut { operation, number, count, rank, world_size, waited }
    }
}

/// Waits between looks: short at first, so that what is nearly done costs little, then long enough to leave the core to
/// others.
#[derive(Debug)]
pub(super) struct Patience {
    begun: Instant,
}

impl Patience {
    const EAGER: Duration = Duration::from_micros(50);

    pub(super) fn new() -> Self {
        Self { begun: Instant::now() }
    }

    /// Lets some time pass.
    pub(super) fn pause(&self) {
        let waited = self.begun.elapsed();
        if waited < Self::EAGER {
            std::thread::yield_now();
        } else {
            std::thread::sleep((waited / 8).clamp(Duration::from_micros(20), Duration::from_millis(1)));
        }
    }

    /// How long it has been.
    pub(super) fn waited(&self) -> Duration {
        self.begun.elapsed()
    }
}

/// A rank of a communicator.
#[derive(Debug)]
pub(super) struct Communicator {
    nccl: &'static Nccl,
    handle: ncclComm_t,
}

// SAFETY: NCCL lets any thread use a communicator, one at a time, which ownership sees to.
unsafe impl Send for Communicator {}

impl Communicator {
    /// A name under which ranks find each other.
    pub(super) fn unique_id(nccl: &'static Nccl, world: &World) -> Result<ncclUniqueId, CommError> {
        let mut id = ncclUniqueId { internal: [0; 128] };
        // SAFETY: the pointer is to a local.
        let status = unsafe { (nccl.unique_id)(&raw mut id) };
        check(nccl, std::ptr::null_mut(), status, Call::without_elements("ncclGetUniqueId", world))?;
        Ok(id)
    }

    /// Meets the other ranks on the device of the current context.
    ///
    /// # Errors
    /// What NCCL reports, or [`CommError::TimedOut`].
    pub(super) fn connect(
        nccl: &'static Nccl,
        world: &World,
        id: ncclUniqueId,
        timeout: Duration,
    ) -> Result<Self, CommError> {
        let call = Call::without_elements("ncclCommInitRankConfig", world);
        let index = |value: usize| c_int::try_from(value).unwrap_or(c_int::MAX);
        let mut config = config();
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointers are to locals, and the configuration says which fields it has.
        let status = unsafe {
            (nccl.init_rank)(&raw mut handle, index(world.world_size), id, index(world.rank), &raw mut config)
        };
        check(nccl, handle, status, call)?;
        let communicator = Self { nccl, handle };
        match communicator.settle(call, timeout) {
            Ok(()) => Ok(communicator),
            Err(error) => {
                communicator.abort();
                Err(error)
            }
        }
    }

    /// Submits `op`; [`Communicator::settle`] tells when it is on the stream.
    ///
    /// # Safety
    /// `buffer` fits `op`, as [`TensorOp::check`] has found, is memory that NCCL can reach, and stays untouched until the
    /// operation is complete on `stream`.
    pub(super) unsafe fn submit(
        &self,
        op: &TensorOp,
        mut buffer: Buffer<'static>,
        stream: CUstream,
        call: Call,
    ) -> Result<(), CommError> {
        let element = buffer.kind().num_bytes();
        let (kind, count) = (data_type(buffer.kind()), buffer.len());
        let all = buffer.as_mut_ptr();
        let (nccl, comm) = (self.nccl, self.handle);
        // In bytes, and inside the buffer for parts that `check` has found to fit.
        let at = |elements: usize| all.wrapping_add(elements * element);
        let check = |status| check(nccl, comm, status, call);
        let broadcast = |start: usize, count: usize, root: usize| {
            let memory = at(start).cast();
            let root = c_int::try_from(root).unwrap_or(c_int::MAX);
            // SAFETY: `count` elements at `memory` are inside the buffer.
            check(unsafe { (nccl.broadcast)(memory, memory, count, kind, root, comm, stream) })
        };
        match op {
            TensorOp::AllReduce(op) => {
                let (memory, op) = (all.cast(), reduction(*op));
                // SAFETY: in place over the whole buffer.
                check(unsafe { (nccl.all_reduce)(memory, memory, count, kind, op, comm, stream) })
            }
            TensorOp::ReduceScatter => {
                let part = count / call.world_size.max(1);
                let (send, recv) = (all.cast(), at(call.rank * part).cast());
                // SAFETY: in place, as NCCL defines it: the result lies where this rank's part of the input does.
                check(unsafe {
                    (nccl.reduce_scatter)(send, recv, part, kind, ncclRedOp_t::ncclSum, comm, stream)
                })
            }
            TensorOp::AllGather { counts } => match counts.first() {
                Some(&part) if counts.iter().all(|&count| count == part) => {
                    let (send, recv) = (at(call.rank * part).cast(), all.cast());
                    // SAFETY: in place, as NCCL defines it: the input lies where the result has this rank's part.
                    check(unsafe { (nccl.all_gather)(send, recv, part, kind, comm, stream) })
                }
                _ => self.grouped(call, || {
                    let mut start = 0;
                    for (root, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                        broadcast(start, count, root)?;
                        start += count;
                    }
                    Ok(())
                }),
            },
            TensorOp::Broadcast { root } => broadcast(0, count, *root),
        }
    }

    /// Launches what `body` submits as one.
    pub(super) fn grouped(
        &self,
        call: Call,
        body: impl FnOnce() -> Result<(), CommError>,
    ) -> Result<(), CommError> {
        // SAFETY: no requirements; the end follows below whatever happens between.
        check(self.nccl, self.handle, unsafe { (self.nccl.group_start)() }, call)?;
        let result = body();
        // SAFETY: the group was started above, on this thread.
        let ended = check(self.nccl, self.handle, unsafe { (self.nccl.group_end)() }, call);
        result.and(ended)
    }

    /// Returns once earlier calls are over.
    ///
    /// # Errors
    /// What NCCL found meanwhile, or [`CommError::TimedOut`].
    pub(super) fn settle(&self, call: Call, timeout: Duration) -> Result<(), CommError> {
        let patience = Patience::new();
        while self.is_busy(call)? {
            if patience.waited() > timeout {
                return Err(call.timed_out(patience.waited()));
            }
            patience.pause();
        }
        Ok(())
    }

    /// Whether an earlier call goes on.
    ///
    /// # Errors
    /// What NCCL found meanwhile, in this communicator's operations too.
    pub(super) fn is_busy(&self, call: Call) -> Result<bool, CommError> {
        let mut state = SUCCESS;
        // SAFETY: the communicator is alive, and the pointer is to a local.
        let status = unsafe { (self.nccl.async_error)(self.handle, &raw mut state) };
        check(self.nccl, self.handle, status, call)?;
        check(self.nccl, self.handle, state, call)?;
        Ok(state == IN_PROGRESS)
    }

    /// The orderly end, for which all ranks come together.
    ///
    /// # Errors
    /// What NCCL reports, or [`CommError::TimedOut`]; the communicator is aborted then.
    pub(super) fn finish(self, call: Call, timeout: Duration) -> Result<(), CommError> {
        // SAFETY: the communicator is alive.
        let status = unsafe { (self.nccl.finalize)(self.handle) };
        let finished = check(self.nccl, self.handle, status, call).and_then(|()| self.settle(call, timeout));
        if finished.is_err() {
            self.abort();
            return finished;
        }
        // SAFETY: the communicator is finalized, and this value was its only owner.
        check(self.nccl, std::ptr::null_mut(), unsafe { (self.nccl.destroy)(self.handle) }, call)
    }

    /// Ends the communicator and whatever it is doing.
    pub(super) fn abort(self) {
        // SAFETY: the communicator is alive, and this value was its only owner. The result changes nothing any more.
        unsafe { (self.nccl.abort)(self.handle) };
    }
}

fn config() -> ncclConfig_t {
    ncclConfig_t {
        size: size_of::<ncclConfig_t>(),
        magic: MAGIC,
        version: VERSION,
        blocking: 0,
        cgaClusterSize: UNDEFINED,
        minCTAs: UNDEFINED,
        maxCTAs: UNDEFINED,
        netName: std::ptr::null(),
        splitShare: UNDEFINED,
        trafficClass: UNDEFINED,
        commName: std::ptr::null(),
        collnetEnable: UNDEFINED,
        CTAPolicy: UNDEFINED,
        shrinkShare: UNDEFINED,
        nvlsCTAs: UNDEFINED,
        nChannelsPerNetPeer: UNDEFINED,
        nvlinkCentricSched: UNDEFINED,
    }
}

fn data_type(kind: ElementKind) -> ncclDataType_t {
    match kind {
        ElementKind::F32 => ncclDataType_t::ncclFloat32,
        ElementKind::F64 => ncclDataType_t::ncclFloat64,
        ElementKind::I32 => ncclDataType_t::ncclInt32,
        ElementKind::I64 => ncclDataType_t::ncclInt64,
        ElementKind::U64 => ncclDataType_t::ncclUint64,
        ElementKind::U8 => ncclDataType_t::ncclUint8,
    }
}

fn reduction(op: ReduceOp) -> ncclRedOp_t {
    match op {
        ReduceOp::Sum => ncclRedOp_t::ncclSum,
        ReduceOp::Max => ncclRedOp_t::ncclMax,
        ReduceOp::Min => ncclRedOp_t::ncclMin,
    }
}

/// Turns a result into an error with NCCL's own texts; a call that goes on is no error.
fn check(nccl: &Nccl, handle: ncclComm_t, code: c_int, call: Call) -> Result<(), CommError> {
    if [SUCCESS, IN_PROGRESS].contains(&code) {
        return Ok(());
    }
    let text = |text: *const c_char| {
        // SAFETY: NCCL returns null or a text that lives as long as the process or the communicator.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.map(|text| text.to_string_lossy().trim().to_owned()).unwrap_or_default()
    };
    // SAFETY: any code is allowed.
    let general = text(unsafe { (nccl.error_string)(code) });
    // SAFETY: the handle is null or that of a living communicator.
    let last = text(unsafe { (nccl.last_error)(handle) });
    let Call { operation, number, count, rank, world_size } = call;
    let text = if last.is_empty() { general } else { format!("{general}: {last}") };
    Err(CommError::Nccl { operation, number, count, rank, world_size, code, text })
}
