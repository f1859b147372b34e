use super::*;

fn study(text: &str) -> Result<Study, String> {
    Study::of_text(text, "test.yaml").map_err(|errors| errors.to_string())
}

#[test]
fn a_study_in_stages_is_read() {
    let study = study(
        "settings: [experiment=supcon_fsdd]\noptimize: val/acc\ndirection: max\nstages:\n  - name: lr\n    \
         grid: {optimizer.lr: [0.1, 0.01]}\n    seeds: 2\n    trial_name: lr{optimizer.lr}_{seed}\n  \
         - name: decay\n    settings: {trainer.max_epochs: 5}\n    take: {optimizer.lr: lr}\n    \
         search:\n      trials: 3\n      space: {optimizer.weight_decay: \"log_uniform(1e-4, 1e-1)\"}\n    asha: true\n",
    )
    .unwrap();
    assert_eq!(study.settings, ["experiment=supcon_fsdd"]);
    assert_eq!(study.direction, Some(MonitorMode::Max));
    let [lr, decay] = study.stages.as_slice() else { panic!() };
    assert_eq!(lr.combinations().len(), 4);
    assert_eq!(decay.settings, ["trainer.max_epochs=5"]);
    assert_eq!(decay.combinations().len(), 3);
    assert_eq!(decay.halving, Some(Halving::default()));
    assert_eq!(decay.take, [Take { key: "optimizer.lr".into(), stage: "lr".into(), folder: false }]);
}

#[test]
fn a_file_may_be_a_single_stage() {
    let study = study("settings: {seed: 1}\nruns: [[a.b=1, c=2], {a.b: 3}]\n").unwrap();
    assert_eq!((study.settings.len(), study.stages.len()), (1, 1));
    assert_eq!(study.stages[0].name, ONLY_STAGE);
    let words: Vec<Vec<String>> =
        study.stages[0].combinations().iter().map(|found| found.words().collect()).collect();
    assert_eq!(words, [vec!["a.b=1", "c=2"], vec!["a.b=3"]]);
}

#[test]
fn mistakes_are_told_all_at_once_with_their_places() {
    let errors = study("grdi: {a: [1]}\nseeds: many\ndirection: up\n").unwrap_err();
    insta::assert_snapshot!(errors, @r"
    error: 3 problems in the configuration

    a study has no key `grdi`
     --> builtin test.yaml:1:1
      | grdi: {a: [1]}
      | ^^^^
    hint: did you mean `grid`? there are `settings`, `optimize`, `direction`, `stages`, `grid`, `runs`, `search`, `seeds`, `when`, `take`, `trial_name` and `asha`

    `seeds` is `many`, not a whole number
     --> builtin test.yaml:2:8
      | seeds: many
      |        ^^^^
    hint: write digits alone

    `direction` is `up`
     --> builtin test.yaml:3:12
      | direction: up
      |            ^^
    hint: write `max` or `min`
    ");
}

#[test]
fn stages_that_contradict_each_other_are_refused() {
    for (text, word) in [
        ("grid: {a: []}", "`a` has no values"),
        ("grid: {a: [1], b: {c: 1}}", "`b` is a section"),
        ("grid: {a: 'uniform(0,1)'}", "there is no search"),
        ("search: {space: {a: [1]}}", "no range of numbers"),
        ("search: {trials: 0, space: {a: 'uniform(0,1)'}}", "has no trials"),
        ("grid: {a: [1, 2]}\nruns: [[a=3]]", "varies in two places"),
        ("grid: {a: [1, 2]}\nwhen: {a: {b: 1}}", "names `b`, which does not vary"),
        ("grid: {a: [1], b: [2]}\nwhen: {a: {b: 3}}", "`b` is never `3`"),
        ("grid: {seed: range(1000), a: range(1000)}", "more than 100000 trials"),
        ("stages: []", "has no stage"),
        ("stages: [{name: a}, {name: a}]", "two stages are called `a`"),
        ("stages: [{name: a, grid: {x: [1]}}, {name: b, take: {y: a}}]", "where it does not vary"),
        ("stages: [{name: a, take: {y: b}}]", "which is no earlier stage"),
        ("stages: [{name: a, grid: {x: [1]}}, {name: b, take: {x: a}, grid: {x: [1]}}]", "both varies"),
        ("stages: [{name: 'a b'}]", "not a word"),
        ("trial_name: '{x'", "not closed"),
        ("asha: {reduction: 1}", "`reduction` is 1"),
        ("asha: {first: 2}", "`first` is"),
    ] {
        let message = study(text).unwrap_err();
        assert!(message.contains(word), "{text}: {message}");
    }
}

#[test]
fn words_of_a_command_line_are_one_stage() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let study =
        |text: &str, trials| Study::from_words(&words(text), trials, 0).map_err(|errors| errors.to_string());
    let found = study("experiment=x optimizer.lr=uniform(0,1) seed=1,2", None).unwrap();
    assert_eq!(found.settings, ["experiment=x"]);
    assert_eq!(found.stages[0].combinations().len(), 32);
    assert_eq!(study("seed=1", None).unwrap().stages[0].combinations().len(), 1);
    for (text, trials, word) in [
        ("seed=1,2", Some(5), "no setting is drawn"),
        ("seed=range(0)", None, "is empty"),
        ("seed=1,2 seed=3,4", None, "varies twice"),
        ("+seed=1,2", None, "both adds a key and varies"),
    ] {
        let message = study(text, trials).unwrap_err();
        assert!(message.contains(word), "{text}: {message}");
    }
}
