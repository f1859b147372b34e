//! Numbers that change over the run and groups of parameters: how they are written, and what is said of those that cannot work.

use dtrain_configs::schema::{
    GroupSchedule, MethodConfig, OptimizerConfig, Position, ScheduleKind, Scheduled, Span, TeacherMomentum,
};
use dtrain_configs::{ComposeOptions, RunConfig, compose, load, to_yaml};

fn composed(overrides: &[&str]) -> Result<RunConfig, String> {
    let words: Vec<String> = overrides.iter().map(|&word| word.to_owned()).collect();
    let composition = compose(&words, &ComposeOptions::default());
    composition.map(|composition| composition.config).map_err(|errors| errors.to_string())
}

fn refused(overrides: &[&str]) -> String {
    composed(overrides).unwrap_err()
}

#[test]
fn schedules_and_groups_are_read_and_written_back() {
    let config = composed(&[
        "optimizer=adamw",
        "optimizer.weight_decay={from: 0.04, to: 0.4}",
        "optimizer.beta1={kind: linear, from: 0.85, to: 0.95, over: 10 epochs, warmup: 0.05}",
        "optimizer.groups=[{name: head, parameters: [projector], schedule: constant, weight_decay: 0}, \
         {name: first, parameters: [backbone.conv1, \"*.bias\"], lr: 0.1, \
         lr_scale: {kind: step, from: 1, gamma: 0.5, every: 100 steps}, freeze_until: 1 epoch, freeze_from: 0.9}]",
        "method=byol",
        "method.momentum=0.9",
        "phases.enabled=true",
        "phases.fracs=[1.0]",
        "phases.list=[{name: a, losses: {byol: {from: 1, to: 2}}, values: {momentum: 0.5}}]",
    ])
    .unwrap();
    let OptimizerConfig::Adamw(adamw) = &config.optimizer else { panic!("adamw") };
    assert_eq!(adamw.weight_decay, Scheduled::cosine(0.04, 0.4));
    let at = |step| Position { step, steps_per_epoch: 10, total_steps: 1000 };
    assert_eq!([49, 50, 100, 999].map(|step| adamw.beta1.at(at(step))), [0.85, 0.85, 0.95, 0.95]);
    let [head, first] = config.optimizer.groups() else { panic!("two groups") };
    assert_eq!((head.schedule, head.weight_decay), (GroupSchedule::Constant, Some(0.0.into())));
    assert_eq!((first.freeze_until, first.freeze_from), (Some(Span::Epochs(1.0)), Some(Span::Fraction(0.9))));
    assert_eq!([0, 99, 100, 250].map(|step| first.lr_scale.at(at(step))), [1.0, 1.0, 0.5, 0.25]);
    assert!(head.has_own_lr() && first.is_frozen(at(9)) && !first.is_frozen(at(10)));
    let MethodConfig::Byol(byol) = &config.method else { panic!("byol") };
    assert_eq!(byol.momentum, TeacherMomentum::rising_from(0.9));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, to_yaml(&config)).unwrap();
    assert_eq!(load(&path).unwrap(), config);
}

