//! A run that is stopped and resumed ends as the one that was not: the same weights, moments and metrics bit for bit,
//! nothing recorded twice, nothing lost.

use dtrain_tests::{Finished, RunFiles, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// 36 recordings in batches of 8: five steps an epoch, the last one of 4. The runs end within the fifth epoch.
const STEPS: u64 = 22;

fn steps(run: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir={run}");
    let max_steps = format!("trainer.max_steps={STEPS}");
    let mut all = vec![dir.as_str(), "trainer.batch_size=8", max_steps.as_str()];
    all.extend(more);
    settings("simclr", &all)
}

/// The same metrics for the same steps; times differ.
#[track_caller]
fn assert_same_history(resumed: &RunFiles, whole: &RunFiles) {
    let steps = |run: &RunFiles| run.metrics().iter().map(|line| line.step).collect::<Vec<u64>>();
    assert_eq!(steps(whole), (1..=STEPS).collect::<Vec<u64>>());
    assert_eq!(steps(resumed), steps(whole));
    for (a, b) in resumed.metrics().iter().zip(whole.metrics()) {
        for (name, value) in &b.values {
            if !name.starts_with("perf/") && name != "wall_s" {
                assert_eq!(a.values.get(name), Some(value), "{name} at step {}", b.step);
            }
        }
    }
}

#[track_caller]
fn assert_same_end(resumed: &RunFiles, whole: &RunFiles) {
    assert_same_history(resumed, whole);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(resumed.newest(file) == whole.newest(file), "{file} differs");
    }
    for key in ["samples_seen", "step", "epoch"] {
        assert_eq!(resumed.result_count(key), whole.result_count(key), "{key}");
    }
    assert_eq!(resumed.result()["stop_reason"], "finished");
}

/// Runs until at least `step` steps are recorded, then does `stop`.
fn interrupted(
    sandbox: &Sandbox,
    ranks: usize,
    run: &str,
    more: &[&str],
    at: u64,
    signal: &str,
) -> Option<Finished> {
    let mut running = sandbox.dtrain(steps(run, more)).ranks(ranks).start();
    let files = sandbox.run(run);
    running.wait_until("some steps were done", || files.metrics().len() as u64 >= at);
    match signal {
        "KILL" => {
            running.kill();
            None
        }
        signal => {
            running.signal_ranks(signal);
            Some(running.wait())
        }
    }
}

fn stopped_by_a_signal(ranks: usize) {
    let sandbox = with_recordings(12);
    sandbox.dtrain(steps("whole", &[])).ranks(ranks).finish().succeeded();
    // Epochs have five steps, so that a stop soon after the seventh is within one.
    let stopped = interrupted(&sandbox, ranks, "cut", &[], 7, "TERM").unwrap();
    stopped.expect(75).says("dtrain resume");
    let (cut, whole) = (sandbox.run("cut"), sandbox.run("whole"));
    let stopped_at = cut.latest_step().unwrap();
    assert!((7..STEPS).contains(&stopped_at), "stopped at {stopped_at}");
    assert_eq!(cut.result()["stop_reason"], "requeue");
    sandbox.dtrain(["resume", "cut"]).ranks(ranks).finish().succeeded().says(&format!("step {stopped_at}"));
    assert_same_end(&cut, &whole);
}

fn killed_between_checkpoints(ranks: usize) {
    let sandbox = with_recordings(12);
    let every = ["checkpoint.every_steps=3"];
    sandbox.dtrain(steps("whole", &every)).ranks(ranks).finish().succeeded();
    interrupted(&sandbox, ranks, "cut", &every, 8, "KILL");
    let (cut, whole) = (sandbox.run("cut"), sandbox.run("whole"));
    let saved = cut.latest_step().unwrap();
    assert!(saved % 3 == 0 && saved >= 3, "{saved}");
    // The same command again goes on, as `dtrain resume` does.
    sandbox.dtrain(steps("cut", &every)).ranks(ranks).finish().succeeded().says("resumed at");
    assert_same_end(&cut, &whole);
}

#[test]
fn one_rank_stopped_by_a_signal() {
    stopped_by_a_signal(1);
}

#[test]
fn two_ranks_stopped_by_a_signal() {
    stopped_by_a_signal(2);
}

#[test]
fn three_ranks_stopped_by_a_signal() {
    stopped_by_a_signal(3);
}

#[test]
fn one_rank_killed_between_checkpoints() {
    killed_between_checkpoints(1);
}

#[test]
fn two_ranks_killed_between_checkpoints() {
    killed_between_checkpoints(2);
}

#[test]
fn killed_before_the_first_checkpoint() {
    let sandbox = with_recordings(12);
    let every = ["checkpoint.every_steps=20"];
    sandbox.dtrain(steps("whole", &every)).finish().succeeded();
    interrupted(&sandbox, 1, "cut", &every, 4, "KILL");
    let cut = sandbox.run("cut");
    assert_eq!(cut.latest_step(), None);
    sandbox.dtrain(["resume", "cut"]).finish().succeeded();
    assert_same_end(&cut, &sandbox.run("whole"));
}

