//! One kill: waiting for its moment, and what was seen of it.

use std::time::{Duration, Instant};

use crate::job::Running;
use crate::moments::{Processes, Victim, came, is_evaluating, is_saving, recorded_step};
use crate::processes::send;
use crate::run_files::RunFiles;
use crate::soak::plan::{Kill, Moment};
use crate::soak::settings::{STEPS, STEPS_PER_EPOCH};
use crate::soak::watch::Watch;

/// A moment that does not come within this time never comes.
const PATIENCE: Duration = Duration::from_secs(60);
/// A few steps.
const ANYTIME: Duration = Duration::from_millis(100);
/// A part of a write or an evaluation.
const INTO_THE_MOMENT: Duration = Duration::from_millis(2);

/// A kill that was done.
#[derive(Debug, Clone)]
pub(super) struct Done {
    /// What it was seen to hit.
    pub moment: Moment,
    /// Whom.
    pub victim: Victim,
    /// The ranks of the start that died.
    pub ranks: Vec<u32>,
    /// All processes of the job.
    pub pids: Vec<u32>,
}

/// Waits for the moment of `kill` and kills; `None` when the run ended before. `due` is the step from which on moments
/// within training count, `start_up` what a start takes from its ranks' beginning to its first step, and `before` the
/// ranks of the start that died last.
pub(super) fn perform(
    running: &mut Running,
    run: &RunFiles,
    kill: Kill,
    due: u64,
    start_up: Duration,
    before: &[u32],
    watch: &mut Watch,
) -> Option<Done> {
    let root = running.pid();
    let is_fresh = |ranks: &[u32]| !ranks.is_empty() && !ranks.iter().any(|rank| before.contains(rank));
    if !came(running, PATIENCE, false, || is_fresh(&Processes::of(root).ranks)) {
        return None;
    }
    let hits = |moment: Moment| match moment {
        Moment::InWrite => is_saving(run),
        Moment::InEvaluation => is_evaluating(run, STEPS_PER_EPOCH),
        Moment::Anytime | Moment::StartUp => true,
    };
    if kill.moment == Moment::StartUp {
        let moment = Instant::now() + start_up.mul_f64(0.9 * kill.share);
        came(running, PATIENCE, false, || watch.trains(run) || Instant::now() > moment);
    } else {
        let due = due.min(STEPS - STEPS_PER_EPOCH - 1);
        came(running, PATIENCE, false, || watch.trains(run) && recorded_step(run) >= due);
        if kill.moment == Moment::Anytime {
            std::thread::sleep(ANYTIME.mul_f64(kill.share));
        } else {
            came(running, PATIENCE, true, || hits(kill.moment));
            std::thread::sleep(INTO_THE_MOMENT.mul_f64(kill.share));
        }
    }
    let processes = Processes::of(root);
    let (victim, pid) = match processes.victim(kill.victim, kill.share) {
        Some(pid) => (kill.victim, pid),
        // The ranks have not begun, or have ended already.
        None => (Victim::Mpirun, processes.mpirun?),
    };
    let pids = running.pids();
    let before_it = hits(kill.moment);
    if running.has_ended() {
        return None;
    }
    send("KILL", &[pid]);
    let moment = match kill.moment {
        Moment::StartUp if watch.trains(run) => Moment::Anytime,
        // What was seen before and after the signal was there when it came.
        Moment::InWrite | Moment::InEvaluation if !(before_it && hits(kill.moment)) => Moment::Anytime,
        meant => meant,
    };
    Some(Done { moment, victim, ranks: processes.ranks, pids })
}
