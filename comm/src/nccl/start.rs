//! From a control plane to a connected [`Link`]: every step is taken by all ranks, or ends for all.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cudarc::nccl::sys::ncclUniqueId;

use super::call::Call;
use super::communicator::{Communicator, Making};
use super::config;
use super::contact;
use super::devices::{Place, refuse_duplicates};
use super::helper::{self, Outcome};
use super::library::{self, Nccl, STANDIN_VERSION};
use super::link::Link;
use super::options::{MemoryKind, NcclOptions};
use crate::agree::{Disagreement, Failures};
use crate::collective::Collective;
use crate::cuda::{self, Context, CudaError, EventPool, Stream};
use crate::error::CommError;
use crate::ext::CollectiveExt;
use crate::heartbeat::{Channel, Operation, Purpose, Stage};
use crate::world::World;

/// Number of the call that only a rank notes whose connecting has failed.
const FAILED: u64 = 2;

/// Connects all ranks of `control`, and runs the first collective of each kind; all of them call it.
///
/// # Errors
/// As for [`super::NcclTransport::connect`].
pub(super) fn connect(control: &Arc<dyn Collective>, options: NcclOptions) -> Result<Arc<Link>, CommError> {
    let world = control.world();
    let _stage = control.heartbeat().enter(Stage::Connecting);
    let channel = Arc::new(control.heartbeat().open(Purpose::Nccl));
    let (nccl, context, place) = together(control, prepare(world, options))?;
    refuse_duplicates(control, &place)?;
    let id = exchange_id(control, nccl)?;
    let is_hopeless = || control.heartbeat().has_another_ended(&channel, FAILED);
    let connecting = channel.begin(Operation::Connect);
    let met = meet(nccl, world, options, id, &context, &channel, &is_hopeless);
    drop(connecting);
    if let Err(error) = &met {
        // The others wait inside NCCL, where no message reaches them.
        channel.note(FAILED, FAILED, Operation::Connect);
        tracing::debug!(rank = world.rank, %error, "connecting over NCCL failed");
    }
    let told = met.as_ref().map(drop).map_err(CommError::clone);
    let agreed = together(control, told);
    match (met, agreed) {
        (Ok(Some(link)), Ok(())) => Ok(link),
        (Ok(Some(link)), Err(error)) => Err(link.fail(error)),
        (_, Err(error)) => Err(error),
        (_, Ok(())) => Err(CommError::Aborted { rank: world.rank, world_size: world.world_size }),
    }
}

/// The part inside NCCL, on threads that can be left behind; `None` when another rank has failed meanwhile.
fn meet(
    nccl: &'static Nccl,
    world: &World,
    options: NcclOptions,
    id: ncclUniqueId,
    context: &Arc<Context>,
    channel: &Arc<Channel>,
    is_hopeless: &dyn Fn() -> bool,
) -> Result<Option<Arc<Link>>, CommError> {
    let variable = std::env::var("NCCL_COMM_BLOCKING").ok();
    let blocking = config::is_blocking(options.blocking, variable.as_deref());
    let making = Making { id, blocking, timeout: options.connect_timeout };
    let (own, of) = (context.clone(), world.clone());
    let enter = move || own.make_current().map_err(|error| error.on(&of));
    let Some(communicator) = Communicator::connect(nccl, world, making, enter, is_hopeless)? else {
        return Ok(None);
    };
    let link = match build(world, options.timeout, context, communicator, channel) {
        Ok(link) => Arc::new(link),
        Err((communicator, error)) => {
            communicator.retire();
            if !helper::ends("nccl-abort", world, move || communicator.abort()) {
                helper::give_up(world, &error);
            }
            return Err(error);
        }
    };
    let own = link.clone();
    let largest_bytes = options.largest_bytes;
    let met = helper::start("nccl-connect", world, move || contact::meet(&own, largest_bytes))
        .and_then(|met| helper::supervise(&met, world, options.connect_timeout, is_hopeless));
    match met {
        Ok(Outcome::Done(())) => Ok(Some(link)),
        Ok(Outcome::Hopeless) => {
            link.fail(CommError::Aborted { rank: world.rank, world_size: world.world_size });
            Ok(None)
        }
        Ok(Outcome::TimedOut(waited)) => {
            let call = Call::without_elements("first contact over NCCL", world);
            Err(link.fail(call.timed_out(waited)))
        }
        Err(error) => Err(link.fail(error)),
    }
}

fn build(
    world: &World,
    timeout: Duration,
    context: &Arc<Context>,
    communicator: Communicator,
    channel: &Arc<Channel>,
) -> Result<Link, (Communicator, CommError)> {
    let stream = match Stream::new(context) {
        Ok(stream) => stream,
        Err(error) => return Err((communicator, error.on(world))),
    };
    Ok(Link {
        world: world.clone(),
        timeout,
        compute: Stream::legacy(context),
        stream,
        pool: EventPool::new(context),
        context: context.clone(),
        channel: channel.clone(),
        communicator,
        order: Mutex::default(),
        progress: Mutex::default(),
        failure: OnceLock::new(),
    })
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
        let ranks = world.local_size;
        let plural = if visible == 1 { "" } else { "s" };
        let reason = format!("this process sees {visible} GPU{plural}, and its node has {ranks} ranks");
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
pub(super) fn together<T>(
    control: &Arc<dyn Collective>,
    local: Result<T, CommError>,
) -> Result<T, CommError> {
    let own = local.as_ref().err().cloned();
    control.agree(local.map_err(Told)).map_err(|disagreement| match (disagreement, own) {
        (Disagreement::Comm(error), _) | (_, Some(error)) => error,
        (Disagreement::Failed(failures), None) => other_ranks(failures),
    })
}

/// Between an error and its hint as the others hear them; in no text.
const UNIT: char = '\u{1f}';

/// An error as the others hear it.
struct Told(CommError);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{UNIT}{}", self.0, self.0.hint().unwrap_or_default())
    }
}

fn other_ranks(mut failures: Failures) -> CommError {
    let mut hint = None;
    for cause in &mut failures.causes {
        if let Some((text, own)) = cause.message.split_once(UNIT) {
            hint = hint.or_else(|| (!own.is_empty()).then(|| own.to_owned()));
            cause.message = text.to_owned();
        }
    }
    CommError::OtherRanks { failures: failures.to_string(), hint }
}