/// Two ranks begin, one and three go on: the same samples, and in 64 bits the same weights.
#[test]
fn another_number_of_ranks_goes_on() {
    let sandbox = with_recordings(12);
    let double = ["trainer.precision=fp64"];
    sandbox.dtrain(steps("whole", &double)).ranks(2).finish().succeeded();
    let whole = sandbox.run("whole");
    for ranks in [1, 3] {
        let run = format!("cut{ranks}");
        interrupted(&sandbox, 2, &run, &double, 7, "TERM").unwrap().expect(75);
        let cut = sandbox.run(&run);
        let resumed = sandbox.dtrain(["resume", &run]).ranks(ranks).finish().succeeded();
        resumed.says_once("written by 2 ranks").says(&format!("{ranks} go on"));
        let (all, (tensor, worst)) = cut.weights().distance(&whole.weights());
        assert!(all < 1e-8 && worst < 1e-8, "{ranks} ranks: {all:e} in all, {worst:e} in `{tensor}`");
        assert_eq!(cut.result_count("samples_seen"), whole.result_count("samples_seen"));
        assert_eq!(cut.result_count("world_size"), ranks as u64);
        for ((step, a), (_, b)) in cut.series("train/loss").into_iter().zip(whole.series("train/loss")) {
            assert!((a - b).abs() <= 1e-8 * b.abs(), "loss of step {step}: {a} and {b}");
        }
    }
}

#[test]
fn a_finished_run_ends_at_once_and_keeps_its_weights() {
    let sandbox = with_recordings(4);
    let quick = |more: &[&str]| {
        let mut all = vec!["run.dir=run", "trainer.batch_size=6", "trainer.max_steps=3"];
        all.extend(more);
        settings("supervised", &all)
    };
    sandbox.dtrain(quick(&[])).finish().succeeded();
    let run = sandbox.run("run");
    let (weights, metrics) = (run.newest("model.safetensors"), run.read("metrics.jsonl"));
    for again in [vec!["resume".to_owned(), "run".to_owned()], quick(&[])] {
        sandbox.dtrain(again).finish().succeeded().says("finished after 3 steps");
        assert!(run.newest("model.safetensors") == weights);
        assert_eq!(run.read("metrics.jsonl"), metrics);
        assert_eq!(run.checkpoint_steps(), [2, 3]);
    }
}

#[test]
fn the_newest_and_the_best_checkpoints_stay() {
    let sandbox = with_recordings(10);
    // A split with a validation part, evaluated after each epoch of four steps; steps 2, 4, 6, ... are saved.
    let more = [
        "run.dir=run",
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=5",
        "checkpoint.every_steps=2",
        "checkpoint.keep_last=2",
        "checkpoint.monitor=val/knn_top1",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    let run = sandbox.run("run");
    let measured = run.series("val/knn_top1");
    assert_eq!(measured.iter().map(|(step, _)| *step).collect::<Vec<u64>>(), [4, 8, 12, 16, 20]);
    let best = measured.iter().fold((0, f64::MIN), |best, now| if now.1 > best.1 { *now } else { best });
    let mut expected = vec![best.0, 18, 20];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(run.checkpoint_steps(), expected, "{measured:?}");
}

/// A metric belongs to the weights that it was measured on: a checkpoint between two evaluations has none.
#[test]
fn a_stale_metric_does_not_make_a_checkpoint_the_best() {
    let sandbox = with_recordings(10);
    let more = [
        "run.dir=run",
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=2",
        "trainer.batch_size=6",
        "trainer.max_steps=11",
        "checkpoint.every_steps=1",
        "checkpoint.keep_last=100",
        "checkpoint.monitor=val/knn_top1",
    ];
    sandbox.dtrain(settings("supervised", &more)).finish().succeeded();
    let run = sandbox.run("run");
    for step in run.checkpoint_steps() {
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(run.checkpoint(step).join("manifest.json")).unwrap())
                .unwrap();
        let measured = manifest["metrics"].get("val/knn_top1").is_some();
        assert_eq!(measured, [8, 11].contains(&step), "step {step}");
        assert!(manifest["metrics"].get("train/loss").is_some(), "step {step}");
    }
}

#[test]
fn before_its_first_checkpoint_a_run_begins_again_with_any_number_of_ranks() {
    let sandbox = with_recordings(12);
    let automatic = ["trainer.threads=auto", "trainer.loader_threads=auto", "checkpoint.every_steps=1000"];
    interrupted(&sandbox, 1, "run", &automatic, 2, "KILL");
    let run = sandbox.run("run");
    assert!(run.read("config.yaml").contains("threads: "));
    sandbox.dtrain(steps("run", &automatic)).ranks(2).finish().succeeded();
    assert_eq!(
        run.metrics().iter().map(|line| line.step).collect::<Vec<u64>>(),
        (1..=STEPS).collect::<Vec<u64>>()
    );
    assert_eq!(run.result()["world_size"], 2);
}
