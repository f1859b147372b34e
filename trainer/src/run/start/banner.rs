//! The banner of a start: besides what describes any prepared run, its directory, its past, what has changed, and its end
//! where that has come already.

use std::path::PathBuf;

use dtrain_configs::schema::ScheduleLength;
use dtrain_configs::{RunConfig, RunDir, shell_path};

use super::past::Past;
use crate::coordinator::{CoordinatorState, Course};
use crate::plan::ScalingPlan;
use crate::run::checkpoints::{Matched, Restored};
use crate::run::directory::Rollback;
use crate::run::prepare::{Prepared, bound_to_length};
use crate::run::report::{Banner, describe, describe_saving};
use crate::state::Layout;

/// What the banner tells of.
pub(super) struct Told<'a> {
    pub(super) prepared: &'a Prepared,
    /// Settings as asked for.
    pub(super) asked: &'a RunConfig,
    /// What was said about another length.
    pub(super) word: Option<ScheduleLength>,
    pub(super) past: &'a Past,
    pub(super) run_dir: Option<&'a RunDir>,
    /// Weights that a new run starts from.
    pub(super) init: Option<&'a (Matched, PathBuf)>,
    /// Of the tensors that checkpoints hold.
    pub(super) layouts: &'a [Layout],
    /// Its length and its reason.
    pub(super) time_limit: Option<(String, String)>,
}

impl Told<'_> {
    /// All that is said before step 0.
    pub(super) fn banner(self) -> Banner {
        let Self { prepared, past, run_dir, .. } = self;
        let mut banner = describe(prepared);
        if let Some(run_dir) = run_dir {
            banner.line("run directory", run_dir.path().display(), "");
        }
        if let Some(restored) = &past.restored {
            describe_checkpoint(&mut banner, prepared, restored);
        }
        if let Some(rollback) = &past.rolled_back {
            let Rollback { alarm, since, from_step, to_step, .. } = rollback;
            let why = format!("alarm `{}`, evidence since step {since}", alarm.as_str());
            banner.line("went back", format!("from step {from_step} to step {to_step}"), why);
        }
        if let Some((matched, path)) = self.init {
            banner.line("starts from", path.display(), matched);
        }
        // What the schedule is made for has a line of its own.
        for change in past.changes.iter().filter(|change| change.key != "schedule.made_for") {
            banner.line("changed", format!("{} = {}", change.key, change.now), change.reason(self.word));
        }
        let before = past.course_before(self.asked, prepared.plan.steps_per_epoch);
        describe_schedule(&mut banner, prepared, before.as_ref(), past.resume_at().unwrap_or(0));
        describe_past(&mut banner, past.had_been, past.resume_at());
        if let (Some(state), Some(run_dir)) = (past.coordinator(), run_dir) {
            describe_end(&mut banner, prepared, &state, run_dir);
        }
        if run_dir.is_some() {
            describe_saving(&mut banner, &prepared.config.checkpoint, self.layouts);
        }
        if let Some((limit, reason)) = self.time_limit {
            banner.line("time limit", limit, reason);
        }
        banner
    }
}

/// What the run would be on other ranks.
pub(super) fn add_plan(banner: &mut Banner, plan: ScalingPlan) {
    for line in plan.lines {
        banner.line(&line.name, line.value, line.reason);
    }
    plan.warnings.iter().for_each(|warning| banner.warn(warning));
}

/// The checkpoint that a run goes on from, and what differs from the start that wrote it.
fn describe_checkpoint(banner: &mut Banner, prepared: &Prepared, restored: &Restored) {
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
}

