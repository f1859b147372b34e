//! A run of the soak from its first start to its comparison.

use std::time::{Duration, Instant};

use crate::compare::differences;
use crate::job::Running;
use crate::moments::{Processes, Victim, came, recorded_step, shared_memory_files};
use crate::processes::{is_alive, send};
use crate::run_files::RunFiles;
use crate::sandbox::Sandbox;
use crate::soak::kill::perform;
use crate::soak::plan::{Moment, RunPlan, Supervision};
use crate::soak::settings::{STEPS, job, write_recordings};
use crate::soak::watch::Watch;

/// What processes have to end after what started them was killed.
const PATIENCE_WITH_ORPHANS: Duration = Duration::from_secs(10);
/// A start that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// An undisturbed run, to compare with.
pub struct Reference {
    _sandbox: Sandbox,
    run: RunFiles,
    /// From its start to its first step.
    pub start_up: Duration,
    /// From its first rank's beginning to its first step.
    pub rank_start_up: Duration,
}

/// What became of a run.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// What each kill hit, and whom.
    pub kills: Vec<(Moment, Victim)>,
    /// Kills whose moment never came, with the step at which the run was then.
    pub missed: Vec<(Moment, Victim, u64)>,
    /// From each death to training again, where the launcher brought the run back by itself.
    pub restarts: Vec<Duration>,
    /// Whatever is not as it should be; empty for a good run.
    pub faults: Vec<String>,
}

impl Reference {
    /// Trains as `plan` says, without the kills.
    pub fn of(plan: &RunPlan) -> Self {
        let sandbox = Sandbox::new();
        write_recordings(&sandbox.join("sounds"));
        let run = sandbox.run("run");
        let mut running = job(&sandbox, plan, "run").start();
        // Not before: another test may have had the machine until now.
        let mut watch = Watch::new(&run);
        let root = running.pid();
        came(&mut running, PATIENCE, false, || !Processes::of(root).ranks.is_empty());
        let ranks_begin = Watch::new(&run);
        came(&mut running, PATIENCE, false, || watch.trains(&run));
        let start_up = watch.trains_after().unwrap_or_default();
        running.wait().succeeded();
        Self { run, start_up, rank_start_up: ranks_begin.since_until(&watch), _sandbox: sandbox }
    }
}

/// Runs, kills, restarts and compares.
pub fn soak_run(plan: &RunPlan, reference: &Reference) -> RunOutcome {
    let sandbox = Sandbox::new();
    write_recordings(&sandbox.join("sounds"));
    let run = sandbox.run("run");
    let shared_before = shared_memory_files();
    let mut outcome = RunOutcome::default();
    let mut watch = Watch::new(&run);
    let mut running = job(&sandbox, plan, "run").start();
    let (mut before, mut returns_by_itself) = (Vec::new(), false);
    for (number, kill) in (1u64..).zip(&plan.kills) {
        let due = number * STEPS / (plan.kills.len() as u64 + 1);
        let below = running.pids();
        let done = perform(&mut running, &run, *kill, due, reference.rank_start_up, &before, &mut watch);
        if returns_by_itself {
            outcome.restarts.extend(watch.trains_after());
        }
        let Some(done) = done else {
            outcome.missed.push((kill.moment, kill.victim, recorded_step(&run)));
            returns_by_itself = false;
            if running.has_ended() {
                break;
            }
            continue;
        };
        outcome.kills.push((done.moment, done.victim));
        watch = Watch::new(&run);
        returns_by_itself = plan.supervision == Supervision::Launch && done.victim != Victim::Launcher;
        if !returns_by_itself {
            let mut all = below;
            all.extend(&done.pids);
            outcome.faults.extend(bury(&mut running, &all));
            // The next start is not faster than a scheduler's, and frees the machine for other tests in between.
            drop(running);
            running = job(&sandbox, plan, "run").start();
        }
        before = done.ranks;
    }
    if returns_by_itself {
        came(&mut running, PATIENCE, false, || watch.trains(&run));
        outcome.restarts.extend(watch.trains_after());
    }
    let below = running.pids();
    let finished = running.wait();
    if finished.code != Some(0) {
        let tail: Vec<&str> = finished.stderr.lines().rev().take(30).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        outcome.faults.push(format!("ended with {:?}:\n{}", finished.code, tail.join("\n")));
        return outcome;
    }
    outcome.faults.extend(orphans(&below));
    outcome.faults.extend(differences(&run, &reference.run));
    let left: Vec<String> =
        shared_memory_files().into_iter().filter(|name| !shared_before.contains(name)).collect();
    if !left.is_empty() {
        outcome.faults.push(format!("files were left in shared memory: {}", left.join(", ")));
    }
    outcome
}

/// Waits for the end of a job that died, and of all of its processes.
fn bury(running: &mut Running, pids: &[u32]) -> Vec<String> {
    let until = Instant::now() + PATIENCE_WITH_ORPHANS;
    came(running, PATIENCE_WITH_ORPHANS, false, || false);
    while Instant::now() < until && pids.iter().any(|pid| is_alive(*pid)) {
        std::thread::sleep(Duration::from_millis(10));
    }
    orphans(pids)
}

/// Ends what still runs, and says so.
fn orphans(pids: &[u32]) -> Vec<String> {
    let left: Vec<u32> = pids.iter().copied().filter(|pid| is_alive(*pid)).collect();
    send("KILL", &left);
    if left.is_empty() { Vec::new() } else { vec![format!("{} processes were left", left.len())] }
}
