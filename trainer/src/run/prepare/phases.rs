//! The settings of phases against the network: names of losses and parts are checked before the first step.

use dtrain_configs::RunConfig;
use dtrain_configs::choice_hint;
use dtrain_configs::schema::{PhaseConfig, Position};

use crate::coordinator::{Course, Phase};
use crate::engine::{loss_weights, phase_position};
use crate::error::TrainError;
use crate::method::Method;
use crate::model::freeze::is_below;
use crate::model::parameters::Parameters;

/// Whether the stages mean something for this network and a run of this course.
///
/// # Errors
/// A phase names a loss or a part that there is not, or trains nothing.
pub(super) fn check(
    config: &RunConfig,
    course: &Course,
    steps_per_epoch: u64,
    method: &dyn Method,
    parameters: &Parameters,
) -> Result<(), TrainError> {
    if config.phases.enabled {
        let leg = course.last();
        for phase in leg.phases.iter() {
            check_losses(phase, leg.total_steps, steps_per_epoch, method)?;
            check_parts(&phase.config, parameters)?;
        }
    }
    Ok(())
}

fn check_losses(
    Phase { config: phase, steps }: &Phase,
    total_steps: u64,
    steps_per_epoch: u64,
    method: &dyn Method,
) -> Result<(), TrainError> {
    let (name, names) = (&phase.name, method.loss_names());
    if let Some(unknown) = phase.losses.keys().find(|loss| !names.contains(loss)) {
        return Err(TrainError::config(
            format!("phase `{name}` weighs a loss `{unknown}`, which the method does not have"),
            choice_hint(unknown, names.iter().map(String::as_str)),
        ));
    }
    let are_off = |step| {
        let at = phase_position(phase, steps, Position { step, steps_per_epoch, total_steps });
        loss_weights(phase, method, at).iter().all(|weight| *weight == 0.0)
    };
    if phase.losses.values().all(|weight| weight.constant().is_some()) {
        if are_off(steps.start) {
            return Err(TrainError::config(
                format!("phase `{name}` switches every loss off"),
                "leave one of them on, or leave the phase out",
            ));
        }
    } else if let Some(step) = steps.clone().find(|step| are_off(*step)) {
        return Err(TrainError::config(
            format!("phase `{name}` switches every loss off in step {step}"),
            "let one of the schedules in `losses` begin or end above 0",
        ));
    }
    Ok(())
}

fn check_parts(phase: &PhaseConfig, parameters: &Parameters) -> Result<(), TrainError> {
    let name = &phase.name;
    let is_frozen = |prefixes: &[String]| {
        parameters.parameters().iter().map(|p| is_below(&p.name, prefixes)).collect::<Vec<bool>>()
    };
    for prefix in &phase.freeze {
        let one = std::slice::from_ref(prefix);
        if !is_frozen(one).contains(&true) && !parameters.has_switch(one) {
            let parts = parts_like(parameters, prefix);
            return Err(TrainError::config(
                format!("phase `{name}` freezes `{prefix}`, but no parameter's name begins with it"),
                choice_hint(prefix, parts.iter().map(String::as_str)),
            ));
        }
    }
    if !is_frozen(&phase.freeze).contains(&false) {
        return Err(TrainError::config(
            format!("phase `{name}` freezes everything"),
            "leave a part of the network free, or leave the phase out",
        ));
    }
    Ok(())
}

/// What could have been meant: beginnings of names with as many words as `prefix`, without repeats.
pub(super) fn parts_like(parameters: &Parameters, prefix: &str) -> Vec<String> {
    let words = prefix.split('.').count();
    let mut parts: Vec<String> = Vec::new();
    for parameter in parameters.parameters() {
        let part: Vec<&str> = parameter.name.split('.').take(words).collect();
        let part = part.join(".");
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{MethodConfig, ModelConfig, PhasesConfig, Scheduled, SupervisedConfig};
    use tch::{Device, Kind};

    use super::*;
    use crate::method::{self, Task};

    fn refused(phase: PhaseConfig) -> (String, String) {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
        let model = ModelConfig::named("resnet18").unwrap();
        let config = MethodConfig::Supervised(SupervisedConfig::default());
        let method = method::build(&config, &model, &Task::of_classes([1, 32, 32], 3), &mut parameters);
        let phases = PhasesConfig {
            enabled: true,
            fracs: vec![1.0],
            list: vec![PhaseConfig { name: "a".into(), ..phase }],
        };
        let course = Course::new(&phases, 10, &[]).unwrap();
        let config = RunConfig { phases, ..RunConfig::default() };
        let error = check(&config, &course, 5, &*method, &parameters).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    }

    fn freezing(names: &[&str]) -> PhaseConfig {
        PhaseConfig { freeze: names.iter().map(|&name| name.into()).collect(), ..PhaseConfig::default() }
    }

    fn weighing(loss: &str, weight: impl Into<Scheduled>) -> PhaseConfig {
        PhaseConfig { losses: [(loss.to_owned(), weight.into())].into(), ..PhaseConfig::default() }
    }

    #[test]
    fn names_that_do_not_exist_are_refused_with_what_was_probably_meant() {
        let (message, hint) = refused(freezing(&["backbon"]));
        assert_eq!(message, "phase `a` freezes `backbon`, but no parameter's name begins with it");
        assert_eq!(hint, "did you mean `backbone`? there are `backbone` and `classifier`");
        let (_, hint) = refused(freezing(&["classifier", "backbone.layer5"]));
        assert!(hint.starts_with("did you mean `backbone.layer1`? there are `backbone.conv1`, "), "{hint}");
        let (message, hint) = refused(weighing("crossentropy", 0.5));
        assert_eq!(message, "phase `a` weighs a loss `crossentropy`, which the method does not have");
        assert_eq!(hint, "did you mean `cross_entropy`? there are `cross_entropy`");
    }

    #[test]
    fn a_phase_that_trains_nothing_is_refused() {
        assert_eq!(refused(freezing(&["backbone", "classifier"])).0, "phase `a` freezes everything");
        assert_eq!(refused(weighing("cross_entropy", 0.0)).0, "phase `a` switches every loss off");
        let rising = weighing("cross_entropy", Scheduled::linear(0.0, 1.0));
        assert_eq!(refused(rising).0, "phase `a` switches every loss off in step 0");
    }
}
