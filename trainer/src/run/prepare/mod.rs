//! From settings to a session that is ready for its first step. Everything that can fail for a reason the user can fix
//! fails here, on all ranks together: automatic choices, the data, the network, what the settings ask of both, the
//! connection for tensors, the engine.

mod audit;
mod bank;
mod banks;
mod code_warnings;
mod course;
mod data;
mod data_root;
mod groups;
mod heads;
mod hold_out;
mod limits;
mod metric_names;
mod micro_batch;
mod parts;
mod phases;
mod plan;
mod pools;
mod prepared;
mod probes;
mod reading;
mod resolve;
mod transport;
mod untrained;
mod view_size;

use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::{Origins, RunConfig};
use dtrain_data::Dataset;

pub use data_root::data_root;
pub use plan::engine_settings;
pub use prepared::{Prepared, Purpose};
pub use resolve::{Choice, Kept, Place, Resolved, resolve};
pub use transport::connect as connect_tensors;

pub(crate) use bank::Bank;
pub(crate) use banks::open_banks;
pub(crate) use code_warnings::warnings as code_warnings;
pub(crate) use course::{bound_to_length, made_for, plan as course_of};
pub(crate) use data::view_maker;
pub(crate) use groups::check_lengths;
pub(crate) use heads::warnings as head_warnings;
pub(crate) use metric_names::fill_in as fill_in_monitors;
pub(crate) use micro_batch::explain;
pub(crate) use reading::{loader_options, reading, subject, subject_of_bank, target_columns};

use data::{open_dataset, same_data_everywhere};
use metric_names::MetricNames;
use parts::{Parts, build_parts};
use plan::{early_stop, monitor_mode};
use probes::fit_probes;
use reading::subject_of;

use super::agree::agreed;
use crate::coordinator::RunPlan;
use crate::device::be_deterministic;
use crate::engine::{Engine, Ranks};
use crate::error::TrainError;
use crate::eval::Subject;
use crate::method::Method;
use crate::torch_extra::set_tf32;

/// Builds everything, for settings of which nobody has just asked for one. `kept` comes from a checkpoint when the run
/// continues.
pub fn prepare(
    config: RunConfig,
    collective: &Arc<dyn Collective>,
    purpose: Purpose,
    kept: Option<Kept>,
) -> Result<Prepared, TrainError> {
    prepare_asked(config, &Origins::default(), collective, purpose, kept)
}

/// As [`prepare`]; what `origins` says that the user asked for has to mean something for these data and this method.
pub fn prepare_asked(
    mut config: RunConfig,
    origins: &Origins,
    collective: &Arc<dyn Collective>,
    purpose: Purpose,
    kept: Option<Kept>,
) -> Result<Prepared, TrainError> {
    let ranks = &**collective;
    let _stage = ranks.heartbeat().enter(Stage::Preparing);
    let (mut resolved, place, mut choices) = resolve(&config, ranks, origins, kept.as_ref())?;
    config.augment.image.device = resolved.augment_device(&config);
    tch::set_num_threads(resolved.threads as i32);
    set_tf32(config.trainer.tf32);
    agreed(ranks, be_deterministic(config.trainer.deterministic, place.device))?;

    let root = data_root(&config.data, ranks)?;
    let mut dataset = agreed(ranks, open_dataset(&config, &root, purpose))?;
    same_data_everywhere(ranks, dataset.fingerprint)?;
    agreed(ranks, hold_out::hold_out_classes(&mut dataset, &config))?;
    limits::limit(&mut dataset, &config.trainer);
    let dataset = Arc::new(dataset);
    let mut notes = Vec::new();
    let fitted = fit_probes(&mut config, origins, &dataset, &mut notes)
        .and_then(|()| heads::fit(&mut config, origins, &dataset, &mut notes));
    agreed(ranks, fitted)?;
    let parts = agreed(ranks, build_parts(&config, purpose, &resolved, &place, &dataset))?;
    agreed(ranks, audit::check(&config, origins, &dataset, &*parts.maker))?;
    let (mut judged_by, mut banks) = (Vec::new(), Vec::new());
    if purpose == Purpose::Train {
        if config.eval.every_epochs > 0 {
            banks = open_banks(&config, ranks, &dataset, parts.maker.shape())?;
        }
        let fitted = fit_monitors(&mut config, origins, &dataset, &banks, &*parts.method);
        let (mut about_monitors, names) = agreed(ranks, fitted)?;
        notes.append(&mut about_monitors);
        judged_by = names;
        let stored = kept.is_some().then_some(resolved.micro_batch);
        resolved.micro_batch =
            micro_batch::choose(&config, collective, &resolved, &parts, stored, &mut choices)?;
    }
    let ways = match purpose {
        Purpose::Train => transport::connect(&config, collective, &resolved, place.device)?,
        Purpose::Evaluate => Ranks::inline(collective),
    };
    let settings = engine_settings(&config, &resolved, &parts.plan);
    let Parts { maker, sampler, plan, method, parameters } = parts;
    let plan = RunPlan { early_stop: early_stop(&config), monitor_mode: monitor_mode(&config), ..plan };
    let engine = agreed(ranks, Engine::new(method, parameters, ways, settings))?;
    same_weights_everywhere(ranks, &engine)?;
    Ok(Prepared {
        config,
        resolved,
        place,
        choices,
        dataset,
        maker,
        sampler,
        plan,
        engine,
        banks,
        judged_by,
        notes,
    })
}

/// Notes, and what runs are judged by.
fn fit_monitors(
    config: &mut RunConfig,
    origins: &Origins,
    dataset: &Dataset,
    banks: &[Bank],
    method: &dyn Method,
) -> Result<(Vec<String>, Vec<String>), TrainError> {
    let of_banks: Vec<(&str, Subject<'_>)> =
        banks.iter().map(|bank| (bank.part.as_str(), subject_of_bank(config, bank, method))).collect();
    let names = MetricNames::of(config, &subject_of(config, dataset, method), &of_banks);
    let mut notes = metric_names::check(config, origins, &names, method.monitors())?;
    metric_names::check_weights(config, origins, &names, &mut notes)?;
    Ok((notes, names.judging(config)))
}

/// Replicas that start apart would stay apart.
fn same_weights_everywhere(collective: &dyn Collective, engine: &Engine) -> Result<(), TrainError> {
    let all = collective.all_gather_usize(agreed(collective, engine.fingerprint())? as usize)?;
    match all.iter().position(|&other| Some(&other) != all.first()) {
        None => Ok(()),
        Some(rank) => Err(TrainError::run(
            format!("rank {rank} starts from other weights than rank 0"),
            "use the same build of dtrain and libtorch on all machines",
        )),
    }
}
