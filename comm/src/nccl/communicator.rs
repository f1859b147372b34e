//! One communicator: made under a limit, asked for errors at any time, ended once.
//!
//! By default its calls block until the operation is on the stream, as in PyTorch: a host that computes beside it never
//! waits for NCCL's own threads. Without blocking, calls return at once and go on; [`Communicator::settle`] polls until
//! they are over.

use std::ffi::c_int;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cudarc::driver::sys::CUstream;
use cudarc::nccl::sys::{ncclComm, ncclComm_t, ncclRedOp_t, ncclUniqueId};

use super::call::{Backoff, Call, IN_PROGRESS, SUCCESS};
use super::config::{config, data_type, reduction};
use super::helper::{self, Outcome};
use super::library::Nccl;
use crate::buffer::Buffer;
use crate::error::CommError;
use crate::transport::TensorOp;
use crate::world::World;

/// A rank of a communicator.
#[derive(Debug)]
pub(super) struct Communicator {
    nccl: &'static Nccl,
    handle: ncclComm_t,
    /// Whether a call returns only when the operation is on the stream.
    blocking: bool,
    /// Whether somebody has begun to end it, after which nobody else may call it. Held during calls that return at once.
    retired: Mutex<bool>,
}

// SAFETY: NCCL lets any thread use a communicator. Launches are in order by the link's lock; other calls by `retired`.
unsafe impl Send for Communicator {}
// SAFETY: as above.
unsafe impl Sync for Communicator {}

/// How to make a communicator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making {
    pub id: ncclUniqueId,
    pub blocking: bool,
    pub timeout: Duration,
}

impl Communicator {
    /// A name under which ranks find each other.
    pub(super) fn unique_id(nccl: &'static Nccl, world: &World) -> Result<ncclUniqueId, CommError> {
        let mut id = ncclUniqueId { internal: [0; 128] };
        // SAFETY: the pointer is to a local.
        let status = unsafe { (nccl.unique_id)(&raw mut id) };
        Call::without_elements("ncclGetUniqueId", world).check(nccl, std::ptr::null_mut(), status)?;
        Ok(id)
    }

    /// Meets the other ranks on the device whose context `enter` makes current; `None` once `is_hopeless` holds.
    ///
    /// # Errors
    /// What `enter` and NCCL report, or [`CommError::TimedOut`].
    pub(super) fn connect(
        nccl: &'static Nccl,
        world: &World,
        making: Making,
        enter: impl FnOnce() -> Result<(), CommError> + Send + 'static,
        is_hopeless: &dyn Fn() -> bool,
    ) -> Result<Option<Self>, CommError> {
        let Making { id, blocking, timeout } = making;
        let call = Call::without_elements("ncclCommInitRankConfig", world);
        let index = |value: usize| c_int::try_from(value).unwrap_or(c_int::MAX);
        let (world_size, rank) = (index(world.world_size), index(world.rank));
        let place = Arc::new(AtomicPtr::<ncclComm>::default());
        let own = place.clone();
        let made = helper::start("nccl-connect", world, move || {
            enter()?;
            let mut config = config(blocking);
            // SAFETY: the pointers are to memory that outlives the call, and the configuration says which fields it has.
            let status = unsafe { (nccl.init_rank)(own.as_ptr(), world_size, id, rank, &raw mut config) };
            call.check(nccl, std::ptr::null_mut(), status)
        })?;
        let outcome = helper::supervise(&made, world, timeout, is_hopeless)?;
        // NCCL puts the handle there before it begins to wait for the others.
        let handle = place.load(Ordering::Acquire);
        let communicator = Self { nccl, handle, blocking, retired: Mutex::new(false) };
        let outcome = match outcome {
            Outcome::Done(true) => communicator.settle_unless(call, timeout, is_hopeless)?,
            Outcome::Done(false) => return Ok(Some(communicator)),
            Outcome::TimedOut(waited) => Outcome::TimedOut(waited),
            Outcome::Hopeless => Outcome::Hopeless,
        };
        let error = match outcome {
            Outcome::Done(()) => return Ok(Some(communicator)),
            Outcome::TimedOut(waited) => Some(call.timed_out(waited)),
            Outcome::Hopeless => None,
        };
        communicator.retire();
        let aborted = !handle.is_null() && helper::ends("nccl-abort", world, move || communicator.abort());
        // The abort makes the other thread's call return.
        let returned = !blocking || made.recv_timeout(helper::ABORT).is_ok();
        if !(aborted && returned) {
            helper::give_up(world, &"it cannot leave `ncclCommInitRankConfig`");
        }
        error.map_or(Ok(None), Err)
    }

