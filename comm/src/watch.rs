//! Notices a collective that never returns.
//!
//! MPI has no timeouts: with a rank stopped or gone astray the others wait, and burn their allocation, for ever. Every
//! call of a communicator bumps a counter when it begins and when it ends, which costs two uncontended atomic additions
//! and reads no clock. The watch looks at the counters several times per limit; one that has stood on the same odd value
//! for as long as the limit is a call that is stuck.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use crate::error::CommError;
use crate::world::World;

/// Looks per limit; a stuck call is noticed at most one look late.
const LOOKS_PER_LIMIT: u32 = 20;
/// The longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A collective that has lasted longer than the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The waiting rank.
    pub rank: usize,
    /// Number of ranks.
    pub world_size: usize,
    /// Name of the collective.
    pub operation: &'static str,
    /// How many calls this communicator of this rank has made, this one included; ranks that are in step are in calls of
    /// the same number.
    pub number: u64,
    /// How long the call has lasted at least.
    pub waited: Duration,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rank, world_size, operation, number, waited } = self;
        let secs = waited.as_secs_f64();
        write!(f, "{operation} (call {number}) on rank {rank} of {world_size} has waited {secs:.1} s")
    }
}

/// What one communicator is doing; written by its caller, read by the watch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Begins and ends of calls: odd while one is under way.
    changes: AtomicU64,
    /// The name of the last call that began.
    operation: AtomicPtr<&'static str>,
}

/// A call under way; dropping it notes the end.
#[derive(Debug)]
pub(crate) struct Noted<'a>(&'a Progress);

impl Progress {
    /// Notes that a call begins. One call of a communicator is under way at a time.
    pub(crate) fn enter(&self, operation: &'static &'static str) -> Noted<'_> {
        self.operation.store(std::ptr::from_ref(operation).cast_mut(), Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Release);
        Noted(self)
    }

    /// Name of the last call that began.
    fn operation(&self) -> &'static str {
        // SAFETY: the pointer is null or that of a `&'static` reference, which nobody writes through.
        unsafe { self.operation.load(Ordering::Relaxed).as_ref() }.copied().unwrap_or("a collective")
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.changes.fetch_add(1, Ordering::Release);
    }
}

/// Watches the collectives of a session until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    /// The sender ends the thread by going away.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Watch {
    /// For a world whose collectives never wait.
    pub(crate) fn of_nothing() -> Self {
        Self { thread: None }
    }

    /// Looks at what `all` lists until the first call that lasts longer than `timeout`.
    pub(crate) fn start(
        world: &World,
        timeout: Duration,
        all: impl Fn() -> Vec<Arc<Progress>> + Send + 'static,
        on_stuck: impl Fn(Stuck) + Send + 'static,
    ) -> Result<Self, CommError> {
        let World { rank, world_size, .. } = *world;
        let pause = (timeout / LOOKS_PER_LIMIT).clamp(Duration::from_millis(1), LONGEST_PAUSE);
        let (end, ended) = bounded(0);
        let watch = move || {
            let mut seen = Seen::default();
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                if let Some((operation, number, waited)) = seen.look(&all(), Instant::now(), timeout) {
                    on_stuck(Stuck { rank, world_size, operation, number, waited });
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("comm-watch".to_owned())
            .spawn(watch)
            .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
        Ok(Self { thread: Some((end, thread)) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // `on_stuck` may be what drops the watch.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// What the watch saw at its last look: the value of each counter, and since when it has stood there.
#[derive(Debug, Default)]
struct Seen(HashMap<*const Progress, (u64, Instant)>);

impl Seen {
    /// Name, number and duration of a call that has lasted longer than `timeout`.
    fn look(
        &mut self,
        all: &[Arc<Progress>],
        now: Instant,
        timeout: Duration,
    ) -> Option<(&'static str, u64, Duration)> {
        let before = std::mem::take(&mut self.0);
        let mut stuck = None;
        for progress in all {
            let (place, changes) = (Arc::as_ptr(progress), progress.changes.load(Ordering::Acquire));
            let same = before.get(&place).filter(|(value, _)| *value == changes);
            let since = same.map_or(now, |(_, since)| *since);
            let waited = now.saturating_duration_since(since);
            if !changes.is_multiple_of(2) && waited > timeout {
                stuck = stuck.or(Some((progress.operation(), changes.div_ceil(2), waited)));
            }
            self.0.insert(place, (changes, since));
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn only_a_single_call_that_lasts_longer_than_the_limit_is_stuck() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let (idle, busy) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
        let all = [idle.clone(), busy.clone()];
        let mut seen = Seen::default();
        drop(idle.enter(&"barrier"));
        for secs in 0..30 {
            // A call per second, each shorter than the limit although one is always under way.
            drop(busy.enter(&"all_reduce"));
            let call = busy.enter(&"all_gather");
            assert_eq!(seen.look(&all, at(secs), LIMIT), None, "{secs}");
            drop(call);
        }
        let call = busy.enter(&"broadcast");
        assert_eq!(seen.look(&all, at(30), LIMIT), None);
        assert_eq!(seen.look(&all, at(40), LIMIT), None, "exactly the limit");
        assert_eq!(seen.look(&all, at(41), LIMIT), Some(("broadcast", 61, Duration::from_secs(11))));
        drop(call);
        assert_eq!(seen.look(&all, at(100), LIMIT), None);
    }

    #[test]
    fn the_callback_comes_once_and_the_watch_ends_when_dropped() {
        let progress = Arc::new(Progress::default());
        let (send, receive) = crossbeam_channel::unbounded();
        let all = vec![progress.clone()];
        let list = move || all.clone();
        let watch = Watch::start(&World::single(), Duration::from_millis(2), list, move |stuck| {
            send.send(stuck).unwrap();
        });
        let call = progress.enter(&"barrier");
        let stuck = receive.recv().unwrap();
        assert_eq!((stuck.operation, stuck.number, stuck.rank), ("barrier", 1, 0));
        // The thread has let go of the sender: nothing else comes.
        assert!(receive.recv().is_err());
        drop(call);
        drop(watch.unwrap());
        let idle = Watch::start(&World::single(), Duration::from_secs(1000), Vec::new, |_| {});
        drop(idle.unwrap());
    }
}
