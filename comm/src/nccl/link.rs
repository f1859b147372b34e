//! What the callers, the tickets and the watchdog of a transport share.
//!
//! Whoever launches holds the order; nobody who only looks or ends does, since a blocking launch may wait for a rank that
//! never comes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::call::{Backoff, Call};
use super::communicator::Communicator;
use super::flight::Flight;
use super::helper;
use crate::cuda::{Context, CudaError, EventPool, Stream};
use crate::error::CommError;
use crate::heartbeat::{Channel, Operation};
use crate::world::World;

/// Looks of the watchdog per limit, and the bounds of the time between two.
const LOOKS_PER_LIMIT: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long whoever ends the communicator waits for a launch under way, which usually takes microseconds.
const LAUNCH: Duration = Duration::from_secs(1);

/// How long aborted operations may take to let go of their buffers.
const GRACE: Duration = Duration::from_secs(5);

/// A communicator, its streams, and what is under way on them.
#[derive(Debug)]
pub(super) struct Link {
    pub world: World,
    pub timeout: Duration,
    pub context: Arc<Context>,
    /// The stream of the computation, and the communicator's own.
    pub compute: Stream,
    pub stream: Stream,
    pub pool: Arc<EventPool>,
    /// Where others see how far the operations are.
    pub channel: Arc<Channel>,
    pub communicator: Communicator,
    /// The right to launch, which gives operations their order.
    pub order: Mutex<()>,
    /// Never held while anybody waits.
    pub progress: Mutex<Progress>,
    /// The first thing that went wrong; nothing works after it.
    pub failure: OnceLock<CommError>,
}

/// How far the operations are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Operations whose launch has begun.
    pub started: u64,
    /// The one whose launch is under way.
    pub launching: Option<Call>,
    /// Operations that the watchdog has not yet seen complete, oldest first.
    pub flights: VecDeque<Arc<Flight>>,
    /// Launches for which the host had to wait, because the call went on.
    pub host_waits: u64,
}

impl Link {
    /// Prepares the calling thread for calls of the driver.
    pub(super) fn enter(&self) -> Result<(), CommError> {
        self.context.make_current().map_err(|error| error.on(&self.world))
    }

    /// What went wrong, if something did.
    pub(super) fn failure(&self) -> Option<CommError> {
        self.failure.get().cloned()
    }

    pub(super) fn order(&self) -> MutexGuard<'_, ()> {
        // A panic while the lock was held leaves a communicator that the watchdog can still abort.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the communicator because of `error`, unless it has ended already. Returns the first reason. The caller does
    /// not hold the order.
    pub(super) fn fail(self: &Arc<Self>, error: CommError) -> CommError {
        // First the reason, then the abort, which may take long: whoever waits sees the reason at once.
        let reason = self.failure.get_or_init(|| error).clone();
        if self.communicator.retire() {
            self.abort(&reason);
        }
        reason
    }

    /// The orderly end, for which all ranks come together.
    ///
    /// # Errors
    /// What NCCL reports, or [`CommError::TimedOut`]; the communicator is aborted then.
    pub(super) fn finish(self: &Arc<Self>) -> Result<(), CommError> {
        if !self.communicator.retire() {
            return Ok(());
        }
        let call = Call::without_elements("ncclCommFinalize", &self.world);
        {
            // Shown to the others like an operation: a rank that never comes to its end keeps them waiting too.
            let mut progress = self.progress();
            progress.started += 1;
            let finalize = Call::without_elements(Operation::Finalize.name(), &self.world);
            progress.launching = Some(Call { number: progress.started, ..finalize });
        }
        let own = self.clone();
        let finished = helper::start("nccl-finish", &self.world, move || {
            own.enter()?;
            own.communicator.finish(call, own.timeout)
        })
        // A little more than it has itself, so that it does not poll what is being aborted.
        .and_then(|finished| helper::supervise(&finished, &self.world, self.timeout + LAUNCH, &|| false));
        let error = match finished {
            Ok(helper::Outcome::TimedOut(waited)) => call.timed_out(waited),
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        self.abort(&error);
        Err(error)
    }

    /// Aborts the communicator, which the caller has retired, on a thread of its own and under a limit.
    fn abort(self: &Arc<Self>, reason: &CommError) {
        let own = self.clone();
        let ended = helper::ends("nccl-abort", &self.world, move || {
            let _no_launch = own.order_within(LAUNCH);
            // Without a context NCCL cannot free what it has on the device, and ends its kernels all the same.
            let _ = own.enter();
            own.communicator.abort();
        });
        if !ended {
            helper::give_up(&self.world, reason);
        }
    }

    fn order_within(&self, limit: Duration) -> Option<MutexGuard<'_, ()>> {
        let backoff = Backoff::new();
        while backoff.waited() < limit {
            match self.order.try_lock() {
                Ok(guard) => return Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => backoff.pause(),
            }
        }
        None
    }

