//! Operations under way.

use std::sync::Arc;

use super::communicator::{Call, Patience};
use super::link::Link;
use crate::cuda::{CudaError, Event, EventPool};
use crate::error::CommError;
use crate::transport::Pending;

use std::time::Duration;

/// How long an aborted operation may still take to let go of its buffer.
const GRACE: Duration = Duration::from_secs(5);

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

/// The wait of a ticket for a flight.
pub(super) struct Landing {
    pub link: Arc<Link>,
    pub flight: Arc<Flight>,
    /// Whether the host waits, or the compute stream.
    pub on_host: bool,
}

impl Pending for Landing {
    fn finish(&mut self) -> Result<(), CommError> {
        let Self { link, flight, on_host } = self;
        link.enter()?;
        if *on_host {
            return link.wait_on_host(flight);
        }
        let waits = flight.done().map_or(Ok(()), |done| link.compute.wait(done));
        waits.map_err(|error| error.on(&link.world))?;
        link.failure().map_or(Ok(()), Err)
    }
}

impl Link {
    /// Blocks until `flight` is complete.
    ///
    /// # Errors
    /// What ended the transport, if it did.
    pub(super) fn wait_on_host(&self, flight: &Flight) -> Result<(), CommError> {
        let patience = Patience::new();
        let mut failed: Option<(CommError, Patience)> = None;
        while !flight.is_done().map_err(|error| error.on(&self.world))? {
            // After a failure the operation ends soon; until then its memory may be written.
            match &failed {
                None => failed = self.failure().map(|error| (error, Patience::new())),
                Some((_, since)) if since.waited() > GRACE => break,
                Some(_) => {}
            }
            patience.pause();
        }
        self.failure().map_or(Ok(()), Err)
    }
}
