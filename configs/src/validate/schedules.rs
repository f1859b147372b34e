//! Checks of what is scheduled besides the learning rate: values that the method can have, and stretches that fit the run as
//! far as that can be told before the data are read.

use crate::checks::{Checks, Conflict};
use crate::schema::{PhaseConfig, RunConfig, ScheduledSetting, Span};
use crate::suggest::choice_hint;

pub(super) fn check(config: &RunConfig, checks: &mut Checks) {
    let settings = config.method.scheduled();
    for setting in &settings {
        in_range(setting.key, setting.key, setting, setting.schedule.ends(), checks);
    }
    for phase in &config.phases.list {
        check_values(phase, config.method.name(), &settings, checks);
    }
    for (key, span) in config.spans() {
        check_length(config, &key, span, checks);
    }
}

fn in_range(
    key: &str,
    section: &'static str,
    setting: &ScheduledSetting,
    ends: [f64; 2],
    checks: &mut Checks,
) {
    let bad = ends.into_iter().find(|value| !setting.range.holds(*value));
    if let Some(bad) = bad {
        let message = || format!("`{key}` must be {}, not {bad}", setting.range.words());
        checks.require(false, [section], message, None);
    }
}

/// What a phase sets of the method.
fn check_values(phase: &PhaseConfig, method: &str, settings: &[ScheduledSetting], checks: &mut Checks) {
    for (name, schedule) in &phase.values {
        if let Some(setting) = settings.iter().find(|setting| setting.name == name) {
            let key = format!("values.{name}` of phase `{}", phase.name);
            in_range(&key, "phases.list", setting, schedule.ends(), checks);
            continue;
        }
        let hint = match settings {
            [] => format!("`method.name` = {method} changes nothing over the run"),
            _ => choice_hint(name, settings.iter().map(|setting| setting.name)),
        };
        checks.found.push(Conflict {
            keys: vec!["phases.list"],
            message: format!("phase `{}` sets a value `{name}`, which the method does not have", phase.name),
            hint: Some(hint),
            only_if_asked: false,
        });
    }
}

/// Epochs against epochs and steps against steps; the rest is known with the data.
fn check_length(config: &RunConfig, key: &str, span: Span, checks: &mut Checks) {
    let trainer = &config.trainer;
    let (length, limit) = match (span, trainer.max_epochs, trainer.max_steps) {
        (Span::Epochs(epochs), Some(max), _) if epochs > max as f64 => ("trainer.max_epochs", max),
        (Span::Steps(steps), _, Some(max)) if steps > max => ("trainer.max_steps", max),
        _ => return,
    };
    checks.require(
        limit == 0,
        [section_of(key), length],
        || format!("`{key}` = {span} is longer than the run, `{length}` = {limit}"),
        "shorten it, or train for longer; a number such as 0.5 is a fraction of the run",
    );
}

/// The setting that holds the key, as origins know it.
fn section_of(key: &str) -> &'static str {
    const HOLDERS: [&str; 5] =
        ["data.pools", "optimizer.groups", "phases.list", "optimizer.weight_decay", "method"];
    HOLDERS.into_iter().find(|holder| key.starts_with(holder)).unwrap_or("optimizer")
}