    /// Puts `ops` on `stream` as one call; true if it goes on, of which [`Communicator::settle`] tells the end.
    ///
    /// # Errors
    /// What NCCL reports; [`CommError::Aborted`] once the communicator is retired.
    ///
    /// # Safety
    /// Each buffer fits its operation, as [`TensorOp::check`] has found, is memory that NCCL can reach, and stays untouched
    /// until the operation is complete on `stream`. One launch at a time.
    pub(super) unsafe fn launch(
        &self,
        ops: Vec<(TensorOp, Buffer<'static>)>,
        stream: CUstream,
        call: Call,
    ) -> Result<bool, CommError> {
        let alive = self.alive(call)?;
        // A blocking call may last until others come: whoever ends the communicator does not wait for that.
        let _alive = (!self.blocking).then_some(alive);
        let is_group = ops.len() > 1;
        // SAFETY: promised by the caller.
        let submit = |(op, buffer)| unsafe { self.submit(&op, buffer, stream, call) };
        if is_group {
            self.grouped(call, || ops.into_iter().try_for_each(|op| submit(op).map(drop)))
        } else {
            ops.into_iter().try_fold(false, |goes_on, op| Ok(goes_on | submit(op)?))
        }
    }

    /// # Safety
    /// As for [`Communicator::launch`].
    unsafe fn submit(
        &self,
        op: &TensorOp,
        mut buffer: Buffer<'static>,
        stream: CUstream,
        call: Call,
    ) -> Result<bool, CommError> {
        let element = buffer.kind().num_bytes();
        let (kind, count) = (data_type(buffer.kind()), buffer.len());
        let all = buffer.as_mut_ptr();
        let (nccl, comm) = (self.nccl, self.handle);
        // In bytes, and inside the buffer for parts that `check` has found to fit.
        let at = |elements: usize| all.wrapping_add(elements * element);
        let check = |status| self.check(call, status);
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
    fn grouped(&self, call: Call, body: impl FnOnce() -> Result<(), CommError>) -> Result<bool, CommError> {
        // SAFETY: no requirements; the end follows below whatever happens between.
        self.check(call, unsafe { (self.nccl.group_start)() })?;
        let result = body();
        // SAFETY: the group was started above, on this thread.
        let ended = self.check(call, unsafe { (self.nccl.group_end)() });
        result.and(ended)
    }

    /// Returns once earlier calls are over.
    ///
    /// # Errors
    /// What NCCL found meanwhile, or [`CommError::TimedOut`].
    pub(super) fn settle(&self, call: Call, timeout: Duration) -> Result<(), CommError> {
        match self.settle_unless(call, timeout, &|| false)? {
            Outcome::TimedOut(waited) => Err(call.timed_out(waited)),
            Outcome::Done(()) | Outcome::Hopeless => Ok(()),
        }
    }

    fn settle_unless(
        &self,
        call: Call,
        timeout: Duration,
        is_hopeless: &dyn Fn() -> bool,
    ) -> Result<Outcome<()>, CommError> {
        let backoff = Backoff::new();
        while self.is_busy(call)? {
            if backoff.waited() > timeout {
                return Ok(Outcome::TimedOut(backoff.waited()));
            }
            if is_hopeless() {
                return Ok(Outcome::Hopeless);
            }
            backoff.pause();
        }
        Ok(Outcome::Done(()))
    }

    /// Whether an earlier call goes on.
    ///
    /// # Errors
    /// What NCCL found meanwhile, in this communicator's operations too; [`CommError::Aborted`] once it is retired.
    pub(super) fn is_busy(&self, call: Call) -> Result<bool, CommError> {
        let _alive = self.alive(call)?;
        self.ask(call)
    }

    /// As [`Communicator::is_busy`], for whoever looks in from outside: nothing once it is retired.
    pub(super) fn look(&self, call: Call) -> Result<(), CommError> {
        let retired = self.retired();
        if *retired { Ok(()) } else { self.ask(call).map(drop) }
    }

    fn ask(&self, call: Call) -> Result<bool, CommError> {
        let mut state = SUCCESS;
        // SAFETY: the communicator is alive, and the pointer is to a local.
        let status = unsafe { (self.nccl.async_error)(self.handle, &raw mut state) };
        self.check(call, status)?;
        self.check(call, state)?;
        Ok(state == IN_PROGRESS)
    }

    /// Claims the right to end the communicator, which one caller gets.
    pub(super) fn retire(&self) -> bool {
        !std::mem::replace(&mut *self.retired(), true)
    }

    /// The orderly end, for which all ranks come together, by whoever has retired it.
    ///
    /// # Errors
    /// What NCCL reports, or [`CommError::TimedOut`]: the communicator is to be aborted then.
    pub(super) fn finish(&self, call: Call, timeout: Duration) -> Result<(), CommError> {
        // SAFETY: the communicator is alive.
        let status = unsafe { (self.nccl.finalize)(self.handle) };
        self.check(call, status)?;
        let backoff = Backoff::new();
        while self.ask(call)? {
            if backoff.waited() > timeout {
                return Err(call.timed_out(backoff.waited()));
            }
            backoff.pause();
        }
        // SAFETY: the communicator is finalized, and retired: nobody else uses it. The result changes nothing any more.
        unsafe { (self.nccl.destroy)(self.handle) };
        Ok(())
    }

    /// Ends the communicator and whatever it is doing, by whoever has retired it.
    ///
    /// NVIDIA calls an abort beside another thread's call safe for nonblocking communicators only. A blocking one is
    /// therefore aborted when no launch is under way; where one hangs, from another thread all the same, as PyTorch does:
    /// the call returns, and the process is about to end.
    pub(super) fn abort(&self) {
        // SAFETY: the communicator is alive, and retired: no new call begins. The result changes nothing any more.
        unsafe { (self.nccl.abort)(self.handle) };
    }

    fn retired(&self) -> MutexGuard<'_, bool> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to call, until the guard is dropped.
    fn alive(&self, call: Call) -> Result<MutexGuard<'_, bool>, CommError> {
        let retired = self.retired();
        if *retired {
            return Err(CommError::Aborted { rank: call.rank, world_size: call.world_size });
        }
        Ok(retired)
    }

    /// As [`Call::check`]. NCCL keeps the text of an error for the process, so that a handle that is gone is not needed.
    fn check(&self, call: Call, status: c_int) -> Result<bool, CommError> {
        call.check(self.nccl, std::ptr::null_mut(), status)
    }
}
