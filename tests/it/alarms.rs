//! Alarms of whole programs: what is told, what is written down, and a run that one of them ends.

use crate::small_runs::{settings, with_recordings};

/// 30 recordings, 6 of them held out: four steps an epoch, evaluated after each. No embedding is more uniform than -4.
fn alarmed(more: &[&str]) -> Vec<String> {
    let mut all = vec![
        "run.dir=run",
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=4",
        "alarms.max_uniformity=-4",
    ];
    all.extend(more);
    settings("supervised", &all)
}

#[test]
fn an_alarm_is_told_once_with_evidence_and_remedies_and_written_down() {
    let sandbox = with_recordings(10);
    let finished = sandbox.dtrain(alarmed(&[])).ranks(2).finish().succeeded();
    finished
        .says_once("alarm `uniformity`, evidence since step 4: `val/uniformity` is")
        .says("more epochs, other augmentations and another linear probe will not help")
        .says("`alarms.on.uniformity=ignore` silences this")
        .says_once("finished after 16 steps");
    let run = sandbox.run("run");
    assert_eq!(run.series("alarm/uniformity"), [(8, 1.0)]);
    let result = run.result();
    let alarm = &result["alarms"][0];
    assert_eq!(
        (&alarm["name"], &alarm["step"], &alarm["since"]),
        (&"uniformity".into(), &8.into(), &4.into())
    );
    for name in ["embedding_std", "effective_rank", "alignment", "uniformity"] {
        assert_eq!(run.series(&format!("val/{name}")).len(), 4, "{name}");
    }
}

#[test]
fn an_alarm_that_stops_ends_the_run_until_it_is_told_otherwise() {
    let sandbox = with_recordings(10);
    let stop = ["alarms.on.uniformity=stop", "checkpoint.every_steps=1"];
    let finished = sandbox.dtrain(alarmed(&stop)).ranks(2).finish().succeeded();
    finished.says_once("the run ends, as `alarms.on.uniformity=stop` asks").says_once("alarm after 8 steps");
    let run = sandbox.run("run");
    assert_eq!(run.result()["stop_reason"], "alarm");
    assert!(run.result()["metrics"].get("val/linear_top1").is_some(), "the last evaluation has all probes");
    assert_eq!(run.latest_step(), Some(8));
    sandbox.dtrain(["resume", "run"]).finish().succeeded().says_once("alarm after 8 steps");
    let on = sandbox.dtrain(["resume", "run", "alarms.on.uniformity=warn"]).finish().succeeded();
    on.says_once("finished after 16 steps").does_not_say("evidence since");
}

/// A run that is killed between two evaluations knows the evidence of the first.
#[test]
fn evidence_survives_a_resume() {
    let sandbox = with_recordings(10);
    let stop = ["alarms.on.uniformity=stop", "alarms.patience=3", "checkpoint.every_steps=1"];
    let run = sandbox.run("run");
    let mut running = sandbox.dtrain(alarmed(&stop)).start();
    running.wait_until("two evaluations", || run.series("val/uniformity").len() >= 2);
    running.kill();
    assert!(run.latest_step() < Some(12));
    let finished = sandbox.dtrain(alarmed(&stop)).finish().succeeded();
    finished.says_once("evidence since step 4").says_once("alarm after 12 steps");
}

#[test]
fn a_metric_without_labels_stops_a_run() {
    let sandbox = with_recordings(10);
    let stop = [
        "stop.monitor=val/effective_rank",
        "stop.patience=1",
        "stop.min_delta=0.1",
        "optimizer.lr=1e-12",
        "model.norm=group",
        "alarms.enabled=false",
    ];
    let finished = sandbox.dtrain(alarmed(&stop)).finish().succeeded();
    finished.says_once("early_stopped after 8 steps").does_not_say("alarm `");
}
