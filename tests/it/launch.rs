//! `dtrain launch`: whatever dies, the run ends with the weights of the undisturbed one, or with the reason; nothing is left.

use std::time::Duration;

use dtrain_tests::{Finished, RunFiles, Running, Sandbox, skipped};

use crate::small_runs::{settings, with_recordings};

/// Steps of a run that is disturbed: long enough to be killed in its middle.
const STEPS: &str = "trainer.max_steps=120";

/// `dtrain launch` with options and settings.
fn launch(options: &[&str], dir: &str, more: &[&str]) -> Vec<String> {
    let dir = format!("run.dir={dir}");
    let mut all = vec![
        dir.as_str(),
        "trainer.batch_size=6",
        "checkpoint.every_steps=4",
        "trainer.max_epochs=null",
        "trainer.max_steps=20",
    ];
    all.extend(more);
    let words = ["launch"].iter().chain(options).map(|word| (*word).to_owned());
    words.chain(settings("supervised", &all)).collect()
}

/// Waits for `step`, and for a checkpoint, which a busy disk may take longer to write than the steps behind it take.
fn wait_for_step(running: &mut Running, run: &RunFiles, step: u64) {
    let is_there =
        || run.metrics().last().is_some_and(|line| line.step >= step) && run.latest_step().is_some();
    running.wait_until("some steps were done and a checkpoint written", is_there);
}

fn history(run: &RunFiles) -> Vec<serde_json::Value> {
    run.read("restarts.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn decisions(run: &RunFiles) -> Vec<String> {
    history(run).iter().map(|line| line["decision"].as_str().unwrap().to_owned()).collect()
}

/// The end of a run that nobody disturbed.
fn undisturbed(sandbox: &Sandbox) -> RunFiles {
    sandbox.dtrain(launch(&["-n", "2"], "whole", &[STEPS])).finish().succeeded();
    sandbox.run("whole")
}

#[track_caller]
fn assert_same_end(run: &RunFiles, whole: &RunFiles) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        assert!(run.newest(file) == whole.newest(file), "{file} differs");
    }
    let steps = |run: &RunFiles| run.metrics().iter().map(|line| line.step).collect::<Vec<u64>>();
    assert_eq!(steps(run), steps(whole));
    assert_eq!(run.result()["stop_reason"], "finished");
}

/// Runs two ranks, kills what `victim` names in the middle, and expects a restart and the weights of the undisturbed run.
fn survives(victim: impl Fn(&Running) -> u32, says: &str) -> Finished {
    let sandbox = with_recordings(6);
    let whole = undisturbed(&sandbox);
    let mut running = sandbox.dtrain(launch(&["-n", "2"], "run", &[STEPS])).start();
    let run = sandbox.run("run");
    wait_for_step(&mut running, &run, 6);
    let footprint = running.footprint();
    running.signal_process("KILL", victim(&running));
    let finished = running.wait().succeeded().says(says).says_once("restart 1, 2 left, in 1 s, from step ");
    assert_same_end(&run, &whole);
    assert_eq!(decisions(&run), ["restart", "end"]);
    footprint.assert_gone();
    finished
}

#[test]
fn output_is_prefixed_and_filed_by_rank() {
    let sandbox = with_recordings(4);
    let args = launch(&["-n", "2"], "run", &["trainer.max_steps=3"]);
    let finished = sandbox.dtrain(args).finish().succeeded();
    finished
        .says_once("launching 2 ranks (asked for), run directory run")
        .says_once("\nworld size               2");
    let run = sandbox.run("run");
    let filed = run.read("logs/launch/attempt_0/rank_000.err");
    assert!(
        filed.contains("world size               2") && filed.contains("finished after 3 steps"),
        "{filed}"
    );
    assert!(!run.join("logs/launch/attempt_0/rank_001.err").exists(), "rank 1 had nothing to say");
    let line = &history(&run)[0];
    assert_eq!(
        (&line["code"], &line["to_step"], &line["cause"]),
        (&0.into(), &3.into(), &serde_json::Value::Null)
    );
}

/// A rank that hangs makes the others end the job; their lines carry their numbers.
#[test]
fn a_stuck_rank_is_a_failure_like_others() {
    let sandbox = with_recordings(6);
    let args = launch(&["-n", "2"], "run", &[STEPS, "comm.timeout_secs=4"]);
    let mut running = sandbox.dtrain(args).start();
    let run = sandbox.run("run");
    wait_for_step(&mut running, &run, 6);
    running.signal_process("STOP", running.launched_ranks()[0]);
    let finished = running.wait().succeeded().says("\n[1] error: ").says_once("restart 1, 2 left");
    assert!(!finished.stderr.contains("restart 2"), "{}", finished.report());
    assert_eq!(run.result()["stop_reason"], "finished");
    let filed = run.read("logs/launch/attempt_0/rank_001.err");
    assert!(filed.contains("error: "), "{filed}");
    assert!(history(&run)[0]["cause"].as_str().unwrap().starts_with("rank 1 on "), "{:?}", history(&run));
}

