//! SIGKILL of any process at any moment.

use std::time::{Duration, Instant};

use dtrain_tests::{
    Dice, Processes, RunFiles, Running, Sandbox, Victim, bytes_in, came, has_begun_evaluating, is_alive,
    is_saving, recorded_step, staged_bytes,
};

use super::{STEPS, STEPS_PER_EPOCH, assert_same_end, sandbox, small};

const PATIENCE: Duration = Duration::from_secs(60);

/// A projector of 4 million weights: with its moments a checkpoint has 50 MB, and writing it takes longer than to notice it.
const HEAVY: [&str; 2] = ["method.projector.hidden_dim=2048", "method.projector.num_layers=3"];

/// Kills `victim` and waits until nothing of the job is left; what does not end by itself is ended by the test.
fn kill(mut running: Running, victim: Victim, dice: &mut Dice) {
    let processes = Processes::of(running.pid());
    let pids = running.pids();
    // Before MPI has started ranks there is only mpirun.
    let pid = processes.victim(victim, dice.share()).unwrap_or(processes.root);
    running.signal_process("KILL", pid);
    came(&mut running, PATIENCE, false, || pids.iter().all(|pid| *pid == processes.root || !is_alive(*pid)));
    running.kill();
}

fn start(sandbox: &Sandbox, ranks: usize) -> (Running, RunFiles) {
    (sandbox.dtrain(small("cut", &[])).ranks(ranks).start(), sandbox.run("cut"))
}

#[track_caller]
fn goes_on(sandbox: &Sandbox, ranks: usize) {
    sandbox.dtrain(small("cut", &[])).ranks(ranks).finish().succeeded();
    sandbox.dtrain(small("whole", &[])).ranks(ranks).finish().succeeded();
    assert_same_end(&sandbox.run("cut"), &sandbox.run("whole"));
}

/// A rank, rank 0, mpirun, each at a random step.
#[test]
fn any_process_of_two_ranks_at_any_step() {
    let sandbox = sandbox();
    let mut dice = Dice::announced("any_process_of_two_ranks_at_any_step");
    let mut victims = [Victim::Rank0, Victim::OtherRank, Victim::Mpirun];
    dice.shuffle(&mut victims);
    for (number, victim) in (1u64..).zip(victims) {
        let (mut running, run) = start(&sandbox, 2);
        let due = (number * 6).saturating_sub(dice.below(4) as u64);
        came(&mut running, PATIENCE, false, || recorded_step(&run) >= due);
        std::thread::sleep(Duration::from_millis(30).mul_f64(dice.share()));
        println!("{victim:?} from step {due} on");
        kill(running, victim, &mut dice);
    }
    goes_on(&sandbox, 2);
}

/// Old or new, never half; again and again at another place of the write, which is as long as [`HEAVY`] makes it.
#[test]
fn inside_a_checkpoint_write() {
    let sandbox = sandbox();
    let mut dice = Dice::announced("inside_a_checkpoint_write");
    sandbox.dtrain(small("whole", &HEAVY)).finish().succeeded();
    let whole = sandbox.run("whole");
    let size = bytes_in(&whole.checkpoint(whole.latest_step().unwrap()));
    let mut places = Vec::new();
    let mut attempts = 0;
    while places.len() < 4 {
        assert!(attempts < 10, "only {} of {attempts} kills came inside a write", places.len());
        let mut running = sandbox.dtrain(small("cut", &HEAVY)).start();
        let run = sandbox.run("cut");
        let (saved, due) = (attempts * 2, (dice.share() * 0.9 * size as f64) as u64);
        attempts += 1;
        // What the last kill has left goes first.
        came(&mut running, PATIENCE, false, || !is_saving(&run) && run.latest_step().unwrap_or(0) >= saved);
        came(&mut running, PATIENCE, true, || staged_bytes(&run) > due);
        running.kill();
        let written = staged_bytes(&run);
        if is_saving(&run) && written > 0 {
            places.push(written as f64 / size as f64);
        }
    }
    println!("killed after these shares of a checkpoint were written: {places:.2?}");
    sandbox.dtrain(small("cut", &HEAVY)).finish().succeeded();
    assert_same_end(&sandbox.run("cut"), &whole);
}

#[test]
fn during_an_evaluation() {
    let sandbox = sandbox();
    let mut dice = Dice::announced("during_an_evaluation");
    // A linear probe that takes its time, in every evaluation.
    let thorough = ["eval.linear.every_epochs=1", "eval.linear.iterations=20000"];
    let start = || sandbox.dtrain(small("cut", &thorough)).env("RUST_LOG", "dtrain_trainer=debug").start();
    let mut num_inside = 0;
    for number in 1..=8 {
        let (mut running, run) = (start(), sandbox.run("cut"));
        let due = number * STEPS_PER_EPOCH;
        // Marks of the last start are in the log too: a step of this one comes first.
        came(&mut running, PATIENCE, false, || recorded_step(&run) >= due && !has_begun_evaluating(&run));
        came(&mut running, PATIENCE, true, || has_begun_evaluating(&run));
        std::thread::sleep(Duration::from_millis(5).mul_f64(dice.share()));
        running.kill();
        num_inside += usize::from(has_begun_evaluating(&run));
        if num_inside == 3 {
            break;
        }
    }
    assert_eq!(num_inside, 3, "kills inside an evaluation");
    sandbox.dtrain(small("cut", &thorough)).finish().succeeded();
    sandbox.dtrain(small("whole", &thorough)).finish().succeeded();
    assert_same_end(&sandbox.run("cut"), &sandbox.run("whole"));
}

/// At any moment of joining, reading the checkpoint and beginning the files again.
#[test]
fn during_start_up() {
    let sandbox = sandbox();
    let mut dice = Dice::announced("during_start_up");
    let begun = Instant::now();
    let (mut running, run) = start(&sandbox, 2);
    came(&mut running, PATIENCE, false, || recorded_step(&run) >= STEPS / 2);
    let start_up = begun.elapsed();
    kill(running, Victim::Rank0, &mut dice);
    for victim in [Victim::OtherRank, Victim::Rank0, Victim::Mpirun] {
        let (running, _) = start(&sandbox, 2);
        std::thread::sleep(start_up.mul_f64(0.6 * dice.share()));
        kill(running, victim, &mut dice);
    }
    goes_on(&sandbox, 2);
}
