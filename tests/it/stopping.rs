//! What ends a run before its last step: no improvement, the time limit, the end of an allocation, `dtrain stop`.

use std::fs::File;
use std::time::{SystemTime, UNIX_EPOCH};

use dtrain_tests::{Running, Sandbox};

use crate::small_runs::{settings, with_recordings};

/// 30 recordings, 6 of them held out: four steps an epoch, evaluated after each.
fn evaluated(more: &[&str]) -> Vec<String> {
    let mut all = vec![
        "run.dir=run",
        "data.splits.default.val_fraction=0.2",
        "eval.every_epochs=1",
        "trainer.batch_size=6",
        "trainer.max_epochs=6",
    ];
    all.extend(more);
    settings("supervised", &all)
}

fn long(more: &[&str]) -> Vec<String> {
    let mut all = vec![
        "run.dir=run",
        "trainer.batch_size=6",
        "trainer.max_epochs=null",
        "trainer.max_steps=1000000",
        "checkpoint.every_steps=500000",
    ];
    all.extend(more);
    settings("supervised", &all)
}

/// A learning rate that throws the weights away: each further step is skipped, on all ranks alike, and the run ends with
/// a way out and without a checkpoint of such weights.
#[test]
fn a_run_whose_loss_is_no_number_ends() {
    let sandbox = with_recordings(10);
    let wild = ["optimizer=sgd", "optimizer.lr=1e30", "trainer.max_nonfinite_steps=3"];
    let finished = sandbox.dtrain(long(&wild)).ranks(2).finish().expect(1);
    finished.clone().says("loss or gradient is not finite: the step is skipped on all ranks");
    finished
        .says_once("non_finite after 4 steps")
        .says("next: lower `optimizer.lr` or set `trainer.grad_clip`");
    let run = sandbox.run("run");
    let result = run.result();
    assert_eq!((&result["stop_reason"], &result["step"]), (&"non_finite".into(), &4.into()));
    assert_eq!(run.latest_step(), None, "weights that are lost are not saved");
    let losses: Vec<f64> = run.series("train/loss").into_iter().map(|(_, loss)| loss).collect();
    assert!(losses.first().is_some_and(|loss| loss.is_finite()), "{losses:?}");
}

#[test]
fn a_run_that_does_not_improve_evaluates_saves_and_ends_well() {
    let sandbox = with_recordings(10);
    // Weights that hardly move make a metric that does not.
    let stop = ["stop.monitor=val/knn_top1", "stop.patience=2", "optimizer.lr=1e-12", "model.norm=group"];
    let finished = sandbox.dtrain(evaluated(&stop)).ranks(2).finish().succeeded();
    finished.says_once("early_stopped after 12 steps").says("next: dtrain eval run");
    let run = sandbox.run("run");
    let result = run.result();
    assert_eq!((&result["stop_reason"], &result["step"]), (&"early_stopped".into(), &12.into()));
    assert_eq!(run.latest_step(), Some(12));
    // The last evaluation has all probes.
    assert!(result["metrics"].get("val/linear_top1").is_some(), "{result}");
    // It is judged by evaluations: the first is the best, two more are no better.
    let judged: Vec<u64> = run.series("val/knn_top1").iter().map(|(step, _)| *step).collect();
    assert_eq!(judged, [4, 8, 12, 12]);

    let weights = run.newest("model.safetensors");
    let again = sandbox.dtrain(["resume", "run"]).ranks(2).finish().succeeded();
    again.says_once("early_stopped after 12 steps");
    assert!(run.newest("model.safetensors") == weights);
}

#[test]
fn an_early_stop_resumed_in_between_comes_at_the_same_step() {
    let sandbox = with_recordings(10);
    let stop = ["stop.monitor=val/knn_top1", "stop.patience=3", "optimizer.lr=1e-12", "model.norm=group"];
    let stop: Vec<&str> = stop.into_iter().chain(["checkpoint.every_steps=1"]).collect();
    let run = sandbox.run("run");
    let mut running = sandbox.dtrain(evaluated(&stop)).start();
    running.wait_until("two evaluations", || run.series("val/knn_top1").len() >= 2);
    running.kill();
    assert!(run.latest_step() < Some(16));
    sandbox.dtrain(evaluated(&stop)).finish().succeeded().says_once("early_stopped after 16 steps");
}

