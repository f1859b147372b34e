//! Automatic choices. Each is made once per run, with its reason, written to `config.yaml` and to every checkpoint, and
//! reused on resume.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Auto, DeviceChoice, MethodConfig, Precision};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

use crate::error::TrainError;
use crate::loss::contrastive::DEFAULT_TILE;

/// What `auto` became.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// 64-bit arithmetic.
    pub double: bool,
    /// CPU threads of a rank.
    pub threads: usize,
    /// Threads that prepare batches, per rank.
    pub loader_threads: usize,
    /// Samples per forward pass and rank; `None` takes the whole share.
    pub micro_batch: Option<usize>,
    /// Batch norm over all ranks.
    pub sync_bn: bool,
}

impl Resolved {
    /// Type of parameters and inputs.
    pub fn kind(&self) -> Kind {
        if self.double { Kind::Double } else { Kind::Float }
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        Device::Cpu
    }

    /// The settings with every `auto` replaced, as they go into `config.yaml`; what was set stays.
    pub fn fill_in(&self, config: &mut RunConfig) {
        let trainer = &mut config.trainer;
        if trainer.device == DeviceChoice::Auto {
            trainer.device = DeviceChoice::Cpu;
        }
        if trainer.precision == Precision::Auto {
            trainer.precision = if self.double { Precision::Fp64 } else { Precision::Fp32 };
        }
        trainer.threads = Auto::Value(trainer.threads.value().unwrap_or(self.threads));
        trainer.loader_threads = Auto::Value(trainer.loader_threads.value().unwrap_or(self.loader_threads));
        trainer.sync_bn = Auto::Value(trainer.sync_bn.value().unwrap_or(self.sync_bn));
        let tile = match &mut config.method {
            MethodConfig::Simclr(simclr) => &mut simclr.tile,
            MethodConfig::Supcon(supcon) => &mut supcon.tile,
            MethodConfig::Supervised(_) => return,
        };
        *tile = Auto::Value(tile.value().unwrap_or(DEFAULT_TILE));
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
    /// Something to mend, with its remedy.
    pub warning: Option<String>,
}

/// Makes every automatic choice, the same on all ranks.
pub fn resolve(
    config: &RunConfig,
    collective: &dyn Collective,
) -> Result<(Resolved, Vec<Choice>), TrainError> {
    let mut choices = Vec::new();
    let mut note = |key, value: String, reason: &str, warning: Option<String>| {
        choices.push(Choice { key, value, reason: reason.to_owned(), warning });
    };
    let trainer = &config.trainer;

    let device_reason = match trainer.device {
        DeviceChoice::Auto => "auto: this build trains on the CPU",
        DeviceChoice::Cpu => "set",
    };
    note("trainer.device", "cpu".into(), device_reason, None);

    let (double, reason) = match trainer.precision {
        Precision::Auto => (false, "auto: fp32 on a CPU"),
        Precision::Fp32 => (false, "set"),
        Precision::Fp64 => (true, "set: slow, for proofs"),
    };
    note("trainer.precision", if double { "fp64" } else { "fp32" }.into(), reason, None);

    let world = collective.world();
    let plan = dtrain_comm::plan_threads(collective)?;
    // The slowest rank sets the pace, and equal threads keep a resume exact wherever its ranks land.
    let smallest = collective.all_gather_usize(plan.num_threads)?.into_iter().min().unwrap_or(1).max(1);
    let (threads, reason, warning) = match trainer.threads {
        Auto::Value(n) => (n, "set".to_owned(), None),
        Auto::Auto => {
            let reason = format!("auto: {} cores for {} local ranks", plan.num_allowed, world.local_size);
            (smallest, reason, plan.warning.map(|w| w.to_string()))
        }
    };
    note("trainer.threads", threads.to_string(), &reason, warning);

    let (loader_threads, reason) = match trainer.loader_threads {
        Auto::Value(n) => (n, "set"),
        Auto::Auto => (threads, "auto: as trainer.threads"),
    };
    note("trainer.loader_threads", loader_threads.to_string(), reason, None);

    let (sync_bn, reason) = match trainer.sync_bn {
        Auto::Value(v) => (v, "set"),
        Auto::Auto => (true, "auto: statistics belong to the global batch"),
    };
    let warning = (!sync_bn && world.world_size > 1).then(|| {
        format!(
            "`trainer.sync_bn=false`: batch norm sees each rank's share only, so weights depend on the number of \
             ranks ({}); set it to `true` to make the batch global",
            world.world_size
        )
    });
    note("trainer.sync_bn", sync_bn.to_string(), reason, warning);

    let micro_batch = trainer.micro_batch_size.value();
    let (value, reason) = match micro_batch {
        Some(n) => (n.to_string(), "set"),
        None => ("whole share".into(), "auto: a rank's share of the batch in one pass"),
    };
    let warning = micro_batch.filter(|&n| n * world.world_size < trainer.batch_size).map(|n| {
        format!(
            "`trainer.micro_batch_size={n}`: batch norm sees {n} samples per rank at a time instead of the global \
             batch of {}; leave it at `auto` to make the batch global",
            trainer.batch_size
        )
    });
    note("trainer.micro_batch_size", value, reason, warning);

    Ok((Resolved { double, threads, loader_threads, micro_batch, sync_bn }, choices))
}
