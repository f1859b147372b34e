//! The beginning of a run: its directory, whether it continues, its banner, its files; then the loop.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dtrain_comm::{Collective, CollectiveExt, Source, Stage, mpi_library_version};
use dtrain_configs::schema::ResumeMode;
use dtrain_configs::{Origins, RunConfig, shell_path, told_settings};

use super::changes::{self, Change};
use super::course;
use super::deadline::Deadline;
use super::going_on::{describe_end, describe_past};
use super::history::Start;
use super::init_from::init_weights;
use super::load::{Restored, load_newest};
use super::lock::{lock_existing, lock_new};
use super::metric_names;
use super::naming::choose_run_dir;
use super::pace::Pace;
use super::prepare::{Prepared, Purpose, prepare_asked};
use super::resolve::Kept;
use super::saver::{checkpoint_bytes, describe_saving};
use super::scaling::plan_for;
use super::session::{Limits, SessionParts};
use super::stop_file::StopFile;
use super::wishes::Wishes;
use super::{Banner, Observer, Outcome, RunDir, Saver, Session, StopFlag, Tracker, agreed};
use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::plan::ScalingPlan;
use crate::state::Layout;
use crate::track::{Environment, HparamValue, Versions, last_step};

/// What a training run is asked for.
pub struct TrainRequest<'a> {
    /// Settings as composed.
    pub config: RunConfig,
    /// Where they were written.
    pub origins: Origins,
    /// What was typed.
    pub overrides: Vec<String>,
    /// The ranks.
    pub collective: Arc<dyn Collective>,
    /// The person in front of rank 0.
    pub observer: &'a mut dyn Observer,
    /// Set by signal handlers.
    pub stop: StopFlag,
    /// How far to go.
    pub extent: Extent,
    /// Commit that the program was built from, where it is known.
    pub git_revision: Option<&'static str>,
    /// Told the run's directory as soon as it is known, so that logs can go there.
    pub on_run_dir: &'a dyn Fn(&RunDir) -> std::io::Result<()>,
}

/// How far a training run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// To its end.
    Full,
    /// Some steps and a short evaluation; there is no run directory.
    FastDev {
        /// Optimizer steps.
        steps: u64,
    },
    /// Everything up to the first step; there is no run directory.
    DryRun {
        /// Ranks to plan for, when they are not those at hand.
        world: Option<usize>,
    },
}

/// The libtorch that tch binds; its build refuses others.
const TORCH_VERSION: &str = "2.11.0";

/// Samples of each part that a fast development run evaluates on.
const FAST_DEV_EVAL_SAMPLES: usize = 256;