/// What runs of before have in their `config.yaml` still means the same.
#[test]
fn settings_of_before_mean_what_they_meant() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let before = to_yaml(&composed(&["method=byol", "optimizer=lars"]).unwrap());
    let without: String = before
        .lines()
        .filter(|line| !line.starts_with("  groups:"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(without.contains("\n  momentum: 0.99\n") && without.len() < before.len(), "{without}");
    std::fs::write(&path, without).unwrap();
    let config = load(&path).unwrap();
    assert_eq!(config.optimizer.groups(), []);
    assert_eq!(config.optimizer.momentum(), 0.9.into());
    let MethodConfig::Byol(byol) = config.method else { panic!("byol") };
    assert_eq!(byol.momentum, TeacherMomentum::rising_from(0.99));
}

#[test]
fn a_learning_rate_may_fall_along_a_line() {
    assert_eq!(composed(&["schedule=linear"]).unwrap().schedule.kind, ScheduleKind::Linear);
}

#[test]
fn simsiam_keeps_the_rate_of_its_predictor() {
    for experiment in ["experiment=simsiam_birdsong", "experiment=simsiam_fsdd"] {
        let config = composed(&[experiment]).unwrap();
        let [group] = config.optimizer.groups() else { panic!("one group") };
        assert_eq!(group.parameters, ["predictor"]);
        assert_eq!((group.schedule, group.lr), (GroupSchedule::Constant, None));
        assert_eq!(composed(&[experiment, "~optimizer.groups"]).unwrap().optimizer.groups(), []);
    }
}

#[test]
fn schedules_that_cannot_work() {
    for (words, expected) in [
        (
            &["optimizer.weight_decay=fast"][..],
            "`optimizer.weight_decay` must be a number, or a schedule such as `{from: 0.04, to: 0.4, kind: cosine}`, not",
        ),
        (
            &["optimizer.weight_decay={from: 0.1}"],
            "`optimizer.weight_decay` is a schedule with `kind: cosine` without `to`, its last value",
        ),
        (&["optimizer.weight_decay={from: 0.1, to: 1, til: 1}"], "`optimizer.weight_decay` has no `til`"),
        (
            &["optimizer.weight_decay={from: 0.1, to: -1}"],
            "`optimizer.weight_decay` must be at least 0 and finite, not -1",
        ),
        (
            &["optimizer=sgd", "optimizer.momentum={from: 0.5, to: 1}"],
            "`optimizer.momentum` must be at least 0 and below 1, not 1",
        ),
        (
            &["optimizer.weight_decay={from: 0.1, to: 1, over: 20}"],
            "must be a stretch of the run, `500 steps`, `10 epochs`, or a fraction of it above 0 and up to 1",
        ),
        (
            &["optimizer.weight_decay={from: 0.1, to: 1, over: 30 epochs}", "trainer.max_epochs=20"],
            "`optimizer.weight_decay.over` = 30 epochs is longer than the run, `trainer.max_epochs` = 20",
        ),
        (
            &["optimizer.weight_decay={from: 0.1, to: 1, warmup: 9 steps}", "trainer.max_steps=8"],
            "`optimizer.weight_decay.warmup` = 9 steps is longer than the run, `trainer.max_steps` = 8",
        ),
        (&["method=byol", "method.momentum=1.5"], "`method.momentum` must be from 0 to 1, not 1.5"),
        (
            &["method=byol", "method.momentum=1"],
            "`method.momentum` begins at 1: the teacher would stay as it begins",
        ),
        (
            &["method=byol", "phases.list=[{name: a, values: {momentum: 2}}]"],
            "`values.momentum` of phase `a` must be from 0 to 1, not 2",
        ),
        (
            &["method=byol", "phases.list=[{name: a, values: {moment: 0.5}}]"],
            "phase `a` sets a value `moment`, which the method does not have",
        ),
        (
            &["method=simsiam", "phases.list=[{name: a, values: {momentum: 0.5}}]"],
            "phase `a` sets a value `momentum`, which the method does not have",
        ),
        (
            &["phases.list=[{name: a, losses: {x: {from: 1, to: -1}}}]"],
            "loss `x` of phase `a` must have a factor of at least 0, not -1",
        ),
    ] {
        let message = refused(words);
        assert!(message.contains(expected), "{words:?}: {message}");
        assert!(message.starts_with("error: 1 problem"), "{words:?}: {message}");
    }
}

#[test]
fn groups_that_cannot_work() {
    for (groups, expected) in [
        ("[{parameters: [a]}]", "a group of `optimizer.groups` has no `name`"),
        ("[{name: a/b, parameters: [a]}]", "a group of `optimizer.groups` cannot be called `a/b`"),
        ("[{name: a}]", "group `a` of `optimizer.groups` names no `parameters`"),
        ("[{name: a, parameters: [x]}, {name: a, parameters: [y]}]", "`optimizer.groups` has two groups `a`"),
        ("[{name: a, parameters: [x], lr: 0}]", "`lr` of group `a` must be above 0 and finite, not 0"),
        (
            "[{name: a, parameters: [x], lr_scale: {from: 1, to: -1}}]",
            "`lr_scale` of group `a` must be at least 0 and finite, not -1",
        ),
        (
            "[{name: a, parameters: [x], weight_decay: -1}]",
            "`weight_decay` of group `a` must be at least 0 and finite, not -1",
        ),
        (
            "[{name: a, parameters: [x], momentum: 1}]",
            "`momentum` of group `a` must be at least 0 and below 1, not 1",
        ),
        (
            "[{name: a, parameters: [x], freeze_until: 50 epochs}]",
            "`optimizer.groups[0].freeze_until` = 50 epochs is longer than the run",
        ),
        ("[{name: a, parameters: [x], schedule: never}]", "`optimizer.groups[0]"),
    ] {
        let message = refused(&[&format!("optimizer.groups={groups}")]);
        assert!(message.contains(expected), "{groups}: {message}");
    }
    insta::assert_snapshot!(refused(&["optimizer.groups=[{name: a, paramters: [predictor]}]"]), @r#"
        error: 1 problem in the configuration

        `optimizer.groups[0]` has no `paramters`
         --> override 1
          | optimizer.groups=[{name: a, paramters: [predictor]}]
          |                   ^
        hint: did you mean `parameters`? there are `name`, `parameters`, `lr`, `lr_scale`, `schedule`, `weight_decay`, `momentum`, `freeze_until` and `freeze_from`
        "#);
}
