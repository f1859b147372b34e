//! The end of a process that cannot end itself: MPI's abort waits for a launcher that does not answer, a message for a
//! terminal that nobody reads.

use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Dropping it calls the end off.
#[derive(Debug)]
#[must_use = "dropping it calls the end off"]
pub(crate) struct Armed {
    _call_off: Sender<()>,
}

/// Kills this process after `delay`.
pub(crate) fn arm(delay: Duration) -> Armed {
    let (call_off, called_off) = bounded::<()>(0);
    let end = move || {
        if called_off.recv_timeout(delay) == Err(RecvTimeoutError::Timeout) {
            // Nothing is left to try when even this fails.
            let _ = kill(Pid::this(), Signal::SIGKILL);
        }
    };
    // Without a thread the ordinary end has to do.
    let _ = std::thread::Builder::new().name("last-resort".to_owned()).spawn(end);
    Armed { _call_off: call_off }
}

/// Kills this process after `delay`, whatever happens: for threads that are lost inside a library.
pub(crate) fn end_within(delay: Duration) {
    std::mem::forget(arm(delay));
}