    /// Blocks until `flight` is complete.
    ///
    /// # Errors
    /// What ended the transport, if it did.
    pub(super) fn wait_on_host(self: &Arc<Self>, flight: &Flight) -> Result<(), CommError> {
        self.wait_until(|| flight.is_done());
        self.failure().map_or(Ok(()), Err)
    }

    /// Blocks until nothing of what was launched writes memory any more.
    pub(super) fn wait_until_idle(self: &Arc<Self>) {
        self.wait_until(|| self.stream.is_idle());
    }

    /// Blocks until `is_over` holds, whatever goes wrong: the caller frees memory that NCCL may still write before.
    fn wait_until(self: &Arc<Self>, is_over: impl Fn() -> Result<bool, CudaError>) {
        let backoff = Backoff::new();
        let mut failed: Option<Backoff> = None;
        let mut is_lost = false;
        loop {
            let is_late = failed.as_ref().is_some_and(|since| since.waited() > GRACE);
            match is_over() {
                Ok(true) => return,
                Ok(false) if is_late && !is_lost => {
                    is_lost = true;
                    let reason = self.failure().map(|error| error.to_string()).unwrap_or_default();
                    helper::give_up(&self.world, &reason);
                }
                Ok(false) => {}
                // A device that answers with errors runs nothing any more, and what ran on it was told to end.
                Err(_) if is_late => return,
                Err(error) => drop(self.fail(error.on(&self.world))),
            }
            if failed.is_none() && self.failure.get().is_some() {
                failed = Some(Backoff::new());
            }
            backoff.pause();
        }
    }

    /// Looks after the communicator until `ended` is closed.
    pub(super) fn watch(self: &Arc<Self>, ended: &Receiver<()>) {
        let pause = (self.timeout / LOOKS_PER_LIMIT).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let mut oldest = None;
        while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let look = self.enter().and_then(|()| self.look(&mut oldest));
            if let Err(error) = look {
                self.fail(error);
            }
            if self.failure.get().is_some() {
                return;
            }
        }
    }

    /// Forgets what is complete, and finds what went wrong or takes too long. `oldest` remembers the oldest operation
    /// that could run, and since when.
    fn look(&self, oldest: &mut Option<(u64, Instant)>) -> Result<(), CommError> {
        let cuda = |error: CudaError| error.on(&self.world);
        let front = || self.progress().flights.front().cloned();
        while let Some(flight) = front() {
            if !flight.is_done().map_err(cuda)? {
                break;
            }
            self.progress().flights.pop_front();
        }
        let (flight, launching, started) = {
            let progress = self.progress();
            (progress.flights.front().cloned(), progress.launching, progress.started)
        };
        let call = flight.as_ref().map(|flight| flight.call).or(launching);
        self.communicator.look(call.unwrap_or(Call::without_elements("communicator", &self.world)))?;
        // An operation whose own computation is not complete waits for nobody else. One whose launch does not return
        // waits for the others to connect.
        let waiting = match &flight {
            Some(flight) => flight.is_ready().unwrap_or(true).then_some(flight.call),
            None => launching,
        };
        self.show(waiting, call.map_or(started, |call| call.number - 1));
        let Some(call) = waiting else {
            *oldest = None;
            return Ok(());
        };
        let since = match *oldest {
            Some((same, since)) if same == call.number => since,
            _ => Instant::now(),
        };
        *oldest = Some((call.number, since));
        let waited = since.elapsed();
        if waited > self.timeout { Err(call.timed_out(waited)) } else { Ok(()) }
    }

    /// Shows the others the operation that waits for them, if one does, and how many are complete. An operation behind a
    /// computation that hangs has not begun.
    fn show(&self, waiting: Option<Call>, complete: u64) {
        // The first call of the channel was to connect.
        let ended = complete + 1;
        let begun = ended + u64::from(waiting.is_some());
        let operation = waiting.map_or(Operation::Unknown, |call| Operation::of_name(call.operation));
        self.channel.note(begun, ended, operation);
    }
}