#[test]
fn a_killed_rank_is_named_and_the_run_ends_as_if_nothing_had_happened() {
    let finished = survives(|running| running.launched_ranks()[1], "SIGKILL (9)");
    finished
        .says("first to fail ")
        .says("last stage ")
        .says("killed from outside")
        .says("last output of rank 0 ");
}

#[test]
fn rank_0_may_be_killed() {
    survives(|running| running.launched_ranks()[0], "rank 0");
}

#[test]
fn mpirun_may_be_killed() {
    survives(|running| running.launched_mpirun().unwrap(), "mpirun was killed by SIGKILL (9)");
}

#[test]
fn a_killed_launcher_leaves_nothing_and_the_next_one_goes_on() {
    let sandbox = with_recordings(6);
    let whole = undisturbed(&sandbox);
    let args = launch(&["-n", "2"], "run", &[STEPS]);
    let mut running = sandbox.dtrain(args.clone()).start();
    let run = sandbox.run("run");
    wait_for_step(&mut running, &run, 6);
    let footprint = running.footprint();
    assert!(footprint.processes.len() >= 3, "{footprint:?}");
    assert!(
        footprint.files().iter().any(|name| name.starts_with("vader_segment")),
        "{:?}",
        footprint.files()
    );
    running.signal("KILL");
    running.wait().expect(137);
    footprint.assert_gone();
    sandbox.dtrain(args).finish().succeeded().says("resumed at               step ");
    assert_same_end(&run, &whole);
    assert!(run.join("logs/launch/attempt_1").is_dir());
}

#[test]
fn a_single_rank_needs_no_mpirun_and_is_started_again() {
    let sandbox = with_recordings(6);
    sandbox.dtrain(launch(&["-n", "1"], "whole", &[STEPS])).env("PATH", "/nowhere").finish().succeeded();
    let mut running = sandbox.dtrain(launch(&["-n", "1"], "run", &[STEPS])).start();
    let run = sandbox.run("run");
    wait_for_step(&mut running, &run, 6);
    let rank = *running.rank_pids().last().unwrap();
    running.signal_process("KILL", rank);
    running.wait().succeeded().says("rank 0 was killed by SIGKILL (9)");
    assert_same_end(&run, &sandbox.run("whole"));
}

#[test]
fn a_configuration_error_is_said_once_and_changes_nothing() {
    let sandbox = with_recordings(4);
    let typo = sandbox.dtrain(launch(&["-n", "2"], "run", &["trainer.batch_sise=8"])).finish().expect(2);
    typo.says_once("did you mean").does_not_say("restart");
    assert!(!sandbox.join("run").exists(), "found before anything was made");
    // This one only the ranks can find.
    let missing = sandbox.dtrain(launch(&["-n", "2"], "run", &["data.root=nowhere"])).finish().expect(2);
    missing
        .says_once("error: folder `nowhere` does not exist")
        .does_not_say("restart")
        .does_not_say("first to fail");
    assert_eq!(decisions(&sandbox.run("run")), ["end"]);
    let hint = sandbox.dtrain(["launch", "seed=1", "-n", "2"]).finish().expect(2);
    hint.says("come before the verb");
}

/// A rank that is killed before each checkpoint: the same would happen for ever.
#[test]
fn restarts_without_progress_end() {
    let sandbox = with_recordings(4);
    let more = ["trainer.max_steps=100000", "checkpoint.every_steps=50000"];
    let mut running = sandbox.dtrain(launch(&["-n", "2", "--max-restarts", "50"], "run", &more)).start();
    let run = sandbox.run("run");
    for attempt in 0..4 {
        let began = run.join(format!("logs/launch/attempt_{attempt}/rank_000.err"));
        running.wait_until("the attempt has trained", || {
            std::fs::read_to_string(&began).is_ok_and(|text| text.contains(" loss "))
        });
        running.signal_process("KILL", running.launched_ranks()[1]);
    }
    let finished = running.wait().expect(1);
    finished.says("3 restarts in a row brought no new checkpoint").says("from the beginning");
    assert_eq!(decisions(&run), ["restart", "restart", "restart", "give up"]);
}

#[test]
fn a_directory_that_is_in_use_is_refused_by_the_name_of_its_holder() {
    let sandbox = with_recordings(4);
    let args = |options: &[&str]| launch(options, "run", &["trainer.max_steps=100000"]);
    let mut running = sandbox.dtrain(args(&["-n", "1"])).start();
    let run = sandbox.run("run");
    wait_for_step(&mut running, &run, 3);
    let holder = running.rank_pids().last().copied().unwrap();
    // Not through the launcher, whose turn the first one holds.
    let alone: Vec<String> = args(&[]).into_iter().skip(1).collect();
    let refused = sandbox.dtrain(alone).finish().expect(2);
    refused.says(&format!("error: `run` is in use by process {holder} on `")).says("dtrain stop run");
    let before = run.metrics().len();
    running.wait_until("it trains on", || run.metrics().len() > before + 2);
    running.signal("TERM");
    running.wait().expect(75);
}

