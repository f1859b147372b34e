//! Automatic choices. Each is made once per run, with its reason, written to `config.yaml` and to every checkpoint, and
//! reused on resume.

mod device;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::schema::{AugmentDevice, Auto, CommBackend, DataKind, DeviceChoice, Norm, Precision};
use dtrain_configs::{Origins, RunConfig};
use serde::{Deserialize, Serialize};
use tch::Device;

pub use device::Place;

use crate::device::{CpuFeatures, default_precision};
use crate::engine::Arithmetic;
use crate::error::TrainError;
use crate::loss::contrastive::default_tile;

/// What `auto` became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Whether tensors live on GPUs.
    pub on_gpu: bool,
    /// Types of forward and backward.
    pub arithmetic: Arithmetic,
    /// CPU threads of a rank.
    pub threads: usize,
    /// Threads that prepare batches, per rank.
    pub loader_threads: usize,
    /// Samples per forward pass and rank; `None` takes the whole share.
    pub micro_batch: Option<usize>,
    /// Rows of a tile of the contrastive loss.
    pub tile: usize,
    /// Batch norm over all ranks.
    pub sync_bn: bool,
    /// What tensors travel over: MPI or NCCL.
    pub backend: CommBackend,
    /// Sum gradients while backward goes on.
    pub overlap: bool,
}

/// What a run that goes on has chosen, and for how many ranks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// The choices.
    pub resolved: Resolved,
    /// Ranks that they were made for.
    pub world_size: usize,
}

/// Why a value is what it is that the settings name.
const SET: &str = "set";

impl Resolved {
    /// As [`Self::fill_in`], for `config.yaml`: threads are left to each start, since they are of the ranks that share a
    /// machine; a checkpoint keeps them for the same number of ranks.
    pub fn write_into(&self, config: &mut RunConfig) {
        let (threads, loader_threads) = (config.trainer.threads, config.trainer.loader_threads);
        self.fill_in(config);
        (config.trainer.threads, config.trainer.loader_threads) = (threads, loader_threads);
    }

    /// Where views of images are made. It follows from the other choices and is none of its own.
    pub fn augment_device(&self, config: &RunConfig) -> AugmentDevice {
        match (config.augment.image.device, config.data.kind) {
            (AugmentDevice::Auto, DataKind::Images) if self.on_gpu => AugmentDevice::Trainer,
            (AugmentDevice::Auto, DataKind::Images) => AugmentDevice::Cpu,
            (set, _) => set,
        }
    }

    /// The settings with every `auto` replaced; what was set stays.
    pub fn fill_in(&self, config: &mut RunConfig) {
        let trainer = &mut config.trainer;
        if trainer.device == DeviceChoice::Auto {
            trainer.device = if self.on_gpu { DeviceChoice::Cuda } else { DeviceChoice::Cpu };
        }
        if trainer.precision == Precision::Auto {
            trainer.precision = self.arithmetic.precision();
        }
        trainer.threads = Auto::Value(trainer.threads.value().unwrap_or(self.threads));
        trainer.loader_threads = Auto::Value(trainer.loader_threads.value().unwrap_or(self.loader_threads));
        config.augment.image.device = self.augment_device(config);
        let trainer = &mut config.trainer;
        trainer.sync_bn = Auto::Value(trainer.sync_bn.value().unwrap_or(self.sync_bn));
        if config.method.facts().pairs.is_some() {
            trainer.loss_tile = Auto::Value(trainer.loss_tile.value().unwrap_or(self.tile));
        }
    }
}

/// A choice and its reason, for the banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Dotted key.
    pub key: &'static str,
    /// What was chosen.
    pub value: String,
    /// Why.
    pub reason: String,
    /// Something to fix, with its remedy.
    pub warning: Option<String>,
}

/// Collects choices in the order of the banner.
#[derive(Default)]
struct Choices(Vec<Choice>);

impl Choices {
    fn note(
        &mut self,
        key: &'static str,
        value: impl ToString,
        reason: impl ToString,
        warning: Option<String>,
    ) {
        self.0.push(Choice { key, value: value.to_string(), reason: reason.to_string(), warning });
    }
}