#[test]
fn the_time_limit_saves_and_asks_to_be_started_again() {
    let sandbox = with_recordings(4);
    let run = sandbox.run("run");
    let limited = |secs: &str| {
        let limit = format!("stop.time_limit_secs={secs}");
        sandbox.dtrain(long(&[&limit, "stop.margin_secs=0.1"])).ranks(2)
    };
    let ended = limited("4").finish().expect(75);
    ended.says_once("time is up").says_once("saved to be started again (").says("next: dtrain resume run");
    let first = run.latest_step().unwrap();
    assert_eq!((run.result()["stop_reason"].clone(), run.result_count("step")), ("requeue".into(), first));
    // Another limit is no other run.
    limited("5").finish().expect(75).says_once("resumed at");
    assert!(run.latest_step() > Some(first));
}

fn in_secs(secs: u64) -> String {
    (SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + secs).to_string()
}

#[test]
fn the_end_of_an_allocation_is_a_time_limit() {
    let sandbox = with_recordings(4);
    let job = sandbox.dtrain(long(&["stop.margin_secs=1"])).env("SLURM_JOB_END_TIME", in_secs(6));
    job.finish().expect(75).says_once("left of `SLURM_JOB_END_TIME`");
    assert_eq!(sandbox.run("run").latest_step(), Some(sandbox.run("run").result_count("step")));
    // An allocation of the past is somebody else's.
    let short = [&long(&[])[..], &["trainer.max_steps=2".into(), "run.dir=other".into()]].concat();
    let stale = sandbox.dtrain(short).env("SLURM_JOB_END_TIME", "1000000000");
    stale.finish().succeeded().says_once("`SLURM_JOB_END_TIME=1000000000` is no time to come");
}

#[test]
fn a_limit_that_leaves_no_time_to_train_is_refused_and_nothing_is_written() {
    let sandbox = with_recordings(4);
    let job = sandbox.dtrain(long(&["stop.margin_secs=7200"])).env("SLURM_JOB_END_TIME", in_secs(3600));
    let refused = job.ranks(2).finish().expect(2).says_once("leaves no time to train");
    assert!(refused.error(sandbox.path()).contains("hint: allow more time"), "{}", refused.report());
    assert!(!sandbox.join("run").exists());
}

fn started(sandbox: &Sandbox, ranks: usize) -> Running {
    let mut running = sandbox.dtrain(long(&[])).ranks(ranks).start();
    let run = sandbox.run("run");
    running.wait_until("some steps were done", || run.metrics().len() >= 3);
    running
}

#[test]
fn dtrain_stop_ends_a_run_from_outside() {
    for (ranks, option, code, reason) in
        [(2, None, 130, "interrupted"), (1, Some("--requeue"), 75, "requeue")]
    {
        let sandbox = with_recordings(4);
        let run = sandbox.run("run");
        let mut running = started(&sandbox, ranks);
        let asking = sandbox.dtrain(["stop", "run"].into_iter().chain(option)).start();
        running.wait_until("its end", || run.join("result.json").exists());
        let said = running.wait().expect(code);
        said.says(if code == 75 { "saved to be started again (" } else { "interrupted after" });
        asking
            .wait()
            .succeeded()
            .says_once("asked the run in run to save and end")
            .says("next: dtrain resume run");
        assert_eq!(run.result()["stop_reason"], reason);
        assert_eq!(run.latest_step(), Some(run.result_count("step")));
        assert!(!run.join("stop").exists());
    }
}

#[test]
fn dtrain_stop_refuses_a_directory_without_a_running_run() {
    let sandbox = with_recordings(4);
    let asked = |path: &str| sandbox.dtrain(["stop", path]).finish().expect(2).error(sandbox.path());
    assert!(asked("nowhere").starts_with("error: no run is running in `nowhere`"), "{}", asked("nowhere"));
    let short = [&long(&[])[..], &["trainer.max_steps=2".into()]].concat();
    sandbox.dtrain(short).finish().succeeded();
    assert!(
        asked("run").contains("hint: it has ended; `dtrain resume run` goes on with it"),
        "{}",
        asked("run")
    );
    assert!(!sandbox.join("run/stop").exists());
    // A lock that nobody holds any more is no run either.
    File::create(sandbox.join("run/.lock")).unwrap();
    assert!(asked("run").contains("it has ended"));
}
