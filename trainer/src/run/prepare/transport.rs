//! What tensors travel over: chosen for all ranks alike, with its reason.

use std::sync::Arc;
use std::time::Duration;

use dtrain_comm::{Background, Collective, Inline, MemoryKind, NcclOptions, NcclTransport, Transport};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::CommBackend;
use tch::Device;

use super::resolve::Resolved;
use crate::engine::Ranks;
use crate::error::TrainError;
use crate::run::agree::agreed;

/// The watchdog of the session knows all ranks and speaks first. NCCL's own ends what is left after it.
const AFTER_THE_WATCHDOG_SECS: f64 = 10.0;

/// Connects the ranks for tensors as `resolved` says.
///
/// # Errors
/// The same on all ranks: NCCL is absent, of another version, or fails.
pub fn connect(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    resolved: &Resolved,
    device: Device,
) -> Result<Ranks, TrainError> {
    let transport: Arc<dyn Transport> = match resolved.backend {
        CommBackend::Nccl => {
            let limit = |secs: f64| Duration::from_secs_f64(secs.min(1e9) + AFTER_THE_WATCHDOG_SECS);
            let comm = &config.comm;
            let options = NcclOptions {
                device: match device {
                    Device::Cuda(ordinal) => ordinal,
                    _ => collective.world().local_rank,
                },
                memory: if device == Device::Cpu { MemoryKind::Host } else { MemoryKind::Device },
                timeout: limit(comm.timeout_secs),
                connect_timeout: limit(comm.connect_timeout_secs),
                blocking: comm.nccl_blocking,
                largest_bytes: config.trainer.bucket_bytes.max(config.trainer.first_bucket_bytes),
            };
            let connected = NcclTransport::connect(collective, options).map_err(TrainError::from);
            Arc::new(agreed(&**collective, connected)?)
        }
        CommBackend::Auto | CommBackend::Mpi if resolved.overlap && collective.world().world_size > 1 => {
            Arc::new(Background::start(collective.another()?)?)
        }
        CommBackend::Auto | CommBackend::Mpi => Arc::new(Inline::new(Arc::clone(collective))),
    };
    Ok(Ranks::new(Arc::clone(collective), transport))
}
