//! Calls that may not come back, on a thread that can be left behind.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::call::Backoff;
use crate::error::CommError;
use crate::last_resort;
use crate::world::World;

/// How long NCCL may take to abort.
pub(super) const ABORT: Duration = Duration::from_secs(5);

/// What is left to a process inside which NCCL still works although it was aborted: to say why it ends.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Time between two looks at whether waiting makes sense.
const LOOK: Duration = Duration::from_millis(50);

/// How work under a limit came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome<T> {
    Done(T),
    /// After so long.
    TimedOut(Duration),
    /// It cannot succeed any more, for a reason that lies elsewhere.
    Hopeless,
}

/// Runs `work` on a thread of its own; the channel gives its result, or closes when it has panicked.
///
/// # Errors
/// [`CommError::CommThread`] when the system gives no thread.
pub(super) fn start<T: Send + 'static>(
    name: &str,
    world: &World,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<Receiver<T>, CommError> {
    let (send, result) = bounded(1);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // Whoever has given up waiting does not listen.
            let _ = send.send(work());
        })
        .map_err(|error| CommError::CommThread { rank: world.rank, reason: error.to_string() })?;
    Ok(result)
}

/// Waits for what [`start`] has started.
///
/// # Errors
/// Those of the work, and [`CommError::CommThread`] when it has panicked.
pub(super) fn supervise<T>(
    result: &Receiver<Result<T, CommError>>,
    world: &World,
    timeout: Duration,
    is_hopeless: &dyn Fn() -> bool,
) -> Result<Outcome<T>, CommError> {
    let backoff = Backoff::new();
    loop {
        match result.recv_timeout(LOOK.min(timeout)) {
            Ok(result) => return result.map(Outcome::Done),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(CommError::CommThread { rank: world.rank, reason: "it has ended".to_owned() });
            }
            Err(RecvTimeoutError::Timeout) if backoff.waited() > timeout => {
                return Ok(Outcome::TimedOut(backoff.waited()));
            }
            Err(RecvTimeoutError::Timeout) if is_hopeless() => return Ok(Outcome::Hopeless),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Runs `work`, which ends something, on a thread of its own; false when it has not come back after [`ABORT`].
pub(super) fn ends(name: &str, world: &World, work: impl FnOnce() + Send + 'static) -> bool {
    start(name, world, work).is_ok_and(|ended| ended.recv_timeout(ABORT).is_ok())
}

/// Ends this process soon: a thread is lost inside NCCL, and memory that looks free may still be written.
pub(super) fn give_up(world: &World, reason: &dyn std::fmt::Display) {
    tracing::error!(
        rank = world.rank,
        "NCCL does not let go of its work; this process ends within {} s: {reason}",
        LAST_WORDS.as_secs()
    );
    last_resort::end_within(LAST_WORDS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(
        timeout: Duration,
        hopeless: bool,
        work: impl FnOnce() -> Result<u8, CommError> + Send + 'static,
    ) -> Result<Outcome<u8>, CommError> {
        let world = World::single();
        let result = start("test", &world, work).unwrap();
        supervise(&result, &world, timeout, &|| hopeless)
    }

    #[test]
    fn work_is_done_or_given_up_with_the_reason() {
        let (long, lost) = (Duration::from_secs(60), CommError::Aborted { rank: 0, world_size: 1 });
        assert_eq!(outcome(long, true, || Ok(7)), Ok(Outcome::Done(7)));
        let own = lost.clone();
        assert_eq!(outcome(long, false, move || Err(own)), Err(lost));
        let hangs = || loop {
            std::thread::park();
        };
        assert_eq!(outcome(long, true, hangs), Ok(Outcome::Hopeless));
        let late = outcome(Duration::from_millis(10), false, hangs).unwrap();
        assert!(matches!(late, Outcome::TimedOut(waited) if waited > Duration::from_millis(10)), "{late:?}");
        let panics = outcome(long, false, || panic!("inside NCCL"));
        assert!(matches!(panics, Err(CommError::CommThread { .. })), "{panics:?}");
    }
}