/// Runs a training run; `None` for a dry run.
pub fn train(mut request: TrainRequest<'_>) -> Result<Option<Outcome>, TrainError> {
    let (started, wall_clock) = (Instant::now(), SystemTime::now());
    let ranks = Arc::clone(&request.collective);
    let preparing = ranks.heartbeat().enter(Stage::Preparing);
    if let Extent::FastDev { steps } = request.extent {
        let trainer = &mut request.config.trainer;
        trainer.max_epochs = None;
        trainer.max_steps = Some(steps.max(1));
        request.config.checkpoint.every_steps = Some(0);
        request.config.track.every_steps = 1;
        request.config.phases.share_evenly();
        request.config.schedule.made_for.clear();
    }
    let run_dir = match request.extent {
        Extent::Full => Some(agreed_run_dir(&request.config, &*ranks)?),
        Extent::FastDev { .. } | Extent::DryRun { .. } => None,
    };
    let mut lock = match &run_dir {
        Some(run_dir) => lock_existing(&*ranks, run_dir)?,
        None => None,
    };
    let continues = match &run_dir {
        Some(run_dir) => holds_a_run(&*ranks, run_dir)?,
        None => false,
    };
    let Continued { restored, changes, stored, had_been } = match &run_dir {
        Some(run_dir) if continues => continue_run(&mut request.config, &ranks, run_dir)?,
        _ => Continued::default(),
    };
    let word = request.config.schedule.length.take();
    let asked = request.config.clone();
    // Where that changes: what the schedule was made for up to now.
    let was = stored.filter(|was| restored.is_some() && was.schedule.made_for != asked.schedule.made_for);
    let kept = restored
        .as_ref()
        .map(|Restored { state, .. }| Kept { resolved: state.resolved, world_size: state.world_size });
    let mut prepared = prepare_asked(request.config, &request.origins, &ranks, Purpose::Train, kept)?;
    let mut started_from = None;
    match &restored {
        Some(restored) => {
            agreed(&*ranks, same_data(restored, &prepared))?;
            agreed(&*ranks, restored.apply(&mut prepared))?;
        }
        None => {
            if let Some(path) = prepared.config.init_from.clone() {
                started_from = Some((init_weights(&*ranks, &mut prepared, &path)?, path));
            }
        }
    }

    let layouts =
        prepared.engine.stateful().iter().map(|part| part.layout()).collect::<Result<Vec<_>, _>>()?;
    let pace = Pace::expecting(checkpoint_bytes(&layouts)?);
    let deadline = Deadline::new(&prepared.config.stop, started);
    agreed(&*ranks, deadline.as_ref().map_or(Ok(()), |deadline| deadline.check(&pace)))?;
    let mut saver = None;
    if let Some(run_dir) = &run_dir {
        let created =
            fs_err::create_dir_all(run_dir.path().join("logs")).and_then(|()| (request.on_run_dir)(run_dir));
        agreed(
            &*ranks,
            created.map_err(|e| {
                TrainError::environment(
                    format!("the run directory cannot be made: {e}"),
                    "choose another `run.dir` or `run.root`",
                )
            }),
        )?;
        let begun = if ranks.world().rank == 0 {
            lock_new(run_dir, lock.take(), continues).and_then(|held| {
                let saver = open_saver(run_dir, &prepared, &layouts)?;
                Ok((Some(held), saver))
            })
        } else {
            Ok((None, None))
        };
        (lock, saver) = agreed(&*ranks, begun)?;
    }

    let mut banner = banner(&prepared, run_dir.as_ref(), restored.as_ref());
    if let Some((matched, path)) = &started_from {
        banner.line("starts from", path.display(), matched);
    }
    // What the schedule is made for has a line of its own.
    for change in changes.iter().filter(|change| change.key != "schedule.made_for") {
        banner.line("changed", format!("{} = {}", change.key, change.now), change.reason(word));
    }
    let before = was.and_then(|was| course::plan(&was, prepared.plan.steps_per_epoch).ok());
    let resume_at = restored.as_ref().map(|r| r.state.coordinator.step);
    course::describe(&mut banner, &prepared, before.as_ref(), resume_at.unwrap_or(0));
    describe_past(&mut banner, had_been, restored.as_ref());
    if let (Some(restored), Some(run_dir)) = (&restored, &run_dir) {
        let mut state = restored.state.coordinator.clone();
        changes::forget(&changes, &mut state);
        describe_end(&mut banner, &prepared, &state, run_dir);
    }
    if run_dir.is_some() {
        describe_saving(&mut banner, &prepared.config.checkpoint, &layouts);
    }
    if let Some(deadline) = &deadline {
        let (limit, reason) = deadline.describe(&pace);
        banner.line("time limit", limit, reason);
    }
    if let Extent::DryRun { world } = request.extent {
        if let Some(world) = world {
            add_plan(&mut banner, agreed(&*ranks, plan_for(&prepared, world))?);
        }
        request.observer.started(&banner);
        return Ok(None);
    }
    request.observer.started(&banner);
    let tracker = match &run_dir {
        Some(run_dir) if ranks.world().rank == 0 => {
            let git_revision = request.git_revision;
            let begun = Begun {
                asked,
                origins: &request.origins,
                overrides: &request.overrides,
                changes: &changes,
                resume_at,
                git_revision,
            };
            agreed(&*ranks, write_run_files(run_dir, &prepared, begun))?
        }
        Some(_) => agreed(&*ranks, Ok(Tracker::silent()))?,
        None => Tracker::silent(),
    };
    let limits = match request.extent {
        Extent::FastDev { .. } => Limits { eval_samples: Some(FAST_DEV_EVAL_SAMPLES) },
        Extent::Full | Extent::DryRun { .. } => Limits::default(),
    };
    let file = run_dir.as_ref().filter(|_| ranks.world().rank == 0);
    let file = file.map(|run_dir| StopFile::watch(run_dir, wall_clock));
    let mut state = restored.map(|r| r.state);
    if let Some(state) = &mut state {
        changes::forget(&changes, &mut state.coordinator);
    }
    let parts = SessionParts {
        run_dir,
        tracker,
        saver,
        observer: request.observer,
        wishes: Wishes { flag: request.stop, file, deadline, pace },
        limits,
        state,
    };
    let session = Session::new(prepared, parts)?;
    drop(preparing);
    let outcome = session.run();
    // Nothing is written after this.
    drop(lock);
    outcome.map(Some)
}

