//! The wait for an operation under way.

use std::sync::Arc;

use super::flight::Flight;
use super::link::Link;
use crate::error::CommError;
use crate::transport::Pending;

/// The wait of a ticket for a flight.
pub(super) struct Landing {
    pub link: Arc<Link>,
    pub flight: Arc<Flight>,
    /// Whether the host waits, or the compute stream.
    pub on_host: bool,
}

impl Landing {
    /// Puts the wait on the compute stream, so that whatever uses the memory next comes after the operation.
    fn wait_on_stream(&self) -> Result<(), CommError> {
        let Self { link, flight, .. } = self;
        link.enter()?;
        let waits = flight.done().map_or(Ok(()), |done| link.compute.wait(done));
        waits.map_err(|error| error.on(&link.world))
    }
}

impl Pending for Landing {
    /// The caller may free the memory afterwards, whatever the result: where the stream cannot wait, the host does.
    fn finish(&mut self) -> Result<(), CommError> {
        let link = self.link.clone();
        if !self.on_host {
            match self.wait_on_stream() {
                Ok(()) => return link.failure().map_or(Ok(()), Err),
                Err(error) => drop(link.fail(error)),
            }
        } else if let Err(error) = link.enter() {
            link.fail(error);
        }
        link.wait_on_host(&self.flight)
    }
}
