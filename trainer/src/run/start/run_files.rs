//! What is written down about a start: settings, environment, history, and the files that metrics go to.

use dtrain_comm::{Source, mpi_library_version};
use dtrain_configs::{Origins, RunConfig, RunDir, told_settings};

use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::run::directory::{Change, Rollback, Start};
use crate::run::prepare::{Prepared, fill_in_monitors};
use crate::run::report::Tracker;
use crate::track::{Environment, HparamValue, Versions};

/// The libtorch that tch binds; its build refuses others.
const TORCH_VERSION: &str = "2.11.0";

/// What is written down about a start.
pub(super) struct Begun<'a> {
    /// The settings before anything was left out of them.
    pub(super) asked: RunConfig,
    pub(super) origins: &'a Origins,
    pub(super) overrides: &'a [String],
    pub(super) changes: &'a [Change],
    /// Where this start is the first after it.
    pub(super) rolled_back: Option<&'a Rollback>,
    pub(super) resume_at: Option<u64>,
    pub(super) git_revision: Option<&'static str>,
}

/// `config.yaml` is written last: a directory without it holds no run.
pub(super) fn write_run_files(
    run_dir: &RunDir,
    prepared: &Prepared,
    begun: Begun<'_>,
) -> Result<Tracker, TrainError> {
    let Begun { asked, origins, overrides, changes, rolled_back, resume_at, git_revision } = begun;
    let steps_per_epoch = prepared.plan.steps_per_epoch;
    let mut tracker = Tracker::open(run_dir, &prepared.config.track, resume_at, steps_per_epoch)?;
    let told = hparams(&asked, origins);
    let world_size = prepared.engine.collective().world().world_size;
    let start = Start::now(resume_at.unwrap_or(0), world_size, overrides, changes);
    Start { rolled_back: rolled_back.cloned(), ..start }.append(run_dir)?;
    let mut config = asked;
    prepared.resolved.write_into(&mut config);
    fill_in_monitors(&mut config, &prepared.config);
    config.make_paths_absolute();
    let begins = !run_dir.holds_a_run() || resume_at.is_none();
    if begins {
        let world = prepared.engine.collective().world();
        let uses_mpi = world.world_size > 1 && world.source != Source::Threads;
        let versions = Versions {
            torch: Some(TORCH_VERSION.to_owned()),
            mpi: uses_mpi.then(mpi_library_version),
            gpus: prepared.resolved.on_gpu.then(|| prepared.place.name.clone()).into_iter().collect(),
            ..Versions::of_build(git_revision)
        };
        Environment::collect(versions).write(&run_dir.environment())?;
        write_atomic(&run_dir.overrides(), format!("{}\n", overrides.join("\n")).as_bytes())?;
        tracker.hparams(&told, &prepared.judged_by)?;
    }
    if begins || !changes.is_empty() {
        write_atomic(&run_dir.config(), dtrain_configs::to_yaml(&config).as_bytes())?;
    }
    Ok(tracker)
}

/// What somebody decided: settings that were typed, or that an experiment has other than the program.
fn hparams(asked: &RunConfig, origins: &Origins) -> Vec<(String, HparamValue)> {
    let told = told_settings(asked, origins);
    told.into_iter().filter_map(|(key, value)| Some((key, HparamValue::from_json(&value)?))).collect()
}
