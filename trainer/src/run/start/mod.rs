//! The beginning of a run: its directory, whether it goes on, its banner, its files; then the loop.

mod banner;
mod changes;
mod claim;
mod past;
mod rollback;
mod run_files;
mod scaling;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use dtrain_comm::{Collective, Stage};
use dtrain_configs::schema::GroupConfig;
use dtrain_configs::{Origins, RunConfig, RunDir};

use banner::{Told, add_plan};
use claim::Claim;
use past::{Past, continue_run};
use rollback::go_back;
use run_files::{Begun, write_run_files};
use scaling::plan_for;

use super::agree::agreed;
use super::checkpoints::{Matched, checkpoint_bytes, init_weights};
use super::prepare::{Prepared, Purpose, check_lengths, prepare_asked};
use super::report::{Observer, Tracker};
use super::train::{
    Deadline, Limits, Outcome, Pace, Session, SessionParts, StopFile, StopFlag, StopRequests,
};
use crate::coordinator::StopReason;
use crate::error::TrainError;

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

/// Samples of each part that a fast development run evaluates on.
const FAST_DEV_EVAL_SAMPLES: usize = 256;

/// Runs a training run; `None` for a dry run.
///
/// # Errors
/// Anything that keeps the run from starting or going on, known to all ranks.
pub fn train(mut request: TrainRequest<'_>) -> Result<Option<Outcome>, TrainError> {
    let began = (Instant::now(), SystemTime::now());
    if let Extent::FastDev { steps } = request.extent {
        shorten(&mut request.config, steps);
    }
    let ranks = Arc::clone(&request.collective);
    let mut claim = match request.extent {
        Extent::Full => Some(Claim::new(&request.config, &*ranks)?),
        Extent::FastDev { .. } | Extent::DryRun { .. } => None,
    };
    loop {
        let outcome = train_once(&mut request, claim.as_mut(), began)?;
        match (outcome.as_ref().map(|outcome| &outcome.reason), &mut claim) {
            (Some(StopReason::Rollback(cause)), Some(claim)) => {
                go_back(&request.config, &*ranks, &claim.run_dir, *cause)?;
                claim.continues = true;
            }
            _ => return Ok(outcome),
        }
    }
}

/// From settings to the end of the loop. A run that an alarm takes back does it again.
fn train_once(
    request: &mut TrainRequest<'_>,
    mut claim: Option<&mut Claim>,
    (started, wall_clock): (Instant, SystemTime),
) -> Result<Option<Outcome>, TrainError> {
    let ranks = Arc::clone(&request.collective);
    let preparing = ranks.heartbeat().enter(Stage::Preparing);
    let mut config = request.config.clone();
    let past = match &claim {
        Some(claim) if claim.continues => continue_run(&mut config, &ranks, &claim.run_dir)?,
        _ => Past::default(),
    };
    let word = config.schedule.length.take();
    let asked = config.clone();
    let mut prepared = prepare_asked(config, &request.origins, &ranks, Purpose::Train, past.kept())?;
    if !matches!(request.extent, Extent::FastDev { .. }) {
        check_lengths(&prepared)?;
    }
    let init = put_weights(&mut prepared, &past)?;

    let layouts =
        prepared.engine.stateful().iter().map(|part| part.layout()).collect::<Result<Vec<_>, _>>()?;
    let pace = Pace::expecting(checkpoint_bytes(&layouts)?);
    let deadline = Deadline::new(&prepared.config.stop, started);
    agreed(&*ranks, deadline.as_ref().map_or(Ok(()), |deadline| deadline.check(&pace)))?;
    let saver = match &mut claim {
        Some(claim) => claim.open(&prepared, &layouts, request.on_run_dir)?,
        None => None,
    };

    let run_dir = claim.as_ref().map(|claim| claim.run_dir.clone());
    let told = Told {
        prepared: &prepared,
        asked: &asked,
        word,
        past: &past,
        run_dir: run_dir.as_ref(),
        init: init.as_ref(),
        layouts: &layouts,
        time_limit: deadline.as_ref().map(|deadline| deadline.describe(&pace)),
    };
    let mut banner = told.banner();
    if let Extent::DryRun { world: Some(world) } = request.extent {
        add_plan(&mut banner, agreed(&*ranks, plan_for(&prepared, world))?);
    }
    request.observer.started(&banner);
    if matches!(request.extent, Extent::DryRun { .. }) {
        return Ok(None);
    }
    let begun = Begun {
        asked,
        origins: &request.origins,
        overrides: &request.overrides,
        changes: &past.changes,
        rolled_back: past.just_rolled_back(),
        resume_at: past.resume_at(),
        git_revision: request.git_revision,
    };
    let tracker = open_tracker(run_dir.as_ref(), &prepared, begun)?;
    let file = run_dir.as_ref().filter(|_| ranks.world().rank == 0);
    let file = file.map(|run_dir| StopFile::watch(run_dir, wall_clock));
    let parts = SessionParts {
        run_dir,
        tracker,
        saver,
        observer: &mut *request.observer,
        stop_requests: StopRequests { flag: request.stop.clone(), file, deadline, pace },
        limits: limits_of(request.extent),
        state: past.into_state(),
    };
    let session = Session::new(prepared, parts)?;
    drop(preparing);
    session.run().map(Some)
}

/// The settings of a fast development run of `steps` steps.
fn shorten(config: &mut RunConfig, steps: u64) {
    config.trainer.max_epochs = None;
    config.trainer.max_steps = Some(steps.max(1));
    config.checkpoint.every_steps = Some(0);
    config.track.every_steps = 1;
    config.phases.share_evenly();
    config.optimizer.groups_mut().iter_mut().for_each(GroupConfig::freeze_in_part);
    config.schedule.made_for.clear();
}

/// The weights of the checkpoint, or those that a new run is asked to start from; returns what became of the latter.
fn put_weights(prepared: &mut Prepared, past: &Past) -> Result<Option<(Matched, PathBuf)>, TrainError> {
    if let Some(restored) = &past.restored {
        Past::restore(restored, prepared)?;
        return Ok(None);
    }
    let Some(path) = prepared.config.init_from.clone() else { return Ok(None) };
    let ranks = Arc::clone(prepared.engine.collective());
    Ok(Some((init_weights(&*ranks, prepared, &path)?, path)))
}

/// Rank 0 of a run with a directory writes down what has begun, and metrics from here on.
fn open_tracker(
    run_dir: Option<&RunDir>,
    prepared: &Prepared,
    begun: Begun<'_>,
) -> Result<Tracker, TrainError> {
    let Some(run_dir) = run_dir else { return Ok(Tracker::silent()) };
    let ranks = &**prepared.engine.collective();
    let opened = match ranks.world().rank {
        0 => write_run_files(run_dir, prepared, begun),
        _ => Ok(Tracker::silent()),
    };
    agreed(ranks, opened)
}

fn limits_of(extent: Extent) -> Limits {
    match extent {
        Extent::FastDev { .. } => Limits { eval_samples: Some(FAST_DEV_EVAL_SAMPLES) },
        Extent::Full | Extent::DryRun { .. } => Limits::default(),
    }
}