/// Makes every automatic choice that does not depend on the network, the same on all ranks. `kept` are those of the run
/// that goes on; `origins` tell them from what somebody has just asked for.
///
/// # Errors
/// The same on all ranks: the machine lacks what was asked for.
pub fn resolve(
    config: &RunConfig,
    collective: &dyn Collective,
    origins: &Origins,
    kept: Option<&Kept>,
) -> Result<(Resolved, Place, Vec<Choice>), TrainError> {
    let mut choices = Choices::default();
    let mut wanted = config.clone();
    if let Some(Kept { resolved, world_size }) = kept {
        // With other ranks no resume is exact, and threads of before may be too many for the cores of each.
        match *world_size == collective.world().world_size {
            true => resolved.fill_in(&mut wanted),
            false => resolved.write_into(&mut wanted),
        }
    }
    let place = device::choose(wanted.trainer.device, collective)?;
    choices.note("trainer.device", &place.name, &place.reason, None);
    let on_gpu = place.device != Device::Cpu;
    let arithmetic = arithmetic(&wanted, &place, collective, &mut choices)?;
    let (threads, loader_threads) = threads(&wanted, collective, &mut choices)?;
    let sync_bn = sync_bn(&wanted, collective, &mut choices);
    let (backend, overlap) = ways(&wanted, collective, on_gpu, &mut choices);
    let tile = tile(&wanted, place.device);
    let micro_batch = wanted.trainer.micro_batch_size.value();
    let resolved = Resolved {
        on_gpu,
        arithmetic,
        threads,
        loader_threads,
        micro_batch,
        tile,
        sync_bn,
        backend,
        overlap,
    };
    note_augment_device(&wanted, &resolved, &mut choices);
    if kept.is_some() {
        let unasked =
            choices.0.iter_mut().filter(|choice| choice.reason == SET && !origins.is_asked(choice.key));
        unasked.for_each(|choice| choice.reason = "as when the run began".to_owned());
    }
    Ok((resolved, place, choices.0))
}

fn arithmetic(
    config: &RunConfig,
    place: &Place,
    collective: &dyn Collective,
    choices: &mut Choices,
) -> Result<Arithmetic, TrainError> {
    let features = CpuFeatures::detect();
    let (precision, reason) = match config.trainer.precision {
        Precision::Auto if config.method.facts().second_order => {
            (Precision::Fp32, "auto: gradients of gradients are not taken in 16 bits".to_owned())
        }
        Precision::Auto => {
            // All ranks can do what the least able one can.
            let (own, reason) = default_precision(place.device, place.compute_capability, &features);
            let abilities = collective.all_gather_usize(usize::from(own != Precision::Fp32))?;
            match abilities.iter().position(|&able| able == 0) {
                Some(rank) if own != Precision::Fp32 => {
                    (Precision::Fp32, format!("auto: rank {rank} has no 16-bit arithmetic"))
                }
                _ => (own, format!("auto: {reason}")),
            }
        }
        set => (set, SET.to_owned()),
    };
    let arithmetic = match precision {
        Precision::Auto | Precision::Fp32 => Arithmetic::Fp32,
        Precision::Bf16 => Arithmetic::Bf16,
        Precision::Fp16 => Arithmetic::Fp16,
        Precision::Fp64 => Arithmetic::Fp64,
    };
    let on_cpu = place.device == Device::Cpu;
    if arithmetic == Arithmetic::Fp16 && on_cpu {
        return Err(TrainError::environment(
            "`trainer.precision` is fp16, but this machine's ranks compute on the CPU, which has no 16-bit floats",
            "use `trainer.precision=bf16` or `auto`",
        ));
    }
    let slow = arithmetic == Arithmetic::Bf16 && on_cpu && !features.has_bf16();
    let warning = slow.then(|| {
        "`trainer.precision=bf16`: this CPU has no bf16 instructions and computes slower than in fp32; use \
         `trainer.precision=fp32` or `auto`"
            .to_owned()
    });
    let name = format!("{:?}", arithmetic).to_lowercase();
    choices.note("trainer.precision", name, reason, warning);
    Ok(arithmetic)
}

