//! SIGKILL of any process at any moment.

use std::time::{Duration, Instant};

use dtrain_tests::{
    Dice, Processes, RunFiles, Running, Sandbox, Victim, came, is_alive, is_evaluating, is_saving,
    recorded_step,
};

use super::{STEPS, STEPS_PER_EPOCH, assert_same_end, sandbox, small};

const PATIENCE: Duration = Duration::from_secs(60);

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

/// Old or new, never half; again and again at another place of the write.
#[test]
fn inside_a_checkpoint_write() {
    let sandbox = sandbox();
    let mut dice = Dice::announced("inside_a_checkpoint_write");
    let mut num_inside = 0;
    for number in 1..=6u64 {
        let (mut running, run) = start(&sandbox, 1);
        came(&mut running, PATIENCE, false, || recorded_step(&run) >= number * 3);
        came(&mut running, PATIENCE, true, || is_saving(&run));
        std::thread::sleep(Duration::from_millis(3).mul_f64(dice.share()));
        running.kill();
        num_inside += usize::from(is_saving(&run));
    }
    println!("{num_inside} of 6 kills left a checkpoint half written");
    goes_on(&sandbox, 1);
}

#[test]
fn during_an_evaluation() {
    let sandbox = sandbox();
    let mut dice = Dice::announced("during_an_evaluation");
    for number in 1..=3 {
        let (mut running, run) = start(&sandbox, 1);
        let due = number * 2 * STEPS_PER_EPOCH;
        came(&mut running, PATIENCE, true, || {
            recorded_step(&run) >= due && is_evaluating(&run, STEPS_PER_EPOCH)
        });
        std::thread::sleep(Duration::from_millis(5).mul_f64(dice.share()));
        running.kill();
    }
    goes_on(&sandbox, 1);
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
