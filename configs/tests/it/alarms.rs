//! What is said of alarms that cannot be.

use dtrain_configs::schema::{Alarm, AlarmAction};
use dtrain_configs::{ComposeOptions, compose, load, to_yaml};

fn words(overrides: &[&str]) -> Vec<String> {
    overrides.iter().map(|&word| word.to_owned()).collect()
}

fn refused(overrides: &[&str]) -> String {
    compose(&words(overrides), &ComposeOptions::default()).unwrap_err().to_string()
}

#[test]
fn actions_and_thresholds_are_read_and_written_back() {
    let typed = ["alarms.on.recording_shortcut=stop", "alarms.on.uniformity=ignore", "alarms.patience=3"];
    let config = compose(&words(&typed), &ComposeOptions::default()).unwrap().config;
    let actions = [Alarm::RecordingShortcut, Alarm::Uniformity, Alarm::LinearGap];
    let expected = [AlarmAction::Stop, AlarmAction::Ignore, AlarmAction::Warn];
    assert_eq!(actions.map(|alarm| config.alarms.action(alarm)), expected);
    assert_eq!((config.alarms.patience(Alarm::Uniformity), config.alarms.patience(Alarm::LinearGap)), (3, 1));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, to_yaml(&config)).unwrap();
    assert_eq!(load(&file).unwrap().alarms, config.alarms);
}

#[test]
fn what_is_no_alarm_and_no_action_has_a_hint() {
    insta::assert_snapshot!(refused(&["alarms.on.effective_ranks=stop", "alarms.on.linear_gap=halt"]), @r"
    error: 2 problems in the configuration

    `alarms.on.effective_ranks` is not a setting
     --> override 1
      | alarms.on.effective_ranks=stop
      | ^^^^^^^^^^^^^^^^^^^^^^^^^
    hint: did you mean `alarms.on.effective_rank` (default warn)?

    `alarms.on.linear_gap` has no choice `halt`
     --> override 2
      | alarms.on.linear_gap=halt
      |                      ^^^^
    hint: there are `ignore`, `warn`, `stop` and `rollback`
    ");
    insta::assert_snapshot!(refused(&["alarms.max_uniformity=1", "alarms.loss_margin=0.7"]), @r"
    error: 2 problems in the configuration

    `alarms.max_uniformity` lies between -4 and 0, not 1
     --> override 1
      | alarms.max_uniformity=1
      |                       ^
    hint: 0 is a single point, -4 is uniform on a sphere of many dimensions

    `alarms.loss_margin` must be at least 0 and below 0.5, not 0.7
     --> override 2
      | alarms.loss_margin=0.7
      |                    ^^^
    hint: it is a margin at both ends of a range
    ");
    assert!(refused(&["alarms.patience=0"]).contains("`alarms.patience` must be from 1"));
    insta::assert_snapshot!(refused(&["alarms.on.uniformity=stop", "eval.every_epochs=0"]), @r"
    error: 1 problem in the configuration

    `alarms.on.uniformity` is `stop`, but evaluation is off: `eval.every_epochs` = 0 and nothing would ever be judged
     --> override 1
      | alarms.on.uniformity=stop
      |                      ^^^^
     --> override 2
      | eval.every_epochs=0
      |                   ^
    hint: switch evaluation on, or leave the alarm at `warn`
    ");
    // The loss is logged without evaluations.
    let config = words(&["alarms.on.loss_at_chance=stop", "eval.every_epochs=0"]);
    assert!(compose(&config, &ComposeOptions::default()).is_ok());
}
