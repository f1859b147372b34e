//! The stop request of a signal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::coordinator::Interrupt;

/// A request to end the run, set by a signal handler and read between steps. It never acts by itself.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicU8>);

impl StopFlag {
    /// Records the request; the user's is the stronger one.
    pub fn raise(&self, interrupt: Interrupt) {
        let level = match interrupt {
            Interrupt::Requeue => 1,
            Interrupt::User => 2,
        };
        self.0.fetch_max(level, Ordering::Relaxed);
    }

    /// The request, if there is one.
    pub fn interrupt(&self) -> Option<Interrupt> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Interrupt::Requeue),
            _ => Some(Interrupt::User),
        }
    }
}
