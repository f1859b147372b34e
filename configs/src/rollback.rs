//! The settings of a run that an alarm has taken back: those of before with `alarms.rollback_set` over them. Whether they fit is
//! known before the first step.

use crate::composer::Composer;
use crate::error::{ConfigErrors, Problem};
use crate::flat::flat_settings;
use crate::origins::Origins;
use crate::schema::RunConfig;
use crate::serialize::to_node;
use crate::source::printable;

/// The settings that a run goes on with where it goes back. What was `rollback` is `stop` in them, since it does so once.
///
/// # Errors
/// Words of `alarms.rollback_set` that are no settings, do not fit, or would make another run.
pub fn after_rollback(config: &RunConfig) -> Result<RunConfig, ConfigErrors> {
    let words = config.alarms.rollback_set.clone();
    let mut before = config.clone();
    before.alarms.forget_rollback();
    let mut composer = Composer::new(&words);
    if let Some(over) = composer.overrides.iter().find(|over| over.choice().is_some()) {
        let problem =
            Problem::new(format!("`{}` chooses a group and sets no value", printable(&over.key, 60)));
        composer.problems.push(problem.hint("name single settings, such as `optimizer.lr=0.0003`"));
    }
    composer.tree = to_node(&before);
    composer.apply_values();
    let (after, _) = composer.finish()?;
    let (was, now) = (flat_settings(&before), flat_settings(&after));
    let changed: Vec<&String> =
        was.keys().chain(now.keys()).filter(|key| was.get(*key) != now.get(*key)).collect();
    if changed.is_empty() {
        let problem = Problem::new("it changes nothing, so that the run would go the same way again");
        return Err(problem.hint("name a setting and another value than the run has").into());
    }
    match changed.into_iter().find(|key| !before.may_change_at_a_rollback(key)) {
        Some(key) => {
            let problem = Problem::new(format!("`{key}` cannot change in the middle of a run"));
            let hint = "what may: `optimizer`, `schedule`, `augment`, `trainer.grad_clip`, and what a method schedules, such as a \
                        temperature; another network or other data are a new run";
            Err(problem.hint(hint).into())
        }
        None => Ok(after),
    }
}

/// Whether a run can go back as `alarms.rollback_set` says, if an alarm asks it to.
///
/// # Errors
/// Those of [`after_rollback`], at the place where it was written.
pub(crate) fn check(config: &RunConfig, origins: &Origins) -> Result<(), ConfigErrors> {
    if config.alarms.rolling_back().next().is_none() || config.alarms.rollback_set.is_empty() {
        return Ok(());
    }
    let place = origins.place("alarms.rollback_set");
    let Err(errors) = after_rollback(config) else { return Ok(()) };
    let here = |problem: Problem| {
        Problem::new(format!("`alarms.rollback_set`: {}", problem.message)).maybe_hint(problem.hint).at(place)
    };
    Err(ConfigErrors { problems: errors.problems.into_iter().map(here).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ComposeOptions, compose};

    fn composed(words: &[&str]) -> Result<RunConfig, String> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        compose(&words, &ComposeOptions::default()).map(|composition| composition.config).map_err(|errors| {
            errors
                .problems
                .iter()
                .map(|p| format!("{} | {}\n", p.message, p.hint.clone().unwrap_or_default()))
                .collect()
        })
    }

    #[test]
    fn the_words_lie_over_the_settings_and_the_alarm_stops_from_there_on() {
        let config = composed(&[
            "alarms.on.uniformity=rollback",
            "alarms.rollback_set=[optimizer.lr=0.25, method.temperature=0.5, schedule.warmup_epochs=2]",
        ])
        .unwrap();
        let after = after_rollback(&config).unwrap();
        let flat = flat_settings(&after);
        for (key, value) in [
            ("optimizer.lr", serde_json::json!(0.25)),
            ("method.temperature", serde_json::json!(0.5)),
            ("alarms.on.uniformity", serde_json::json!("stop")),
            ("alarms.on.embedding_std", serde_json::json!("warn")),
            ("alarms.rollback_set", serde_json::json!([])),
        ] {
            assert_eq!(flat[key], value, "{key}");
        }
        let mut same = after;
        same.optimizer = config.optimizer.clone();
        same.method = config.method.clone();
        same.schedule = config.schedule.clone();
        same.alarms = config.alarms.clone();
        assert_eq!(same, config, "nothing else changes");
    }

    #[test]
    fn what_cannot_be_is_told_before_the_first_step() {
        let says = |set: &str| {
            let set = format!("alarms.rollback_set={set}");
            composed(&["alarms.on.uniformity=rollback", &set]).unwrap_err()
        };
        let sets = [
            "[]",
            "[optimizer.lrr=1]",
            "[optimizer.lr=-1]",
            "[optimizer=sgd]",
            "[trainer.batch_size=64]",
            "[optimizer.lr=0.003]",
            "[lr]",
        ];
        insta::assert_snapshot!(sets.map(says).join(""), @r"
        `alarms.on.uniformity` is `rollback`, but `alarms.rollback_set` changes nothing: the run would go the same way again | say what is done otherwise, such as `alarms.rollback_set=[optimizer.lr=0.0003]`
        `alarms.rollback_set`: `optimizer.lrr` is not a setting | did you mean `optimizer.lr` (now 0.003, default 0.001)?
        `alarms.rollback_set`: `optimizer.lr` must be above 0 and finite, not -1 | 
        `alarms.rollback_set`: `optimizer` chooses a group and sets no value | name single settings, such as `optimizer.lr=0.0003`
        `alarms.rollback_set`: `trainer.batch_size` cannot change in the middle of a run | what may: `optimizer`, `schedule`, `augment`, `trainer.grad_clip`, and what a method schedules, such as a temperature; another network or other data are a new run
        `alarms.rollback_set`: it changes nothing, so that the run would go the same way again | name a setting and another value than the run has
        `alarms.rollback_set`: `lr` has no value | write `lr=value`
        ");
        let unused = composed(&["alarms.rollback_set=[nonsense]"]);
        assert!(unused.is_ok(), "nothing goes back: {unused:?}");
        let never = composed(&[
            "alarms.on.uniformity=rollback",
            "alarms.rollback_set=[optimizer.lr=0.1]",
            "checkpoint.every_steps=0",
        ]);
        assert!(never.unwrap_err().contains("nothing is saved"));
    }
}
