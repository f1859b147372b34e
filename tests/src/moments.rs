//! Moments of a run as they show from outside, in its directory and in `/proc`: what tests wait for before they kill.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::job::Running;
use crate::processes::{descendants, mpi_rank, runs};
use crate::program::dtrain_binary;
use crate::run_files::RunFiles;

/// A checkpoint of a small network takes milliseconds to write.
const QUICK_POLL: Duration = Duration::from_micros(200);
const POLL: Duration = Duration::from_millis(2);

/// A process of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Victim {
    /// The first rank: it decides, writes and reports.
    Rank0,
    /// Any other.
    OtherRank,
    /// What started the ranks.
    Mpirun,
    /// `dtrain launch`.
    Launcher,
}

/// The processes of a job.
#[derive(Debug, Clone, Default)]
pub struct Processes {
    /// Ranks, in order; empty while none has begun.
    pub ranks: Vec<u32>,
    /// mpirun.
    pub mpirun: Option<u32>,
    /// The process that was started.
    pub root: u32,
}

impl Processes {
    /// Of the job that began with process `root`.
    pub fn of(root: u32) -> Self {
        let all = || std::iter::once(root).chain(descendants(root));
        let binary = std::fs::canonicalize(dtrain_binary()).expect("the program exists");
        let mut ranks: Vec<(u32, u32)> =
            all().filter(|pid| runs(*pid, &binary)).filter_map(|pid| Some((mpi_rank(pid)?, pid))).collect();
        ranks.sort_unstable();
        let mpirun = all().find(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            ["mpirun", "orterun", "mpiexec"].contains(&name.trim())
        });
        Self { ranks: ranks.into_iter().map(|(_, pid)| pid).collect(), mpirun, root }
    }

    /// The process to kill; `share` in [0, 1) chooses among several.
    pub fn victim(&self, victim: Victim, share: f64) -> Option<u32> {
        match victim {
            Victim::Rank0 => self.ranks.first().copied(),
            Victim::OtherRank => {
                let others = self.ranks.get(1..).unwrap_or_default();
                others.get((share * others.len() as f64) as usize).copied()
            }
            Victim::Mpirun => self.mpirun,
            Victim::Launcher => Some(self.root),
        }
    }
}

/// Whether a checkpoint is being written.
pub fn is_saving(run: &RunFiles) -> bool {
    let Ok(entries) = std::fs::read_dir(run.join("checkpoints")) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".staging-"))
}

/// Bytes of the checkpoint that is being written; 0 where none is.
pub fn staged_bytes(run: &RunFiles) -> u64 {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
    let staged = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".staging-"));
    staged.map(|entry| bytes_in(&entry.path())).sum()
}

/// Bytes of the files in a folder; files may come and go meanwhile.
pub fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Whether rank 0 is at an evaluation, by the last mark in its log; the log has marks under `RUST_LOG=debug`.
pub fn has_begun_evaluating(run: &RunFiles) -> bool {
    let log = std::fs::read_to_string(run.join("logs/rank_000.log")).unwrap_or_default();
    // A line whose end is missing is being written.
    let whole = log.rfind('\n').map_or("", |end| log.get(..end).unwrap_or_default());
    let mark = whole
        .lines()
        .rev()
        .find(|line| line.contains("evaluation begins") || line.contains("evaluation ends"));
    mark.is_some_and(|line| line.contains("evaluation begins"))
}

/// Whether the steps of an epoch are done and their evaluation is not.
pub fn is_evaluating(run: &RunFiles, steps_per_epoch: u64) -> bool {
    let lines = run.metrics();
    let Some(last) = lines.last().map(|line| line.step) else { return false };
    let is_measured = |name: &String| name.starts_with("val/") || name.starts_with("test/");
    let measured = lines.iter().any(|line| line.step == last && line.values.keys().any(is_measured));
    last > 0 && last.is_multiple_of(steps_per_epoch) && !measured
}

/// Newest step that is recorded.
pub fn recorded_step(run: &RunFiles) -> u64 {
    run.metrics().last().map_or(0, |line| line.step)
}

/// Waits until `condition` holds or the job ends or `patience` is over; whether it holds.
pub fn came(
    running: &mut Running,
    patience: Duration,
    quick: bool,
    mut condition: impl FnMut() -> bool,
) -> bool {
    let until = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > until || running.has_ended() {
            return condition();
        }
        std::thread::sleep(if quick { QUICK_POLL } else { POLL });
    }
}

/// Files in shared memory that belong to no job that runs: what jobs leave when they do not clean up.
pub fn shared_memory_files() -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let ours = |name: &String| name.starts_with("dtrain") || name.starts_with("vader_segment");
    // A launcher that lives holds the lock on this file of its folder.
    let is_owned = |name: &String| {
        let owner = std::fs::File::open(Path::new("/dev/shm").join(name).join("owner"));
        owner.is_ok_and(|owner| matches!(owner.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    };
    let shared = names(Path::new("/dev/shm")).into_iter();
    let mut found: Vec<String> = shared.filter(ours).filter(|name| !is_owned(name)).collect();
    found.sort();
    found
}
