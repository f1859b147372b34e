//! A call of NCCL: its name for messages, its result, and how the host waits for it.

use std::ffi::{CStr, c_char, c_int};
use std::time::{Duration, Instant};

use cudarc::nccl::sys::ncclComm_t;

use super::library::Nccl;
use crate::error::CommError;
use crate::world::World;

/// `ncclResult_t` of a call that is complete, and of one that goes on.
pub(super) const SUCCESS: c_int = 0;
pub(super) const IN_PROGRESS: c_int = 7;

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

    /// Turns a result into an error with NCCL's own texts in one line; otherwise, whether the call goes on.
    pub(super) fn check(self, nccl: &Nccl, handle: ncclComm_t, code: c_int) -> Result<bool, CommError> {
        if [SUCCESS, IN_PROGRESS].contains(&code) {
            return Ok(code == IN_PROGRESS);
        }
        let text = |text: *const c_char| {
            // SAFETY: NCCL returns null or a text that lives as long as the process or the communicator.
            let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
            text.map(|text| in_one_line(&text.to_string_lossy())).unwrap_or_default()
        };
        // SAFETY: any code is allowed.
        let general = text(unsafe { (nccl.error_string)(code) });
        // SAFETY: the handle is null or that of a living communicator.
        let last = text(unsafe { (nccl.last_error)(handle) });
        let Self { operation, number, count, rank, world_size } = self;
        let text = if last.is_empty() { general } else { format!("{general}: {last}") };
        Err(CommError::Nccl { operation, number, count, rank, world_size, code, text })
    }
}

fn in_one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Waits between looks: short at first, so that what is nearly done costs little, then long enough to leave the core to
/// others.
#[derive(Debug)]
pub(super) struct Backoff {
    begun: Instant,
}

impl Backoff {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_several_lines_become_one() {
        assert_eq!(
            in_one_line("Last error:\n  Duplicate GPU detected \n\n"),
            "Last error:; Duplicate GPU detected"
        );
        assert_eq!(in_one_line(" \n"), "");
    }
}
