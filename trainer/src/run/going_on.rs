//! What the banner of a run that goes on says of its past, and of its end where that has come already.

use dtrain_configs::{RunConfig, shell_path};

use super::course::bound_to_length;
use super::load::Restored;
use super::prepare::Prepared;
use super::{Banner, RunDir};
use crate::coordinator::CoordinatorState;

/// A run that goes on and has nothing left to do says so, and the command that would be more.
pub(super) fn describe_end(
    banner: &mut Banner,
    prepared: &Prepared,
    state: &CoordinatorState,
    run_dir: &RunDir,
) {
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

/// How far the run had been, where that is further than it goes on from.
pub(super) fn describe_past(banner: &mut Banner, had_been: Option<u64>, restored: Option<&Restored>) {
    let Some(had_been) = had_been.filter(|step| *step > 0) else { return };
    match restored.map(|restored| restored.state.coordinator.step) {
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