/// What the banner says of a run whose schedule is made for another length than that of the run, or for several. `before` is
/// what it was made for up to now, where this start changes it at `step`.
fn describe_schedule(banner: &mut Banner, prepared: &Prepared, before: Option<&Course>, step: u64) {
    let plan = &prepared.plan;
    let (course, settings) = (&plan.course, prepared.engine.settings());
    let leg = course.last();
    if prepared.config.schedule.made_for.is_empty() && before.is_none() {
        return;
    }
    let from = match leg.from_step {
        0 => String::new(),
        from => format!(" from step {from} on"),
    };
    let ends_early = leg.total_steps < plan.total_steps;
    let last_rate = settings.lr_on(course, plan.total_steps.saturating_sub(1));
    let what = match before {
        Some(before) if before.at(step) != course.at(step) => {
            let (old, new) = (settings.lr_on(before, step.saturating_sub(1)), settings.lr_on(course, step));
            format!("the learning rate goes from {old:.3e} to {new:.3e} at step {step}")
        }
        _ if ends_early => {
            format!("the learning rate stays at {last_rate:.3e} from step {} on", leg.total_steps)
        }
        _ => "as was said when the run went on".to_owned(),
    };
    banner.line("schedule", format!("made for {} steps{from}", leg.total_steps), what);
    if ends_early && last_rate == 0.0 {
        banner.warn(format!(
            "the learning rate is 0 from step {} on, and nothing is learned from there: `schedule.length=new` computes the \
             schedule over all {} steps",
            leg.total_steps, plan.total_steps
        ));
    }
    let Some(before) = before.filter(|_| step > 0) else { return };
    let (old, new) = (before.index_of(step - 1), course.index_of(step));
    if new < old
        && let (Some(old), Some(new)) = (course.phase(old), course.phase(new))
    {
        banner.warn(format!(
            "the run goes back from phase `{}` to phase `{}`, which is longer in a run of {} steps; \
             `schedule.length=keep` stays in the phase",
            old.name, new.name, leg.total_steps
        ));
    }
}

/// How far the run had been, where that is further than it goes on from.
fn describe_past(banner: &mut Banner, had_been: Option<u64>, resume_at: Option<u64>) {
    let Some(had_been) = had_been.filter(|step| *step > 0) else { return };
    match resume_at {
        None => banner.warn(format!(
            "this run had been at step {had_been} and has no checkpoint: it begins again; `checkpoint.every_steps` says how \
             often one is saved"
        )),
        Some(step) if step < had_been => {
            banner.line("trained again", format!("steps {step} to {}", had_been - 1), "later than the checkpoint");
        }
        Some(_) => {}
    }
}

/// A run that goes on and has nothing left to do says so, and the command that would be more.
fn describe_end(banner: &mut Banner, prepared: &Prepared, state: &CoordinatorState, run_dir: &RunDir) {
    let Prepared { plan, config, .. } = prepared;
    let run = shell_path(run_dir.path());
    if state.step >= plan.total_steps {
        let change = longer(config, plan.steps_per_epoch);
        let more = match bound_to_length(config) {
            None => format!("`dtrain resume {run} {change}` trains longer"),
            Some(_) => format!(
                "`dtrain resume {run} {change} schedule.length=new` trains longer, with `keep` at the last learning rate"
            ),
        };
        banner.line("nothing is left", format!("all {} steps are done", plan.total_steps), more);
        return;
    }
    let Some(rule) = plan.early_stop.filter(|rule| rule.is_exhausted(&state.judged)) else { return };
    let change = format!("stop.patience={}", rule.patience.saturating_mul(2));
    banner.line(
        "nothing is left",
        format!("the run ended early, after {} steps", state.step),
        format!(
            "`{}` no longer improved; `dtrain resume {run} {change}` has more patience",
            config.stop.monitor.as_deref().unwrap_or_default()
        ),
    );
}

/// The setting that ends the run, twice as long.
fn longer(config: &RunConfig, steps_per_epoch: u64) -> String {
    let trainer = &config.trainer;
    let by_epochs = trainer.max_epochs.map(|epochs| (epochs, epochs.saturating_mul(steps_per_epoch)));
    match (by_epochs, trainer.max_steps) {
        (Some((_, total)), Some(steps)) if steps < total => {
            format!("trainer.max_steps={}", steps.saturating_mul(2))
        }
        (None, Some(steps)) => format!("trainer.max_steps={}", steps.saturating_mul(2)),
        (Some((epochs, _)), _) => format!("trainer.max_epochs={}", epochs.saturating_mul(2)),
        (None, None) => "trainer.max_epochs=1".to_owned(),
    }
}
