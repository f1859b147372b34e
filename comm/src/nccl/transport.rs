//! NCCL as a [`Transport`].

use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use cudarc::nccl::sys::ncclUniqueId;

use super::communicator::{Call, Communicator};
use super::devices::{Place, refuse_duplicates};
use super::flight::{Flight, Landing};
use super::library::{self, Nccl, STANDIN_VERSION};
use super::link::{Link, Submission};
use crate::agree::Disagreement;
use crate::buffer::Buffer;
use crate::collective::{Collective, ReduceOp};
use crate::cuda::{self, Context, CudaError, EventPool, Stream};
use crate::error::CommError;
use crate::ext::CollectiveExt;
use crate::heartbeat::{Channel, Operation, Purpose};
use crate::transport::{Backend, TensorOp, Ticket, Transport};
use crate::world::World;

/// How long a healthy watchdog takes to hear that it is no longer needed.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where tensors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// In the memory of the GPU. A wait is one of the compute stream.
    Device,
    /// In host memory, which only the stand-in for tests can reach. A wait blocks the host.
    Host,
}

/// How to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NcclOptions {
    /// Index of this rank's GPU among those that the process sees.
    pub device: usize,
    /// Where the tensors are.
    pub memory: MemoryKind,
    /// How long an operation may take once this rank is ready for it, and how long connecting may take.
    pub timeout: Duration,
}

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
        let world = control.world().clone();
        let channel = control.heartbeat().open(Purpose::Nccl);
        let (nccl, context, place) = together(control, prepare(&world, options))?;
        refuse_duplicates(control, &place)?;
        let id = exchange_id(control, nccl)?;
        let connecting = channel.begin(Operation::Connect);
        let connected = Communicator::connect(nccl, &world, id, options.timeout);
        drop(connecting);
        let built =
            connected.and_then(|communicator| Self::build(world, options, context, communicator, channel));
        together(control, built)
    }

    fn build(
        world: World,
        options: NcclOptions,
        context: Arc<Context>,
        communicator: Communicator,
        channel: Channel,
    ) -> Result<Self, CommError> {
        let rank = world.rank;
        let stream = Stream::new(&context).map_err(|error| error.on(&world))?;
        let link = Arc::new(Link {
            world,
            timeout: options.timeout,
            compute: Stream::legacy(&context),
            stream,
            pool: EventPool::new(&context),
            context,
            channel,
            submission: Mutex::new(Submission { communicator: Some(communicator), number: 0 }),
            flights: Mutex::default(),
            failure: OnceLock::new(),
        });
        let (watch, ended) = bounded(0);
        let (watching, watched) = bounded::<()>(0);
        let own = link.clone();
        let watchdog = std::thread::Builder::new()
            .name("nccl-watch".to_owned())
            .spawn(move || {
                own.watch(&ended);
                drop(own);
                drop(watching);
            })
            .map_err(|error| link.fail(CommError::CommThread { rank, reason: error.to_string() }))?;
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
        let last = self.link.flights().back().cloned();
        last.map_or_else(|| self.link.failure().map_or(Ok(()), Err), |flight| self.link.wait_on_host(&flight))
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
        let mut submission = link.submission();
        if let Some(error) = link.failure() {
            return Err(error);
        }
        if ops.is_empty() {
            return Ok(None);
        }
        submission.number += 1;
        let call = Call { operation, number: submission.number, count, rank, world_size };
        // SAFETY: promised by the caller.
        let launched = unsafe { enqueue(link, &submission, ops, call, ordered) };
        match launched {
            Ok(flight) => {
                let flight = Arc::new(flight);
                link.flights().push_back(flight.clone());
                Ok(Some(flight))
            }
            Err(error) => {
                // The other ranks may have launched it: nothing that follows would fit together.
                drop(submission);
                Err(link.fail(error))
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
    submission: &Submission,
    ops: Vec<(TensorOp, Buffer<'static>)>,
    call: Call,
    ordered: bool,
) -> Result<Flight, CommError> {
    let cuda = |error: CudaError| error.on(&link.world);
    let World { rank, world_size, .. } = link.world;
    let Some(communicator) = &submission.communicator else {
        return Err(CommError::Aborted { rank, world_size });
    };
    let (ready, done) = (link.pool.take().map_err(cuda)?, link.pool.take().map_err(cuda)?);
    if ordered {
        ready.record(&link.compute).map_err(cuda)?;
        link.stream.wait(&ready).map_err(cuda)?;
    } else {
        ready.record(&link.stream).map_err(cuda)?;
    }
    let submit = |(op, buffer): (TensorOp, Buffer<'static>)| {
        // SAFETY: `launch` has checked that the buffer fits; the rest is promised by the caller.
        unsafe { communicator.submit(&op, buffer, link.stream.handle(), call) }
    };
    if ops.len() == 1 {
        ops.into_iter().try_for_each(submit)?;
    } else {
        communicator.grouped(call, || ops.into_iter().try_for_each(submit))?;
    }
    // Before that the operation may not be on the stream yet, and its end would be marked too early.
    communicator.settle(call, link.timeout)?;
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
        } else if self.synchronize().is_ok() {
            let communicator = link.submission().communicator.take();
            let call = Call::without_elements("ncclCommFinalize", &link.world);
            let finished =
                communicator.map_or(Ok(()), |communicator| communicator.finish(call, link.timeout));
            if let Err(error) = finished {
                tracing::debug!(%error, "the communicator was aborted at its end");
            }
        }
        drop(self.watch.take());
        // A watchdog inside an abort that hangs is left behind; the channel closes when it has ended.
        let ended = self.watched.recv_timeout(FAREWELL).err().is_some_and(|error| error.is_disconnected());
        if let (true, Some(watchdog)) = (ended, self.watchdog.take()) {
            let _ = watchdog.join();
        }
    }
}

/// What can be found out without the other ranks.
fn prepare(world: &World, options: NcclOptions) -> Result<(&'static Nccl, Arc<Context>, Place), CommError> {
    let cuda = |error: CudaError| error.on(world);
    let (nccl, version) = library::nccl()?;
    if options.memory == MemoryKind::Host && version != STANDIN_VERSION {
        return Err(CommError::HostMemory { version: library::version_text(version) });
    }
    let driver = cuda::driver()?;
    cuda::initialize(driver).map_err(cuda)?;
    let visible = cuda::num_devices(driver).map_err(cuda)?;
    if options.device >= visible {
        let reason = format!("this process sees {visible}");
        return Err(CommError::NoDevice { rank: world.rank, device: options.device, reason });
    }
    let context = Context::retain(driver, options.device).map_err(cuda)?;
    context.make_current().map_err(cuda)?;
    let uuid = cuda::uuid(driver, options.device).map_err(cuda)?;
    Ok((nccl, context, Place::of_this_rank(world.node, uuid)))
}

/// Rank 0's unique id, once all ranks have it.
fn exchange_id(control: &Arc<dyn Collective>, nccl: &'static Nccl) -> Result<ncclUniqueId, CommError> {
    let world = control.world();
    let empty = ncclUniqueId { internal: [0; 128] };
    let own = if world.is_main() { Communicator::unique_id(nccl, world) } else { Ok(empty) };
    let mut bytes = together(control, own)?.internal.map(|byte| u8::from_ne_bytes(byte.to_ne_bytes()));
    control.broadcast(&mut bytes, 0)?;
    // Without it, ranks that are early find nobody and give up, which was seen at scale.
    control.barrier()?;
    Ok(ncclUniqueId { internal: bytes.map(|byte| std::ffi::c_char::from_ne_bytes(byte.to_ne_bytes())) })
}

/// Lets all ranks go on, or none: a rank that failed keeps its error, the others learn of it.
fn together<T>(control: &Arc<dyn Collective>, local: Result<T, CommError>) -> Result<T, CommError> {
    let told = local.as_ref().err().cloned();
    control.agree(local).map_err(|disagreement| match (disagreement, told) {
        (Disagreement::Comm(error), _) | (_, Some(error)) => error,
        (Disagreement::Failed(failures), None) => CommError::OtherRanks { failures: failures.to_string() },
    })
}
