//! The watchdog: looks from time to time whether this rank waits for too long, and ends the job with the reason.
//!
//! MPI has no timeouts: with a rank stopped or gone astray the others wait, and burn their allocation, for ever.
//!
//! Every rank that waits has a watchdog, and one of them speaks: the lowest rank that waits and lives. It takes the word
//! in the shared memory, tells, and ends the job. The others give it time, take the word themselves if it does not, and end
//! in any case, so that nothing depends on one rank, on the launcher, or on MPI.

use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::clock::Moment;
use super::diagnosis::{is_cut_off, speaker};
use super::relay::Relay;
use super::row::Row;
use super::stall::Stall;
use super::wait_tracker::{Limits, WaitTracker};
use super::writer::Heartbeat;
use crate::error::CommError;
use crate::last_resort;

/// Looks per limit; a stuck call is noticed at most one look late.
const LOOKS_PER_LIMIT: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long the rank that should speak may be silent before another one does.
const HANDOVER: Duration = Duration::from_millis(1500);
/// How long a rank lives on after another one has taken the word: its launcher should have ended it by then.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long telling and ending may take before the process is killed.
const LAST_RESORT: Duration = Duration::from_secs(10);

/// How long a rank may wait for others.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchOptions {
    /// Longest wait in a collective.
    pub limit: Duration,
    /// Longest wait for a rank at work that was announced as slow.
    pub slow_limit: Duration,
    /// Longest wait for connecting over NCCL.
    pub connect_limit: Duration,
    /// The network interface of rank 0's node over which the nodes tell each other; `None` chooses.
    pub interface: Option<String>,
}

/// Watches the collectives of a session until it is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct Watch {
    /// The sender ends the thread by going away.
    thread: Option<(Sender<()>, JoinHandle<()>)>,
    _relay: Option<Relay>,
}

impl Watch {
    /// For a world whose collectives never wait.
    pub(crate) fn of_nothing() -> Self {
        Self { thread: None, _relay: None }
    }

    /// Looks at the calls of `heartbeat` until the first one that lasts too long.
    pub(crate) fn start(
        heartbeat: &Heartbeat,
        options: &WatchOptions,
        relay: Option<Relay>,
        on_stall: impl Fn(Stall) + Send + 'static,
    ) -> Result<Self, CommError> {
        let rank = heartbeat.rank();
        let limits =
            Limits { ordinary: options.limit, slow: options.slow_limit, connect: options.connect_limit };
        let (end, ended) = bounded(0);
        let own = heartbeat.clone();
        let watch = move || {
            if let Some(stall) = first_stall(&own, limits, &ended) {
                let _armed = last_resort::arm(LAST_RESORT);
                on_stall(stall);
            }
        };
        let thread = std::thread::Builder::new()
            .name("comm-watch".to_owned())
            .spawn(watch)
            .map_err(|error| CommError::CommThread { rank, reason: error.to_string() })?;
        Ok(Self { thread: Some((end, thread)), _relay: relay })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // `on_stall` may be what drops the watch.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}

/// Looks until something is stuck and it is this rank's turn to end; `None` when `ended` is closed.
fn first_stall(heartbeat: &Heartbeat, limits: Limits, ended: &Receiver<()>) -> Option<Stall> {
    let pause = (limits.ordinary / LOOKS_PER_LIMIT).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    let rank = heartbeat.rank();
    let mut tracker = WaitTracker::new(limits);
    let mut overdue = None;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let now = Moment::now();
        let stuck = tracker.look(&heartbeat.own_calls(), now, || heartbeat.rows(now));
        let Some((wait, rows)) = stuck else {
            overdue = None;
            continue;
        };
        let since = *overdue.get_or_insert(now);
        let speaks = match turn(&rows, rank, since.age(now).unwrap_or_default(), heartbeat.memory().speaker())
        {
            Turn::Wait => continue,
            Turn::Speak if heartbeat.memory().claim(rank) != rank => continue,
            Turn::Speak => true,
            Turn::End => false,
        };
        return Some(Stall::new(&rows, &wait, rank, limits, speaks));
    }
    None
}

/// What a rank that has waited for too long does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Gives another rank the time to speak.
    Wait,
    Speak,
    /// Ends without a word.
    End,
}

/// `overdue` is how long it has been too long.
fn turn(rows: &[Row], rank: usize, overdue: Duration, spoken: Option<usize>) -> Turn {
    match spoken {
        Some(other) if other != rank => {
            if overdue > FAREWELL {
                Turn::End
            } else {
                Turn::Wait
            }
        }
        _ => {
            // A rank that is cut off from the node of rank 0 does not see who speaks there.
            let before = u32::from(speaker(rows) != Some(rank)) + u32::from(is_cut_off(rows, rank));
            if overdue >= HANDOVER * before { Turn::Speak } else { Turn::Wait }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::Calls;
    use super::super::operation::{Operation, Purpose};
    use super::super::row::Life;
    use super::*;
    use crate::world::World;

    fn options(limit: Duration) -> WatchOptions {
        WatchOptions { limit, slow_limit: limit, connect_limit: limit, interface: None }
    }

    #[test]
    fn the_callback_comes_once_and_the_watch_ends_when_dropped() {
        let heartbeat = Heartbeat::detached(&World::single());
        let channel = heartbeat.open(Purpose::Control);
        let (send, receive) = crossbeam_channel::unbounded();
        let watch = Watch::start(&heartbeat, &options(Duration::from_millis(2)), None, move |stall| {
            send.send(stall).unwrap();
        });
        let call = channel.begin(Operation::Barrier);
        let stall = receive.recv().unwrap();
        assert!(stall.wait.starts_with("barrier (call 1 of control) on rank 0 of 1 has waited"), "{stall}");
        // The thread has let go of the sender: nothing else comes.
        assert!(receive.recv().is_err());
        drop(call);
        drop(watch.unwrap());
        let idle = Watch::start(&heartbeat, &options(Duration::from_secs(1000)), None, |_| {});
        drop(idle.unwrap());
    }

    #[test]
    fn one_rank_speaks_and_all_end() {
        let waits = Calls { begun: 1, ..Calls::default() };
        let row = |rank, life| Row { rank, life, channels: vec![waits], ..Row::default() };
        let rows = [row(0, Life::Stopped), row(1, Life::Alive), row(2, Life::Alive)];
        let (soon, later, late) = (Duration::ZERO, HANDOVER * 3 / 2, FAREWELL * 2);
        assert_eq!(turn(&rows, 1, soon, None), Turn::Speak);
        assert_eq!(turn(&rows, 2, soon, None), Turn::Wait);
        assert_eq!(turn(&rows, 2, later, None), Turn::Speak, "rank 1 has not");
        assert_eq!(turn(&rows, 2, later, Some(1)), Turn::Wait);
        assert_eq!(turn(&rows, 2, late, Some(1)), Turn::End);
    }

    #[test]
    fn a_rank_that_is_cut_off_gives_the_node_of_rank_zero_time_to_speak() {
        let waits = Calls { begun: 1, ..Calls::default() };
        let mut rows = [Life::Silent(FAREWELL), Life::Alive].map(|life| Row { life, ..Row::default() });
        rows[1].rank = 1;
        rows[1].member.node = 1;
        rows[1].channels = vec![waits];
        assert_eq!(turn(&rows, 1, Duration::ZERO, None), Turn::Wait);
        assert_eq!(turn(&rows, 1, HANDOVER * 2, None), Turn::Speak);
    }
}
