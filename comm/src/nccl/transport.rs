//! NCCL as a [`Transport`].

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::call::Call;
use super::flight::Flight;
use super::landing::Landing;
use super::link::Link;
use super::options::{MemoryKind, NcclOptions};
use super::start;
use crate::backend::Backend;
use crate::buffer::Buffer;
use crate::collective::{Collective, ReduceOp};
use crate::cuda::CudaError;
use crate::error::CommError;
use crate::transport::{TensorOp, Ticket, Transport};
use crate::world::World;

/// How long a healthy watchdog takes to hear that it is no longer needed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Tensors over NCCL, on a stream of its own that events order against the compute stream (the legacy default stream, on
/// which libtorch computes).
///
/// An operation that fails or takes longer than the timeout aborts the transport: every later call and every wait returns
/// the first error. Dropping it waits for the other ranks' drop, but no longer than the timeout; when unwinding from a
/// panic it aborts at once.
#[derive(Debug)]
pub struct NcclTransport {
    link: Arc<Link>,
    memory: MemoryKind,
    /// Ends the watchdog by going away.
    watch: Option<Sender<()>>,
    /// Closed by the watchdog when it has ended.
    watched: Receiver<()>,
    watchdog: Option<JoinHandle<()>>,
}

impl NcclTransport {
    /// Connects all ranks of `control`; all of them call it.
    ///
    /// # Errors
    /// NCCL, the driver or the device will not do ([`CommError::is_environment`]); two ranks have one GPU; the ranks did
    /// not meet in time. A rank on which all was well gets [`CommError::OtherRanks`].
    pub fn connect(control: &Arc<dyn Collective>, options: NcclOptions) -> Result<Self, CommError> {
        let link = start::connect(control, options)?;
        let rank = link.world.rank;
        let (watch, ended) = bounded(0);
        let (watching, watched) = bounded::<()>(0);
        let own = link.clone();
        let watchdog = std::thread::Builder::new().name("nccl-watch".to_owned()).spawn(move || {
            own.watch(&ended);
            drop(own);
            drop(watching);
        });
        let watchdog = start::together(
            control,
            watchdog.map_err(|error| CommError::CommThread { rank, reason: error.to_string() }),
        )
        .map_err(|error| link.fail(error))?;
        Ok(Self { link, memory: options.memory, watch: Some(watch), watched, watchdog: Some(watchdog) })
    }

    /// Ends whatever is under way, here and, once their timeout has passed, on the other ranks. Later calls and waits
    /// return [`CommError::Aborted`], or what failed before.
    pub fn abort(&self) {
        let World { rank, world_size, .. } = self.link.world;
        self.link.fail(CommError::Aborted { rank, world_size });
    }

    /// Blocks the host until everything that was started is complete.
    ///
    /// # Errors
    /// What ended the transport, if it did.
    pub fn synchronize(&self) -> Result<(), CommError> {
        self.link.enter()?;
        let last = self.link.progress().flights.back().cloned();
        last.map_or_else(|| self.link.failure().map_or(Ok(()), Err), |flight| self.link.wait_on_host(&flight))
    }

    /// Launches for which the host had to wait until NCCL's own thread was done with them; none with blocking calls.
    #[must_use]
    pub fn host_waits(&self) -> u64 {
        self.link.progress().host_waits
    }

    /// Sums `buffer` over all ranks with one `ncclAllReduce` and no order against the compute stream, and blocks until it
    /// is complete: what the other ways are measured against.
    ///
    /// # Errors
    /// As for [`Transport::start`].
    ///
    /// # Safety
    /// `buffer` is memory that the transport can reach, and nothing uses it until the call returns, on the compute stream
    /// neither.
    pub unsafe fn bare_all_reduce(&self, buffer: Buffer<'static>) -> Result<(), CommError> {
        let sum = vec![(TensorOp::AllReduce(ReduceOp::Sum), buffer)];
        // SAFETY: promised by the caller.
        let flight = unsafe { self.launch("all_reduce", sum, false) }?;
        flight.map_or(Ok(()), |flight| self.link.wait_on_host(&flight))
    }

