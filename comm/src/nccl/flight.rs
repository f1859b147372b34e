//! Operations under way.

use std::sync::Arc;

use super::call::Call;
use crate::cuda::{CudaError, Event, EventPool};

/// An operation, or a group, on the communication stream.
#[derive(Debug)]
pub(super) struct Flight {
    pub call: Call,
    /// What it waits for on the compute stream, and its end on the communication stream.
    events: Option<(Event, Event)>,
    pool: Arc<EventPool>,
}

impl Flight {
    pub(super) fn new(call: Call, ready: Event, done: Event, pool: &Arc<EventPool>) -> Self {
        Self { call, events: Some((ready, done)), pool: pool.clone() }
    }

    /// Whether the computation before it is complete.
    pub(super) fn is_ready(&self) -> Result<bool, CudaError> {
        self.events.as_ref().map_or(Ok(true), |(ready, _)| ready.is_reached())
    }

    /// Whether it is complete.
    pub(super) fn is_done(&self) -> Result<bool, CudaError> {
        self.events.as_ref().map_or(Ok(true), |(_, done)| done.is_reached())
    }

    /// The event at its end.
    pub(super) fn done(&self) -> Option<&Event> {
        self.events.as_ref().map(|(_, done)| done)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // The last reference is gone: the operation is complete, or the compute stream already waits for it.
        if let Some((ready, done)) = self.events.take() {
            self.pool.give_back(ready);
            self.pool.give_back(done);
        }
    }
}
