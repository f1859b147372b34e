//! What the start banner says of the phases.

use dtrain_configs::schema::PhaseSchedule;

use super::banner::Banner;
use crate::coordinator::Phase;
use crate::run::prepare::Prepared;

/// One line of the banner per stage, if there are several: those of the length that the run ends with. The last one that has
/// steps goes on where the run does.
pub(super) fn describe_phases(banner: &mut Banner, prepared: &Prepared) {
    let (course, total_steps) = (&prepared.plan.course, prepared.plan.total_steps);
    if !course.is_staged() {
        return;
    }
    let leg = course.last();
    let with_steps = leg.phases.iter().enumerate().filter(|(_, phase)| !phase.steps.is_empty());
    let last = with_steps.map(|(index, _)| index).max();
    for (index, phase) in leg.phases.iter().enumerate() {
        let end = if Some(index) == last { total_steps } else { phase.steps.end.min(total_steps) };
        let num_steps = end.saturating_sub(phase.steps.start);
        let part = 100.0 * num_steps as f64 / total_steps.max(1) as f64;
        let value = match num_steps {
            0 => format!("{}: no step", phase.config.name),
            _ => format!("{}: steps {} to {}", phase.config.name, phase.steps.start, end - 1),
        };
        let mut reasons = vec![format!("{part:.0} % of the run")];
        reasons.extend(terms(phase));
        banner.line(&format!("phase {}", index + 1), value, reasons.join(", "));
    }
    let freezes_first = leg.phases.iter().next().is_some_and(|phase| !phase.config.freeze.is_empty());
    if freezes_first && prepared.config.init_from.is_none() {
        banner.warn(
            "the first phase freezes a part of the network that starts from random weights: set `init_from` to weights \
             that were trained",
        );
    }
}

/// What sets a phase apart.
fn terms(phase: &Phase) -> Vec<String> {
    let config = &phase.config;
    let mut terms = Vec::new();
    if !config.freeze.is_empty() {
        terms.push(format!("frozen: {}", config.freeze.join(" ")));
    }
    terms.extend(config.losses.iter().map(|(name, weight)| match weight.constant() {
        Some(0.0) => format!("{name} off"),
        Some(weight) => format!("{name} x {weight}"),
        None => format!("{name} on a schedule"),
    }));
    terms.extend(config.values.iter().map(|(name, value)| match value.constant() {
        Some(value) => format!("{name} {value}"),
        None => format!("{name} on a schedule of its own"),
    }));
    if config.lr_scale != 1.0 {
        terms.push(format!("learning rate x {}", config.lr_scale));
    }
    if config.schedule == PhaseSchedule::Restart {
        terms.push("schedule starts anew".to_owned());
    }
    terms
}
