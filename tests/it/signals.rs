//! Signals are stop requests: the run saves, says how to go on, and ends with the code that tells why.

use dtrain_tests::Running;

use crate::small_runs::{settings, with_recordings};

const LONG: [&str; 5] = [
    "run.dir=run",
    "trainer.batch_size=6",
    "trainer.max_epochs=null",
    "trainer.max_steps=100000",
    "checkpoint.every_steps=50000",
];

fn started(sandbox: &dtrain_tests::Sandbox, ranks: usize) -> Running {
    let mut running = sandbox.dtrain(settings("supervised", &LONG)).ranks(ranks).start();
    let run = sandbox.run("run");
    running.wait_until("some steps were done", || run.metrics().len() >= 3);
    running
}

/// Stops a run of one or more ranks and resumes it until it is stopped again.
fn saves_and_ends(ranks: usize, signal: &str, code: i32, reason: &str) {
    let sandbox = with_recordings(4);
    let run = sandbox.run("run");
    let running = started(&sandbox, ranks);
    running.signal_ranks(signal);
    let ended = if code == 75 { "saved to be started again (" } else { "interrupted after" };
    running.wait().expect(code).says("next: dtrain resume run").says(ended);
    let result = run.result();
    assert_eq!(result["stop_reason"], reason);
    let saved = run.latest_step().unwrap();
    assert_eq!(run.result_count("step"), saved);
    assert_eq!(run.metrics().last().unwrap().step, saved);

    let mut resumed = sandbox.dtrain(["resume", "run"]).ranks(ranks).start();
    resumed.wait_until("it went on", || run.metrics().last().is_some_and(|line| line.step > saved + 2));
    resumed.signal_ranks(signal);
    resumed.wait().expect(code);
    let steps: Vec<u64> = run.metrics().iter().map(|line| line.step).collect();
    assert_eq!(steps, (1..=run.latest_step().unwrap()).collect::<Vec<u64>>());
}

#[test]
fn ctrl_c_saves_and_ends_with_130() {
    saves_and_ends(1, "INT", 130, "interrupted");
}

#[test]
fn sigterm_saves_and_asks_to_be_requeued() {
    saves_and_ends(1, "TERM", 75, "requeue");
}

#[test]
fn sigusr1_saves_and_asks_to_be_requeued_on_two_ranks() {
    saves_and_ends(2, "USR1", 75, "requeue");
}

/// mpirun hands USR1 on to its ranks; rank 0's exit code becomes its own.
#[test]
fn mpirun_hands_signals_on() {
    let sandbox = with_recordings(4);
    let running = started(&sandbox, 2);
    running.signal("USR1");
    running.wait().expect(75).says_once("saved to be started again (");
    assert!(sandbox.run("run").latest_step().is_some());
}

/// While another rank keeps it waiting, the first Ctrl-C waits for the next step; the second one does not.
#[test]
fn ctrl_c_twice_ends_at_once() {
    let sandbox = with_recordings(4);
    let mut running = started(&sandbox, 2);
    let ranks = running.rank_pids();
    running.signal_process("STOP", ranks[1]);
    running.signal_process("INT", ranks[0]);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!running.has_ended());
    running.signal_process("INT", ranks[0]);
    running.wait().expect(130).does_not_say("next: dtrain resume");
}

/// As a shell starts a job in the background of a script: Ctrl-C is meant for whatever is in front.
#[test]
fn an_ignored_ctrl_c_stays_ignored() {
    let sandbox = with_recordings(4);
    let run = sandbox.run("run");
    let mut running = sandbox.dtrain(settings("supervised", &LONG)).after("trap '' INT").start();
    running.wait_until("some steps were done", || run.metrics().len() >= 3);
    running.signal("INT");
    running.signal("INT");
    let before = run.metrics().len();
    running.wait_until("it trains on", || run.metrics().len() > before + 2);
    running.signal("TERM");
    running.wait().expect(75);
}

/// One rank hears of the signal; all of them stop at the same step.
#[test]
fn a_signal_to_one_rank_ends_all() {
    let sandbox = with_recordings(4);
    let running = started(&sandbox, 2);
    let last = *running.rank_pids().last().unwrap();
    running.signal_process("TERM", last);
    running.wait().expect(75).says_once("saved to be started again (");
    let run = sandbox.run("run");
    assert_eq!(run.metrics().last().map(|line| line.step), run.latest_step());
}
