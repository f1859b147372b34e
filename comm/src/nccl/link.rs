//! What the callers, the tickets and the watchdog of a transport share.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::communicator::{Call, Communicator};
use super::flight::Flight;
use crate::cuda::{Context, CudaError, EventPool, Stream};
use crate::error::CommError;
use crate::heartbeat::{Channel, Operation};
use crate::world::World;

/// Looks of the watchdog per limit, and the bounds of the time between two.
const LOOKS_PER_LIMIT: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

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
    pub channel: Channel,
    /// The lock gives submissions their order.
    pub submission: Mutex<Submission>,
    /// Operations that the watchdog has not yet seen complete, oldest first.
    pub flights: Mutex<VecDeque<Arc<Flight>>>,
    /// The first thing that went wrong; nothing works after it.
    pub failure: OnceLock<CommError>,
}

/// The right to start operations.
#[derive(Debug)]
pub(super) struct Submission {
    /// `None` once aborted or finished.
    pub communicator: Option<Communicator>,
    /// Operations started so far.
    pub number: u64,
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

    pub(super) fn submission(&self) -> MutexGuard<'_, Submission> {
        // A panic while the lock was held leaves a communicator that the watchdog can still abort.
        self.submission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn flights(&self) -> MutexGuard<'_, VecDeque<Arc<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the communicator because of `error`, unless it has ended already. Returns the first reason.
    pub(super) fn fail(&self, error: CommError) -> CommError {
        // First the reason, then the abort, which may take long: whoever waits sees the reason at once.
        let reason = self.failure.get_or_init(|| error).clone();
        let communicator = self.submission().communicator.take();
        if let Some(communicator) = communicator {
            communicator.abort();
        }
        reason
    }

    /// Looks after the communicator until `ended` is closed.
    pub(super) fn watch(&self, ended: &Receiver<()>) {
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
        let front = || self.flights().front().cloned();
        while let Some(flight) = front() {
            if !flight.is_done().map_err(cuda)? {
                break;
            }
            self.flights().pop_front();
        }
        let submission = self.submission();
        let (flight, started) = (front(), submission.number);
        let call = flight.as_ref().map(|flight| flight.call);
        if let Some(communicator) = &submission.communicator {
            communicator.is_busy(call.unwrap_or(Call::without_elements("communicator", &self.world)))?;
        }
        drop(submission);
        // An operation whose own computation is not complete waits for nobody else.
        let ready = flight.as_ref().filter(|flight| flight.is_ready().unwrap_or(true));
        self.show(ready.map(|flight| flight.call), call.map_or(started, |call| call.number - 1));
        let Some(flight) = ready else {
            *oldest = None;
            return Ok(());
        };
        let number = flight.call.number;
        let since = match *oldest {
            Some((same, since)) if same == number => since,
            _ => Instant::now(),
        };
        *oldest = Some((number, since));
        let waited = since.elapsed();
        if waited > self.timeout { Err(flight.call.timed_out(waited)) } else { Ok(()) }
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
