//! What is said of stages and of early ends that cannot work.

use dtrain_configs::schema::{Auto, PhaseSchedule};
use dtrain_configs::{ComposeOptions, compose, load, to_yaml};

const ON: &str = "phases.enabled=true";

fn words(overrides: &[&str]) -> Vec<String> {
    overrides.iter().map(|&word| word.to_owned()).collect()
}

fn refused(overrides: &[&str]) -> String {
    compose(&words(overrides), &ComposeOptions::default()).unwrap_err().to_string()
}

#[test]
fn phases_are_read_and_written_back() {
    let typed = [
        ON,
        "phases.fracs=[0.5, 0.5]",
        "phases.list=[{name: probe, freeze: [backbone], losses: {supcon: 0.5}}, {name: all, steps: 7, schedule: restart}]",
        "stop.margin_secs=2.5",
    ];
    let config = compose(&words(&typed), &ComposeOptions::default()).unwrap().config;
    let [probe, all] = config.phases.list.as_slice() else { panic!("two phases") };
    assert_eq!((probe.freeze.as_slice(), probe.losses["supcon"]), (&["backbone".to_owned()][..], 0.5.into()));
    assert_eq!((all.steps, all.schedule, all.lr_scale), (Some(7), PhaseSchedule::Restart, 1.0));
    assert_eq!(config.stop.margin_secs, Auto::Value(2.5));

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, to_yaml(&config)).unwrap();
    assert_eq!(load(&path).unwrap(), config);
}

#[test]
fn a_key_that_a_phase_does_not_have() {
    insta::assert_snapshot!(refused(&["phases.list=[{name: a}, {name: b, freze: [backbone]}]"]), @r#"
        error: 1 problem in the configuration

        `phases.list[1]` has no `freze`
         --> override 1
          | phases.list=[{name: a}, {name: b, freze: [backbone]}]
          |                         ^
        hint: did you mean `freeze`? there are `name`, `steps`, `freeze`, `losses`, `values`, `lr_scale` and `schedule`
        "#);
}

#[test]
fn phases_that_cannot_work() {
    for (list, fracs, expected) in [
        ("[]", "[1.0]", "`phases.enabled` is true, but `phases.list` is empty"),
        (
            "[{name: a}, {name: b}]",
            "[1.0]",
            "`phases.fracs` has 1 fractions for the 2 phases of `phases.list`",
        ),
        ("[{name: a}, {name: b}]", "[0.5, 0.6]", "`phases.fracs` adds up to 1.1"),
        ("[{name: a}, {name: b}]", "[0, 0]", "`phases.fracs` is 0 for every phase without `steps`"),
        ("[{name: a}]", "[2]", "`phases.fracs` is a fraction from 0 to 1, not 2"),
        ("[{name: a}, {name: a}]", "[0.5, 0.5]", "`phases.list` has two phases `a`"),
        ("[{freeze: [x]}]", "[1]", "a phase of `phases.list` has no `name`"),
        ("[{name: a, steps: 0}]", "[1]", "phase `a` has 0 `steps`"),
        ("[{name: a, lr_scale: 0}]", "[1]", "`lr_scale` of phase `a` must be above 0 and finite, not 0"),
        ("[{name: a, freeze: ['']}]", "[1]", "`freeze` of phase `a` has an empty name"),
        (
            "[{name: a, losses: {ce: -1}}]",
            "[1]",
            "loss `ce` of phase `a` must have a factor of at least 0, not -1",
        ),
    ] {
        let text = refused(&[ON, &format!("phases.list={list}"), &format!("phases.fracs={fracs}")]);
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("1 problem"), "{text}");
    }
    // Fractions of phases with a number of steps count for nothing.
    for (list, fracs) in [("[{name: a, steps: 3}]", "[]"), ("[{name: a, steps: 3}, {name: b}]", "[0, 0.3]")] {
        let typed = [ON.to_owned(), format!("phases.list={list}"), format!("phases.fracs={fracs}")];
        assert!(compose(&typed, &ComposeOptions::default()).is_ok(), "{list}");
    }
}

#[test]
fn ends_that_cannot_come() {
    insta::assert_snapshot!(refused(&["stop.monitor=val/knn_top1", "eval.every_epochs=0"]), @r#"
        error: 1 problem in the configuration

        `stop.monitor` is `val/knn_top1`, but evaluation is off: `eval.every_epochs` = 0 and nothing would ever be judged
         --> override 1
          | stop.monitor=val/knn_top1
          |              ^^^^^^^^^^^^
         --> override 2
          | eval.every_epochs=0
          |                   ^
        hint: switch evaluation on, or `stop.monitor=null`
        "#);
    for (typed, expected) in [
        (["stop.patience=0", "seed=1"], "`stop.patience` must be from 1"),
        (["stop.min_delta=-1", "seed=1"], "`stop.min_delta` must be at least 0"),
        (["stop.time_limit_secs=0", "seed=1"], "`stop.time_limit_secs` must be above 0"),
        (
            ["stop.margin_secs=-1", "seed=1"],
            "`stop.margin_secs` must be `auto` or a number of at least 0, not `-1`",
        ),
        (["stop.margin_secs=.nan", "seed=1"], "`stop.margin_secs` must be `auto` or a number of at least 0"),
        (
            ["stop.margin_secs=60", "stop.time_limit_secs=60"],
            "`stop.margin_secs` = 60 leaves nothing of `stop.time_limit_secs` = 60",
        ),
    ] {
        let text = refused(&typed);
        assert!(text.contains(expected), "{text}");
    }
}