fn stops(signal: &str, code: i32, reason: &str) {
    let sandbox = with_recordings(4);
    let mut running = sandbox.dtrain(launch(&["-n", "2"], "run", &["trainer.max_steps=100000"])).start();
    let run = sandbox.run("run");
    wait_for_step(&mut running, &run, 3);
    let footprint = running.footprint();
    running.signal(signal);
    let finished = running.wait().expect(code);
    finished
        .says_once("stopping: the ranks save and end")
        .says_once(if code == 75 { "saved to be started again (" } else { "interrupted after" })
        .does_not_say("first to fail");
    assert_eq!(run.result()["stop_reason"], reason);
    assert_eq!(run.metrics().last().map(|line| line.step), run.latest_step());
    assert_eq!(decisions(&run), ["end"]);
    footprint.assert_gone();
}

#[test]
fn sigterm_saves_and_asks_to_be_requeued() {
    stops("TERM", 75, "requeue");
}

#[test]
fn a_hang_up_is_a_sigterm() {
    stops("HUP", 75, "requeue");
}

#[test]
fn ctrl_c_saves_and_ends() {
    stops("INT", 130, "interrupted");
}

/// A rank that is stopped keeps the others from agreeing; the second Ctrl-C does not wait for it, and neither does the end
/// of the time to save.
#[test]
fn ranks_that_cannot_save_are_killed() {
    for (options, signals) in
        [(&["-n", "2"][..], &["INT", "INT"][..]), (&["-n", "2", "--grace-secs", "1"], &["INT"])]
    {
        let sandbox = with_recordings(4);
        let mut running = sandbox.dtrain(launch(options, "run", &["trainer.max_steps=100000"])).start();
        let run = sandbox.run("run");
        wait_for_step(&mut running, &run, 3);
        let footprint = running.footprint();
        running.signal_process("STOP", running.launched_ranks()[1]);
        for (number, signal) in signals.iter().enumerate() {
            if number > 0 {
                std::thread::sleep(Duration::from_millis(500));
                assert!(!running.has_ended());
            }
            running.signal(signal);
        }
        let finished = running.wait().expect(130);
        assert_eq!(
            finished.stderr.contains("did not end within 1 s"),
            signals.len() == 1,
            "{}",
            finished.report()
        );
        footprint.assert_gone();
    }
}

#[test]
fn more_ranks_than_cores_are_warned_about() {
    let sandbox = with_recordings(6);
    let cores = std::thread::available_parallelism().unwrap().get();
    if cores > 8 {
        skipped(&format!("{cores} cores are too many for a rank more"));
        return;
    }
    let ranks = (cores + 1).to_string();
    let more = ["trainer.threads=auto", "trainer.loader_threads=auto", "trainer.max_steps=2"];
    let finished = sandbox.dtrain(launch(&["-n", &ranks], "run", &more)).finish().succeeded();
    finished.says(&format!("{ranks} local ranks take turns on {cores} cores"));
}

#[test]
fn other_verbs_are_launched_too() {
    let sandbox = with_recordings(4);
    let fast = launch(&["-n", "2"], "run", &["--fast-dev-run"]);
    sandbox.dtrain(fast).finish().succeeded().says_once("fast dev run: 2 steps, world size 2");
    assert!(!sandbox.join("run").exists());
    let more = ["trainer.max_steps=2", "data.splits.default.test_fraction=0.25"];
    sandbox.dtrain(launch(&["-n", "2"], "run", &more)).finish().succeeded();
    let eval = sandbox.dtrain(["launch", "-n", "2", "eval", "run", "--json"]).finish().succeeded();
    assert!(serde_json::from_str::<serde_json::Value>(&eval.stdout).is_ok(), "{}", eval.report());
    let resumed = sandbox.dtrain(["launch", "-n", "2", "resume", "run"]).finish().succeeded();
    resumed.says("finished after 2 steps");
}

#[test]
fn a_launcher_within_a_job_is_refused() {
    let sandbox = with_recordings(4);
    let args: Vec<String> = launch(&[], "run", &[]);
    let refused = sandbox.dtrain(args).ranks(2).finish().expect(2);
    refused.says_once("error: `dtrain launch` starts its own processes");
    let without = sandbox.dtrain(launch(&["-n", "2"], "run", &[])).env("PATH", "/nowhere").finish().expect(3);
    without.says("error: `mpirun` cannot be started").says("install Open MPI");
}
