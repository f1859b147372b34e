//! The beginning of a run: its directory, whether it continues, its banner, its files; then the loop.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::ResumeMode;

use super::deadline::Deadline;
use super::load::{Restored, init_weights, load_newest};
use super::lock::{lock_existing, lock_new};
use super::pace::Pace;
use super::prepare::{Prepared, Purpose, prepare};
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
use crate::track::{Environment, HparamValue, Versions};

/// What a training run is asked for.
pub struct TrainRequest<'a> {
    /// Settings as composed.
    pub config: RunConfig,
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
    }
    let run_dir = match request.extent {
        Extent::Full => Some(choose_run_dir(&request.config, &*ranks)?),
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
    let restored = match &run_dir {
        Some(run_dir) if continues => continue_run(&request.config, &ranks, run_dir)?,
        _ => None,
    };
    let stored = restored.as_ref().map(|r| r.state.resolved);
    let mut prepared = prepare(request.config, &ranks, Purpose::Train, stored)?;
    match &restored {
        Some(restored) => {
            agreed(&*ranks, same_data(restored, &prepared))?;
            agreed(&*ranks, restored.apply(&mut prepared))?;
        }
        None => {
            if let Some(path) = prepared.config.init_from.clone() {
                let used = init_weights(&*ranks, &mut prepared, &path)?;
                tracing::info!("{used} tensors start from {}", path.display());
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
    let resume_at = restored.as_ref().map(|r| r.state.coordinator.step);
    let tracker = match &run_dir {
        Some(run_dir) if ranks.world().rank == 0 => {
            let opened = write_run_files(run_dir, &prepared, &request.overrides, resume_at);
            agreed(&*ranks, opened)?
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
    let parts = SessionParts {
        run_dir,
        tracker,
        saver,
        observer: request.observer,
        wishes: Wishes { flag: request.stop, file, deadline, pace },
        limits,
        state: restored.map(|r| r.state),
    };
    let session = Session::new(prepared, parts)?;
    drop(preparing);
    let outcome = session.run();
    // Nothing is written after this.
    drop(lock);
    outcome.map(Some)
}

/// Rank 0 names the directory; all ranks hear its name.
fn choose_run_dir(config: &RunConfig, collective: &dyn Collective) -> Result<RunDir, TrainError> {
    let here = match collective.world().rank {
        0 => RunDir::choose(config, SystemTime::now()).path().as_os_str().as_encoded_bytes().to_vec(),
        _ => Vec::new(),
    };
    Ok(RunDir::new(OsString::from_vec(collective.broadcast_bytes(here, 0)?)))
}

fn holds_a_run(collective: &dyn Collective, run_dir: &RunDir) -> Result<bool, TrainError> {
    let here = vec![u8::from(collective.world().rank == 0 && run_dir.holds_a_run())];
    Ok(collective.broadcast_bytes(here, 0)? == [1])
}

/// The newest checkpoint of a run that goes on; `None` if it was stopped before its first one.
fn continue_run(
    config: &RunConfig,
    ranks: &Arc<dyn Collective>,
    run_dir: &RunDir,
) -> Result<Option<Restored>, TrainError> {
    let path = run_dir.path().display();
    if config.run.resume == ResumeMode::Never {
        return Err(TrainError::config(
            format!("`run.dir={path}` already holds a run"),
            "choose another `run.dir`, or `run.resume=auto` to go on with it",
        ));
    }
    let restored = load_newest(&**ranks, run_dir, config.checkpoint.local_dir.as_deref())?;
    let stored = agreed(
        &**ranks,
        dtrain_configs::load(&run_dir.config()).map_err(|e| {
            TrainError::config(
                format!("`{}` cannot be read: {e}", run_dir.config().display()),
                "restore the file",
            )
        }),
    )?;
    let mut now = config.clone();
    if let Some(restored) = &restored {
        restored.state.resolved.fill_in(&mut now);
    }
    let differences = differences(&stored, &now);
    if !differences.is_empty() {
        return Err(TrainError::config(
            format!("`run.dir={path}` holds a run with other settings:\n  {}", differences.join("\n  ")),
            format!("`dtrain resume {path}` goes on with it as it was; another `run.dir` starts a new run"),
        ));
    }
    Ok(restored)
}

/// A value that is chosen at the start of a run.
const AUTO: &str = "\"auto\"";

/// Keys whose values differ, apart from where the run lives and from what is to be chosen now.
fn differences(stored: &RunConfig, now: &RunConfig) -> Vec<String> {
    let flat = |config: &RunConfig| {
        let mut config = config.clone();
        config.run = Default::default();
        // Of each start by itself.
        config.stop.time_limit_secs = None;
        config.stop.margin_secs = Default::default();
        // A job that is started again may have another node's disk.
        config.checkpoint.local_dir = None;
        let mut values = std::collections::BTreeMap::new();
        if let Ok(tree) = serde_json::to_value(&config) {
            flatten(&tree, String::new(), &mut values);
        }
        values
    };
    let (stored, now) = (flat(stored), flat(now));
    let keys: std::collections::BTreeSet<&String> = stored.keys().chain(now.keys()).collect();
    let show = |value: Option<&String>| value.map_or("(not set)", String::as_str).to_owned();
    keys.into_iter()
        // Without a checkpoint nothing holds the run to what was chosen, which may have been for another world.
        .filter(|key| stored.get(*key) != now.get(*key) && now.get(*key).is_none_or(|value| value != AUTO))
        .map(|key| format!("`{key}` was {} and is now {}", show(stored.get(key)), show(now.get(key))))
        .collect()
}

fn flatten(tree: &serde_json::Value, path: String, values: &mut std::collections::BTreeMap<String, String>) {
    match tree {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(value, path, values);
            }
        }
        other => {
            values.insert(path, other.to_string());
        }
    }
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
        format!(
            "the recordings of `{}` are not those that the run began with",
            prepared.dataset.root.display()
        ),
        "restore the files, or start a new run with `init_from`",
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

/// `config.yaml` is written last: a directory without it holds no run.
fn write_run_files(
    run_dir: &RunDir,
    prepared: &Prepared,
    overrides: &[String],
    resume_at: Option<u64>,
) -> Result<Tracker, TrainError> {
    let mut tracker = Tracker::open(run_dir, &prepared.config.track, resume_at)?;
    if !run_dir.holds_a_run() || resume_at.is_none() {
        let versions = Versions { torch: Some(TORCH_VERSION.to_owned()), ..Versions::of_build() };
        Environment::collect(versions).write(&run_dir.environment())?;
        write_atomic(&run_dir.overrides(), format!("{}\n", overrides.join("\n")).as_bytes())?;
        let mut config = prepared.config.clone();
        prepared.resolved.fill_in(&mut config);
        tracker.hparams(&hparams(&config), &shown_metrics(&config))?;
        write_atomic(&run_dir.config(), dtrain_configs::to_yaml(&config).as_bytes())?;
    }
    Ok(tracker)
}

/// The settings by dotted key.
fn hparams(config: &RunConfig) -> Vec<(String, HparamValue)> {
    let mut flat = std::collections::BTreeMap::new();
    if let Ok(tree) = serde_json::to_value(config) {
        flatten(&tree, String::new(), &mut flat);
    }
    let parse = |text: &String| serde_json::from_str(text).ok().as_ref().and_then(HparamValue::from_json);
    flat.iter().filter_map(|(key, text)| Some((key.clone(), parse(text)?))).collect()
}

/// What runs are compared by.
fn shown_metrics(config: &RunConfig) -> Vec<String> {
    let mut names = vec!["train/loss".to_owned(), "val/knn_top1".to_owned(), "test/linear_top1".to_owned()];
    names
        .extend(config.checkpoint.monitor.iter().filter(|m| !names.contains(m)).cloned().collect::<Vec<_>>());
    names
}
