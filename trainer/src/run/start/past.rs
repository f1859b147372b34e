//! What a run that goes on was, and whether it may go on as it is asked to.

use std::sync::Arc;

use dtrain_comm::Collective;
use dtrain_configs::schema::ResumeMode;
use dtrain_configs::{RunConfig, RunDir, shell_path};

use super::changes::{alarm_rules_changed, changes, forget, judge};
use super::rollback::{apply, take_over};
use crate::coordinator::{CoordinatorState, Course};
use crate::error::TrainError;
use crate::run::agree::agreed;
use crate::run::checkpoints::{LoopState, Restored, load_newest};
use crate::run::directory::{Change, Rollback};
use crate::run::prepare::{Kept, Prepared, course_of, made_for};
use crate::track::last_step;

/// What a run was; of a new one nothing.
#[derive(Default)]
pub(super) struct Past {
    /// Its newest checkpoint; `None` if it was stopped before its first one.
    pub(super) restored: Option<Restored>,
    /// What it is asked to do otherwise from now on.
    pub(super) changes: Vec<Change>,
    /// How it has gone back.
    pub(super) rolled_back: Option<Rollback>,
    /// Its settings until now.
    stored: Option<RunConfig>,
    /// The last step of its metrics; rank 0 knows it.
    pub(super) had_been: Option<u64>,
}

impl Past {
    /// Automatic choices that stay.
    pub(super) fn kept(&self) -> Option<Kept> {
        let state = &self.restored.as_ref()?.state;
        Some(Kept { resolved: state.resolved, world_size: state.world_size })
    }

    /// The step that the run goes on at.
    pub(super) fn resume_at(&self) -> Option<u64> {
        self.restored.as_ref().map(|restored| restored.state.coordinator.step)
    }

    /// The way back that ends where the run goes on.
    pub(super) fn just_rolled_back(&self) -> Option<&Rollback> {
        self.rolled_back.as_ref().filter(|rollback| self.resume_at() == Some(rollback.to_step))
    }

    /// The coordinator's state, without what was judged by rules that have changed.
    pub(super) fn coordinator(&self) -> Option<CoordinatorState> {
        let mut state = self.restored.as_ref()?.state.coordinator.clone();
        forget(&self.changes, &mut state);
        Some(state)
    }

    /// The loop's state, likewise.
    pub(super) fn into_state(self) -> Option<LoopState> {
        let coordinator = self.coordinator()?;
        let rules_changed = alarm_rules_changed(&self.changes);
        let mut state = LoopState { coordinator, ..self.restored?.state };
        if rules_changed {
            (state.alarms, state.unreported_alarms, state.way_back) = Default::default();
        }
        Some(state)
    }

    /// What the schedule was made for up to now, where `asked` changes that.
    pub(super) fn course_before(&self, asked: &RunConfig, steps_per_epoch: u64) -> Option<Course> {
        let was = self.stored.as_ref().filter(|_| self.restored.is_some())?;
        let changes = was.schedule.made_for != asked.schedule.made_for;
        changes.then(|| course_of(was, steps_per_epoch).ok()).flatten()
    }

    /// Puts the checkpoint into place.
    ///
    /// # Errors
    /// Other data, or state that does not fit, by name; the same on all ranks.
    pub(super) fn restore(restored: &Restored, prepared: &mut Prepared) -> Result<(), TrainError> {
        let ranks = Arc::clone(prepared.engine.collective());
        agreed(&*ranks, same_data(restored, prepared))?;
        agreed(&*ranks, restored.apply(prepared))
    }
}

/// Finds what a run was, and puts what its schedule is made for into `config`.
///
/// # Errors
/// Another run than was asked for, or data that are gone.
pub(super) fn continue_run(
    config: &mut RunConfig,
    ranks: &Arc<dyn Collective>,
    run_dir: &RunDir,
) -> Result<Past, TrainError> {
    let path = run_dir.path().display();
    if config.run.resume == ResumeMode::Never {
        return Err(TrainError::config(
            format!("`run.dir={path}` already holds a run"),
            "choose another `run.dir`, or `run.resume=auto` to go on with it",
        ));
    }
    // Before anything is loaded: what is later than that is put aside.
    let rolled_back = take_over(config, &**ranks, run_dir)?;
    let restored = load_newest(&**ranks, run_dir, config.checkpoint.local_dir.as_deref())?;
    let mut stored = agreed(
        &**ranks,
        // They name the line and what to write there.
        dtrain_configs::load(&run_dir.config())
            .map_err(|errors| TrainError::Config { message: errors.to_string(), hint: None }),
    )?;
    let step = restored.as_ref().map_or(0, |restored| restored.state.coordinator.step);
    if config.schedule.made_for.is_empty() || config.schedule.made_for == stored.schedule.made_for {
        config.schedule.made_for = made_for(&stored, config, step);
    }
    let mut now = config.clone();
    if let Some(restored) = &restored {
        restored.state.resolved.fill_in(&mut now);
        restored.state.resolved.fill_in(&mut stored);
    }
    if let Some(rollback) = &rolled_back {
        agreed(&**ranks, apply(rollback, &mut stored))?;
    }
    let mut changes = changes(&stored, &now);
    judge(&changes, config, run_dir.path(), restored.is_some())?;
    agreed(&**ranks, data_are_there(config, run_dir))?;
    let had_been = if ranks.world().rank == 0 { last_step(&run_dir.metrics()) } else { Ok(None) };
    let had_been = agreed(&**ranks, had_been.map_err(TrainError::from))?;
    let mut past = Past { restored, changes: Vec::new(), rolled_back, stored: Some(stored), had_been };
    // Known from the settings of before only until the first start has written down those of after.
    let of_rollback = past.just_rolled_back().map_or_else(Vec::new, |rollback| rollback.changes.clone());
    changes.extend(of_rollback);
    past.changes = changes;
    Ok(past)
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

fn same_data(restored: &Restored, prepared: &Prepared) -> Result<(), TrainError> {
    if restored.state.data_fingerprint == prepared.dataset.fingerprint {
        return Ok(());
    }
    Err(TrainError::config(
        format!("the data in `{}` are not those that the run began with", prepared.dataset.root.display()),
        "restore the files, name the folder that holds them with `data.root=FOLDER`, or start a new run with `init_from`",
    ))
}