/// Rank 0 names the directory; all ranks hear its name.
fn agreed_run_dir(config: &RunConfig, collective: &dyn Collective) -> Result<RunDir, TrainError> {
    let here = match collective.world().rank {
        0 => choose_run_dir(config, SystemTime::now()).path().as_os_str().as_encoded_bytes().to_vec(),
        _ => Vec::new(),
    };
    Ok(RunDir::new(OsString::from_vec(collective.broadcast_bytes(here, 0)?)))
}

fn holds_a_run(collective: &dyn Collective, run_dir: &RunDir) -> Result<bool, TrainError> {
    let here = vec![u8::from(collective.world().rank == 0 && run_dir.holds_a_run())];
    Ok(collective.broadcast_bytes(here, 0)? == [1])
}

/// What a run that goes on was.
#[derive(Default)]
struct Continued {
    /// Its newest checkpoint; `None` if it was stopped before its first one.
    restored: Option<Restored>,
    /// What it is asked to do otherwise from now on.
    changes: Vec<Change>,
    /// Its settings until now.
    stored: Option<RunConfig>,
    /// The last step of its metrics; rank 0 knows it.
    had_been: Option<u64>,
}

/// Finds what a run was, and puts what its schedule is made for into `config`.
///
/// # Errors
/// Another run than was asked for, or data that are gone.
fn continue_run(
    config: &mut RunConfig,
    ranks: &Arc<dyn Collective>,
    run_dir: &RunDir,
) -> Result<Continued, TrainError> {
    let path = run_dir.path().display();
    if config.run.resume == ResumeMode::Never {
        return Err(TrainError::config(
            format!("`run.dir={path}` already holds a run"),
            "choose another `run.dir`, or `run.resume=auto` to go on with it",
        ));
    }
    let restored = load_newest(&**ranks, run_dir, config.checkpoint.local_dir.as_deref())?;
    let mut stored = agreed(
        &**ranks,
        // They name the line and what to write there.
        dtrain_configs::load(&run_dir.config())
            .map_err(|errors| TrainError::Config { message: errors.to_string(), hint: None }),
    )?;
    let step = restored.as_ref().map_or(0, |restored| restored.state.coordinator.step);
    if config.schedule.made_for.is_empty() || config.schedule.made_for == stored.schedule.made_for {
        config.schedule.made_for = course::made_for(&stored, config, step);
    }
    let mut now = config.clone();
    if let Some(restored) = &restored {
        restored.state.resolved.fill_in(&mut now);
        restored.state.resolved.fill_in(&mut stored);
    }
    let changes = changes::changes(&stored, &now);
    changes::judge(&changes, config, run_dir.path(), restored.is_some())?;
    agreed(&**ranks, data_are_there(config, run_dir))?;
    let had_been = if ranks.world().rank == 0 { last_step(&run_dir.metrics()) } else { Ok(None) };
    let had_been = agreed(&**ranks, had_been.map_err(TrainError::from))?;
    Ok(Continued { restored, changes, stored: Some(stored), had_been })
}