    /// Puts `ops` on the communication stream, after what the compute stream holds if `ordered`. Nothing for no elements.
    ///
    /// # Safety
    /// As for [`Transport::start`].
    unsafe fn launch(
        &self,
        operation: &'static str,
        ops: Vec<(TensorOp, Buffer<'static>)>,
        ordered: bool,
    ) -> Result<Option<Arc<Flight>>, CommError> {
        let link = &self.link;
        let World { rank, world_size, .. } = link.world;
        for (op, buffer) in &ops {
            op.check(&link.world, buffer.len())?;
        }
        let ops: Vec<_> = ops.into_iter().filter(|(_, buffer)| !buffer.is_empty()).collect();
        let count = ops.iter().map(|(_, buffer)| buffer.len()).sum();
        link.enter()?;
        let order = link.order();
        if let Some(error) = link.failure() {
            return Err(error);
        }
        if ops.is_empty() {
            return Ok(None);
        }
        let call = {
            let mut progress = link.progress();
            progress.started += 1;
            let call = Call { operation, number: progress.started, count, rank, world_size };
            progress.launching = Some(call);
            call
        };
        // SAFETY: promised by the caller.
        let launched = unsafe { enqueue(link, ops, call, ordered) };
        let mut progress = link.progress();
        progress.launching = None;
        match launched {
            Ok(flight) => {
                let flight = Arc::new(flight);
                progress.flights.push_back(flight.clone());
                Ok(Some(flight))
            }
            Err(error) => {
                drop((progress, order));
                // The other ranks may have launched it: nothing that follows would fit together. It may be on the stream
                // here too, and the caller frees the memory.
                let reason = link.fail(error);
                link.wait_until_idle();
                Err(reason)
            }
        }
    }

    fn ticket(&self, flight: Option<Arc<Flight>>) -> Ticket {
        let on_host = self.memory == MemoryKind::Host;
        flight.map_or_else(Ticket::done, |flight| {
            Ticket::of(Landing { link: self.link.clone(), flight, on_host })
        })
    }
}

/// Orders the communication stream after the computation, submits, and marks the end.
///
/// # Safety
/// As for [`Transport::start`].
unsafe fn enqueue(
    link: &Link,
    ops: Vec<(TensorOp, Buffer<'static>)>,
    call: Call,
    ordered: bool,
) -> Result<Flight, CommError> {
    let cuda = |error: CudaError| error.on(&link.world);
    let (ready, done) = (link.pool.take().map_err(cuda)?, link.pool.take().map_err(cuda)?);
    if ordered {
        ready.record(&link.compute).map_err(cuda)?;
        link.stream.wait(&ready).map_err(cuda)?;
    } else {
        ready.record(&link.stream).map_err(cuda)?;
    }
    // SAFETY: `launch` has checked that the buffers fit, and holds the order; the rest is promised by the caller.
    if unsafe { link.communicator.launch(ops, link.stream.handle(), call) }? {
        link.progress().host_waits += 1;
        // Before that the operation may not be on the stream yet, and its end would be marked too early.
        link.communicator.settle(call, link.timeout)?;
    }
    done.record(&link.stream).map_err(cuda)?;
    Ok(Flight::new(call, ready, done, &link.pool))
}

impl Transport for NcclTransport {
    fn world(&self) -> &World {
        &self.link.world
    }

    fn backend(&self) -> Backend {
        Backend::Nccl
    }

    fn is_asynchronous(&self) -> bool {
        true
    }

    unsafe fn start(&self, op: TensorOp, buffer: Buffer<'static>) -> Result<Ticket, CommError> {
        let name = op.name();
        // SAFETY: promised by the caller.
        unsafe { self.launch(name, vec![(op, buffer)], true) }.map(|flight| self.ticket(flight))
    }

    unsafe fn start_group(&self, ops: Vec<(TensorOp, Buffer<'static>)>) -> Result<Ticket, CommError> {
        // SAFETY: promised by the caller.
        unsafe { self.launch("group", ops, true) }.map(|flight| self.ticket(flight))
    }
}

impl Drop for NcclTransport {
    fn drop(&mut self) {
        let link = &self.link;
        if std::thread::panicking() {
            self.abort();
        } else if let Err(error) = self.synchronize() {
            link.fail(error);
        } else if let Err(error) = link.finish() {
            tracing::debug!(%error, "the communicator was aborted at its end");
        }
        drop(self.watch.take());
        // A watchdog inside an abort that hangs is left behind; the channel closes when it has ended.
        let ended = self.watched.recv_timeout(FAREWELL).err().is_some_and(|error| error.is_disconnected());
        if let (true, Some(watchdog)) = (ended, self.watchdog.take()) {
            let _ = watchdog.join();
        }
    }
}
