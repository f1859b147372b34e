//! Checks of `phases`. What only the data can tell, such as the run's number of steps and the names of losses, is
//! checked where it becomes known, before the first step.

use crate::checks::Checks;
use crate::schema::{PhaseConfig, RunConfig};

/// Most phases; more are a mistake.
const MAX_PHASES: usize = 64;
/// What fractions written with few digits may be off by.
const ROUNDING: f64 = 0.01;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let phases = &config.phases;
    for frac in &phases.fracs {
        checks.fraction("phases.fracs", *frac);
    }
    for phase in &phases.list {
        check_phase(phase, checks);
    }
    for (index, phase) in phases.list.iter().enumerate() {
        let is_first = !phases.list.iter().take(index).any(|earlier| earlier.name == phase.name);
        checks.require(
            is_first,
            ["phases.list"],
            || format!("`phases.list` has two phases `{}`", phase.name),
            "give each a name of its own",
        );
    }
    checks.require(
        phases.list.len() <= MAX_PHASES,
        ["phases.list"],
        || format!("`phases.list` has {} phases, more than {MAX_PHASES}", phases.list.len()),
        None,
    );
    if phases.enabled {
        check_lengths(config, checks);
    }
}

fn check_phase(phase: &PhaseConfig, checks: &mut Checks) {
    let name = &phase.name;
    checks.require(
        !name.trim().is_empty(),
        ["phases.list"],
        || "a phase of `phases.list` has no `name`".into(),
        "messages and logs call it by its name",
    );
    checks.require(
        phase.steps != Some(0),
        ["phases.list"],
        || format!("phase `{name}` has 0 `steps`"),
        "leave the phase out, or `phases.enabled=false`",
    );
    checks.require(
        phase.lr_scale.is_finite() && phase.lr_scale > 0.0,
        ["phases.list"],
        || format!("`lr_scale` of phase `{name}` must be above 0 and finite, not {}", phase.lr_scale),
        "`freeze` names what does not move",
    );
    for prefix in &phase.freeze {
        checks.require(
            !prefix.trim().is_empty(),
            ["phases.list"],
            || format!("`freeze` of phase `{name}` has an empty name"),
            "give beginnings of parameter names such as `backbone`",
        );
    }
    for (loss, weight) in &phase.losses {
        let bad = weight.ends().into_iter().find(|weight| !weight.is_finite() || *weight < 0.0);
        checks.require(
            bad.is_none(),
            ["phases.list"],
            || {
                let bad = bad.unwrap_or(f64::NAN);
                format!("loss `{loss}` of phase `{name}` must have a factor of at least 0, not {bad}")
            },
            "0 switches a loss off",
        );
    }
}

fn check_lengths(config: &RunConfig, checks: &mut Checks) {
    let phases = &config.phases;
    checks.require(
        !phases.list.is_empty(),
        ["phases.enabled", "phases.list"],
        || "`phases.enabled` is true, but `phases.list` is empty".into(),
        "name at least one phase, such as `phases.list=[{name: probe, freeze: [backbone]}, {name: finetune}]`",
    );
    if phases.list.iter().all(|phase| phase.steps.is_some()) {
        return;
    }
    if !phases.fracs.iter().all(|frac| (0.0..=1.0).contains(frac)) {
        // Told already, each by itself.
        return;
    }
    let (fracs, list) = (phases.fracs.len(), phases.list.len());
    checks.require(
        fracs == list,
        ["phases.fracs", "phases.list"],
        || format!("`phases.fracs` has {fracs} fractions for the {list} phases of `phases.list`"),
        "give each phase its fraction; those of phases with `steps` count for nothing",
    );
    let shared: f64 = phases
        .list
        .iter()
        .zip(&phases.fracs)
        .filter(|(phase, _)| phase.steps.is_none())
        .map(|(_, frac)| frac)
        .sum();
    checks.require(
        shared > 0.0 || fracs != list,
        ["phases.fracs"],
        || "`phases.fracs` is 0 for every phase without `steps`".into(),
        "fractions of a run add up to 1",
    );
    let all_share = phases.list.iter().all(|phase| phase.steps.is_none());
    checks.require(
        !all_share || fracs != list || (shared - 1.0).abs() <= ROUNDING || shared == 0.0,
        ["phases.fracs"],
        || format!("`phases.fracs` adds up to {shared}"),
        "fractions of a run add up to 1",
    );
}