fn threads(
    config: &RunConfig,
    collective: &dyn Collective,
    choices: &mut Choices,
) -> Result<(usize, usize), TrainError> {
    let trainer = &config.trainer;
    let plan = dtrain_comm::plan_threads(collective)?;
    // The slowest rank sets the pace, and equal threads keep a resume exact wherever its ranks land.
    let smallest = collective.all_gather_usize(plan.num_threads)?.into_iter().min().unwrap_or(1).max(1);
    let (threads, reason, warning) = match trainer.threads {
        Auto::Value(n) => (n, SET.to_owned(), None),
        Auto::Auto => {
            let local_size = collective.world().local_size;
            let reason = format!("auto: {} cores for {local_size} local ranks", plan.num_allowed);
            (smallest, reason, plan.warning.map(|w| w.to_string()))
        }
    };
    choices.note("trainer.threads", threads, reason, warning);
    let (loader_threads, reason) = match trainer.loader_threads {
        Auto::Value(n) => (n, SET),
        Auto::Auto => (threads, "auto: as trainer.threads"),
    };
    choices.note("trainer.loader_threads", loader_threads, reason, None);
    Ok((threads, loader_threads))
}

fn sync_bn(config: &RunConfig, collective: &dyn Collective, choices: &mut Choices) -> bool {
    let world_size = collective.world().world_size;
    let (sync_bn, reason) = match config.trainer.sync_bn {
        Auto::Value(v) => (v, SET),
        Auto::Auto => (true, "auto: statistics belong to the global batch"),
    };
    if config.model.norm != Norm::Batch {
        return sync_bn;
    }
    let warning = (!sync_bn && world_size > 1).then(|| {
        format!(
            "`trainer.sync_bn=false`: batch norm sees each rank's share only, so weights depend on the number of \
             ranks ({world_size}); set it to `true` to make the batch global"
        )
    });
    choices.note("trainer.sync_bn", sync_bn, reason, warning);
    sync_bn
}

fn note_augment_device(config: &RunConfig, resolved: &Resolved, choices: &mut Choices) {
    let image = &config.augment.image;
    if config.data.kind != DataKind::Images || !image.changes_anything() {
        return;
    }
    let reason = match (image.device, resolved.on_gpu) {
        (AugmentDevice::Auto, true) => "auto: whole batches on the GPU",
        (AugmentDevice::Auto, false) => "auto: the network computes on the CPU too",
        _ => SET,
    };
    let device = match resolved.augment_device(config) {
        AugmentDevice::Trainer => "trainer",
        AugmentDevice::Auto | AugmentDevice::Cpu => "cpu",
    };
    choices.note("augment.image.device", device, reason, None);
}

/// Transport and overlap; a world of one has neither unless NCCL is asked for.
fn ways(
    config: &RunConfig,
    collective: &dyn Collective,
    on_gpu: bool,
    choices: &mut Choices,
) -> (CommBackend, bool) {
    let world = collective.world();
    let (backend, reason) = match (config.comm.backend, on_gpu) {
        (CommBackend::Auto, true) if world.world_size > 1 => (CommBackend::Nccl, "auto: between GPUs"),
        (CommBackend::Auto, _) => (CommBackend::Mpi, "auto: between CPUs"),
        (set, _) => (set, SET),
    };
    let (overlap, overlap_reason) = match config.trainer.overlap {
        Auto::Value(overlap) => (overlap, SET.to_owned()),
        Auto::Auto if backend == CommBackend::Nccl => {
            (true, "auto: NCCL works beside the computation".to_owned())
        }
        Auto::Auto if world.num_nodes > 1 => (true, format!("auto: {} nodes", world.num_nodes)),
        Auto::Auto => (false, "auto: CPU ranks of one host would compete for its cores".to_owned()),
    };
    if world.world_size > 1 || backend == CommBackend::Nccl {
        let warning = (backend == CommBackend::Mpi && on_gpu).then(|| {
            "`comm.backend=mpi`: gradients pass through host memory; `comm.backend=nccl` keeps them on the GPUs".to_owned()
        });
        choices.note(
            "comm.backend",
            if backend == CommBackend::Nccl { "nccl" } else { "mpi" },
            reason,
            warning,
        );
        choices.note("trainer.overlap", overlap, overlap_reason, None);
    }
    (backend, overlap)
}

fn tile(config: &RunConfig, device: Device) -> usize {
    let views = config.method.facts().views.total() as usize;
    let set = config.trainer.loss_tile.value();
    set.unwrap_or_else(|| default_tile(device, views * config.trainer.batch_size))
}
