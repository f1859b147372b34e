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

/// A weight decay that grows until batch norm's running statistics no longer describe the network: a real collapse of the embedding
/// after two healthy epochs, which the training loss does not show.
fn collapsing(dir: &str) -> Vec<String> {
    let mut all = alarmed(&[
        "trainer.max_epochs=10",
        "optimizer=adamw",
        "schedule=constant",
        "optimizer.lr=0.01",
        "optimizer.weight_decay={from: 0, to: 50, kind: linear, over: 8 epochs}",
        "alarms.max_uniformity=0",
        "alarms.on.embedding_std=rollback",
        "alarms.rollback_set=[optimizer.weight_decay=0.01]",
        "checkpoint.keep_last=1",
    ]);
    all.push(format!("run.dir={dir}"));
    all
}

#[test]
fn a_run_that_collapses_goes_back_and_does_not_collapse_again() {
    let sandbox = with_recordings(10);
    let finished = sandbox.dtrain(collapsing("run")).ranks(2).finish().succeeded();
    let read = |file: &str| std::fs::read_to_string(sandbox.join("run").join(file)).unwrap();
    let rollback: serde_json::Value = serde_json::from_str(&read("rollback.json")).unwrap();
    let step = |of: &str| rollback[of].as_u64().unwrap();
    // In which epoch it collapses depends on rounding.
    let (since, from, to) = (step("since"), step("from_step"), step("to_step"));
    assert_eq!((since - to, from - since), (4, 4), "saved and judged at each end of an epoch: {rollback}");
    finished
        .says_once(&format!("alarm `embedding_std`, evidence since step {since}: `val/embedding_std` is"))
        .says_once(&format!(
            "goes back to its checkpoint of step {to} and on from there with `optimizer.weight_decay=0.01`"
        ))
        .says(&format!("from step {from} to step {to}  (alarm `embedding_std`, evidence since step {since})"))
        .says("optimizer.weight_decay = 0.01  (was null; an alarm has taken the run back)")
        .says_once("finished after 40 steps");
    let run = sandbox.run("run");
    let std = run.series("val/embedding_std");
    assert_eq!(std.len(), 10, "each evaluation once: {std:?}");
    assert!(std.iter().filter(|(step, _)| *step > to).all(|(_, std)| *std > 0.01), "{std:?}");
    assert!(run.series("alarm/embedding_std").is_empty());
    // What was is kept, and written down.
    assert!(read("rolled_back/metrics.jsonl").contains("\"alarm/embedding_std\":1"));
    assert!(sandbox.join(format!("run/rolled_back/step-{since:08}/model.safetensors")).exists());
    let history = read("history.jsonl");
    let starts: Vec<serde_json::Value> =
        history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(starts.len(), 2);
    assert_eq!((&starts[1]["step"], &starts[1]["rolled_back"]["from_step"]), (&to.into(), &from.into()));
    assert!(starts[0].get("rolled_back").is_none());

    // Killed after it went back, and started by the command that it was started by: the same weights.
    let mut running = sandbox.dtrain(collapsing("killed")).ranks(2).start();
    let killed = sandbox.run("killed");
    running.wait_until("steps after the way back", || {
        let evaluated = killed.series("val/embedding_std").last().map(|(step, _)| *step);
        sandbox.join("killed/rolled_back/metrics.jsonl").exists() && evaluated > Some(to)
    });
    running.kill();
    sandbox.dtrain(collapsing("killed")).ranks(2).finish().succeeded();
    let weights = |dir: &str| {
        std::fs::read(sandbox.join(dir).join("checkpoints/step-00000040/model.safetensors")).unwrap()
    };
    assert!(weights("run") == weights("killed"), "other weights after a kill");
    // It does so once.
    let again = ["resume", "run", "trainer.max_epochs=11", "alarms.min_embedding_std=1"];
    sandbox.dtrain(again).ranks(2).finish().succeeded().does_not_say("goes back");
}

/// One checkpoint an epoch, and the evidence begins before the first.
#[test]
fn without_a_healthy_checkpoint_the_run_ends_and_says_so() {
    let sandbox = with_recordings(10);
    let late = [
        "alarms.on.uniformity=rollback",
        "alarms.rollback_set=[optimizer.lr=0.01]",
        "checkpoint.every_steps=5",
    ];
    let finished = sandbox.dtrain(alarmed(&late)).ranks(2).finish().succeeded();
    finished
        .says_once("`alarms.on.uniformity=rollback` has no checkpoint from before to go back to")
        .says_once("alarm after 8 steps");
    assert!(!sandbox.join("run/rolled_back").exists());
}
