//! The groups of the optimizer, and everything else that is scheduled, against the network and the length of the run: what
//! cannot work is found before the first step.

use dtrain_configs::schema::{GroupConfig, Position, Span};
use dtrain_configs::{RunConfig, choice_hint};

use super::phases::parts_like;
use super::prepared::Prepared;
use crate::coordinator::Course;
use crate::engine::group_of;
use crate::error::TrainError;
use crate::model::freeze::is_below;
use crate::model::parameters::Parameters;

/// Whether each group has parameters, and each step something to train.
///
/// # Errors
/// A pattern that no parameter's name begins with, a group whose parameters earlier groups have, or a step in which all
/// parameters are frozen.
pub(super) fn check(
    config: &RunConfig,
    course: &Course,
    steps_per_epoch: u64,
    parameters: &Parameters,
) -> Result<(), TrainError> {
    let groups = config.optimizer.groups();
    for (index, group) in groups.iter().enumerate() {
        check_patterns(group, parameters)?;
        let has_some = parameters.parameters().iter().any(|p| group_of(groups, &p.name) == Some(index));
        if !has_some {
            return Err(TrainError::config(
                format!(
                    "all parameters of group `{}` belong to earlier groups of `optimizer.groups`",
                    group.name
                ),
                "the first group that names a parameter has it: put the narrower one first",
            ));
        }
    }
    check_frozen(groups, course, steps_per_epoch, parameters)
}

fn check_patterns(group: &GroupConfig, parameters: &Parameters) -> Result<(), TrainError> {
    for pattern in &group.parameters {
        let one = std::slice::from_ref(pattern);
        if !parameters.parameters().iter().any(|p| is_below(&p.name, one)) {
            let name = &group.name;
            let parts = parts_like(parameters, pattern);
            return Err(TrainError::config(
                format!(
                    "group `{name}` of `optimizer.groups` names `{pattern}`, but no parameter's name begins with it"
                ),
                choice_hint(pattern, parts.iter().map(String::as_str)),
            ));
        }
    }
    Ok(())
}

/// What is frozen changes where phases begin and where groups begin or end to be frozen, and nowhere else.
fn check_frozen(
    groups: &[GroupConfig],
    course: &Course,
    steps_per_epoch: u64,
    parameters: &Parameters,
) -> Result<(), TrainError> {
    let leg = course.last();
    let at = Position { step: 0, steps_per_epoch, total_steps: leg.total_steps };
    let of_groups =
        groups.iter().flat_map(|group| group.freezes()).map(|(_, span)| span.steps(at).ceil() as u64);
    let of_phases = leg.phases.iter().map(|phase| phase.steps.start);
    for step in of_phases.chain(of_groups).filter(|step| *step < leg.total_steps) {
        let Some(phase) = leg.phases.get(leg.phases.index_of(step)) else { continue };
        let is_frozen = |name: &str| {
            let group = group_of(groups, name).and_then(|index| groups.get(index));
            is_below(name, &phase.config.freeze)
                || group.is_some_and(|group| group.is_frozen(Position { step, ..at }))
        };
        if parameters.parameters().iter().all(|p| is_frozen(&p.name)) {
            return Err(TrainError::config(
                format!("phases and `optimizer.groups` together freeze everything in step {step}"),
                "leave a part of the network free, or shorten `freeze_until`",
            ));
        }
    }
    Ok(())
}

/// Whether what is scheduled comes to its end within the run.
///
/// # Errors
/// One that does not is named with its length in steps.
pub(crate) fn check_lengths(prepared: &Prepared) -> Result<(), TrainError> {
    let plan = &prepared.plan;
    let (steps_per_epoch, total_steps) = (plan.steps_per_epoch, plan.total_steps);
    let at = Position { step: 0, steps_per_epoch, total_steps };
    let too_long = |span: &Span| span.steps(at) > total_steps as f64;
    match prepared.config.spans().into_iter().find(|(_, span)| too_long(span)) {
        None => Ok(()),
        Some((key, span)) => Err(TrainError::config(
            format!("`{key}` = {span} is {:.0} steps, longer than the run of {total_steps}", span.steps(at)),
            "shorten it, or train for longer; a number such as 0.5 is a fraction of the run",
        )),
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{MethodConfig, ModelConfig, PhaseConfig, PhasesConfig, SimsiamConfig};
    use tch::{Device, Kind};

    use super::*;
    use crate::method::{self, Task};

    fn checked(groups: Vec<GroupConfig>, phases: PhasesConfig) -> Result<(), (String, String)> {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
        let config = MethodConfig::Simsiam(SimsiamConfig::default()).for_proofs(&[]);
        let _ = method::build(
            &config,
            &ModelConfig::default(),
            &Task::of_classes([1, 32, 32], 3),
            &mut parameters,
        );
        let course = Course::new(&phases, 100, &[]).unwrap();
        let mut config = RunConfig { phases, ..RunConfig::default() };
        *config.optimizer.groups_mut() = groups;
        check(&config, &course, 10, &parameters).map_err(|e| (e.to_string(), e.hint().unwrap_or_default()))
    }

    fn group(name: &str, patterns: &[&str]) -> GroupConfig {
        let parameters = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        GroupConfig { name: name.into(), parameters, ..GroupConfig::default() }
    }

    #[test]
    fn a_pattern_without_parameters_is_refused_with_those_that_there_are() {
        let groups = || vec![group("bias", &["*.bias"]), group("predictor", &["predictor"])];
        assert_eq!(checked(groups(), PhasesConfig::default()), Ok(()));
        let (message, hint) =
            checked(vec![group("a", &["predictor", "predicter"])], PhasesConfig::default()).unwrap_err();
        assert_eq!(
            message,
            "group `a` of `optimizer.groups` names `predicter`, but no parameter's name begins with it"
        );
        assert_eq!(hint, "did you mean `predictor`? there are `backbone`, `projector` and `predictor`");
        let taken = vec![group("all", &["*"]), group("predictor", &["predictor"])];
        let (message, hint) = checked(taken, PhasesConfig::default()).unwrap_err();
        assert_eq!(
            message,
            "all parameters of group `predictor` belong to earlier groups of `optimizer.groups`"
        );
        assert!(hint.ends_with("put the narrower one first"), "{hint}");
    }

    #[test]
    fn a_step_in_which_everything_is_frozen_is_refused() {
        let frozen =
            |span| GroupConfig { freeze_until: Some(span), ..group("a", &["predictor", "projector"]) };
        let phase = |name: &str, freeze: &[&str]| PhaseConfig {
            name: name.into(),
            freeze: freeze.iter().map(|&part| part.into()).collect(),
            ..PhaseConfig::default()
        };
        let list = vec![phase("all", &[]), phase("head", &["backbone"])];
        let phases = PhasesConfig { enabled: true, fracs: vec![0.5, 0.5], list };
        assert_eq!(checked(vec![frozen(Span::Epochs(5.0))], phases.clone()), Ok(()));
        for span in [Span::Steps(51), Span::Epochs(5.5), Span::Fraction(0.6)] {
            let (message, _) = checked(vec![frozen(span)], phases.clone()).unwrap_err();
            assert_eq!(message, "phases and `optimizer.groups` together freeze everything in step 50");
        }
        let late = GroupConfig { freeze_from: Some(Span::Fraction(0.9)), ..group("all", &["*"]) };
        let (message, _) = checked(vec![late], PhasesConfig::default()).unwrap_err();
        assert!(message.ends_with("freeze everything in step 90"), "{message}");
    }
}