/// A run that goes on has its data somewhere.
fn data_are_there(config: &RunConfig, run_dir: &RunDir) -> Result<(), TrainError> {
    let Some(root) = config.data.root.as_ref().filter(|root| !root.exists()) else { return Ok(()) };
    Err(TrainError::config(
        format!("`data.root={}`, where the data of this run were, does not exist", root.display()),
        format!(
            "if they were moved: `dtrain resume {} data.root=FOLDER`; they are compared with those that the run began with",
            shell_path(run_dir.path())
        ),
    ))
}

/// Rank 0's saver; the others have none, and neither has a run that never saves.
fn open_saver(
    run_dir: &RunDir,
    prepared: &Prepared,
    layouts: &[Layout],
) -> Result<Option<Saver>, TrainError> {
    let config = &prepared.config.checkpoint;
    if prepared.engine.collective().world().rank != 0 || config.every_steps == Some(0) {
        return Ok(None);
    }
    Ok(Some(Saver::open(run_dir, config, layouts, prepared.engine.device())?))
}

fn same_data(restored: &Restored, prepared: &Prepared) -> Result<(), TrainError> {
    if restored.state.data_fingerprint == prepared.dataset.fingerprint {
        return Ok(());
    }
    Err(TrainError::config(
        format!("the data in `{}` are not those that the run began with", prepared.dataset.root.display()),
        "restore the files, name the folder that holds them with `data.root=FOLDER`, or start a new run with `init_from`",
    ))
}

fn add_plan(banner: &mut Banner, plan: ScalingPlan) {
    for line in plan.lines {
        banner.line(&line.name, line.value, line.reason);
    }
    plan.warnings.iter().for_each(|warning| banner.warn(warning));
}

fn banner(prepared: &Prepared, run_dir: Option<&RunDir>, restored: Option<&Restored>) -> Banner {
    let mut banner = super::banner::describe(prepared);
    if let Some(run_dir) = run_dir {
        banner.line("run directory", run_dir.path().display(), "");
    }
    let Some(restored) = restored else { return banner };
    let state = &restored.state;
    let world_size = prepared.engine.collective().world().world_size;
    let found = restored
        .found
        .as_ref()
        .map_or_else(String::new, |(path, tier)| format!("{tier} checkpoint {}", path.display()));
    banner.line("resumed at", format!("step {}", state.coordinator.step), found);
    if state.world_size != world_size {
        banner.warn(format!(
            "the checkpoint was written by {} ranks and {world_size} go on: the same samples in the same order, but \
             sums are rounded differently; use {} ranks for bit-identical weights",
            state.world_size, state.world_size
        ));
    }
    if state.resolved.threads != prepared.resolved.threads {
        banner.warn("other threads per rank than before: sums are rounded differently");
    }
    banner
}

/// What is written down about a start.
struct Begun<'a> {
    /// The settings before anything was left out of them.
    asked: RunConfig,
    origins: &'a Origins,
    overrides: &'a [String],
    changes: &'a [Change],
    resume_at: Option<u64>,
    git_revision: Option<&'static str>,
}

/// `config.yaml` is written last: a directory without it holds no run.
fn write_run_files(run_dir: &RunDir, prepared: &Prepared, begun: Begun<'_>) -> Result<Tracker, TrainError> {
    let Begun { asked, origins, overrides, changes, resume_at, git_revision } = begun;
    let steps_per_epoch = prepared.plan.steps_per_epoch;
    let mut tracker = Tracker::open(run_dir, &prepared.config.track, resume_at, steps_per_epoch)?;
    let told = hparams(&asked, origins);
    let world_size = prepared.engine.collective().world().world_size;
    Start::now(resume_at.unwrap_or(0), world_size, overrides, changes).append(run_dir)?;
    let mut config = asked;
    prepared.resolved.write_into(&mut config);
    metric_names::fill_in(&mut config, &prepared.config);
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
