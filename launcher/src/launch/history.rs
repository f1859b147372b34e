//! `restarts.jsonl`: one line for each attempt of a launched run, for people and for programs that count.

use std::io::Write;
use std::path::Path;

use dtrain_trainer::checkpoint::{CheckpointStore, Validation};
use dtrain_trainer::run::RunDir;
use serde::{Deserialize, Serialize};

/// An attempt that has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Counted over all launches of the run; names the folder below `logs/launch`.
    pub attempt: u32,
    /// When it began, RFC 3339.
    pub started: String,
    /// When it ended.
    pub ended: String,
    /// Number of processes.
    pub world_size: usize,
    /// Step of the newest durable checkpoint before it; `None` = from the beginning.
    pub from_step: Option<u64>,
    /// The same after it.
    pub to_step: Option<u64>,
    /// Exit code; 128 and a number stand for a signal.
    pub code: i32,
    /// The first to fail and how, in one line; `None` for an end that was meant.
    pub cause: Option<String>,
    /// What followed: `end`, `restart` or `give up`.
    pub decision: String,
}

impl Line {
    /// Adds the line to the run's file.
    ///
    /// # Errors
    /// I/O errors.
    pub fn append(&self, run: &RunDir) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        // One write, so that a launcher that is killed leaves whole lines.
        fs_err::OpenOptions::new().create(true).append(true).open(run.restarts())?.write_all(&line)
    }
}

/// The step of the newest durable checkpoint of a run.
pub fn newest_step(run: &RunDir) -> Option<u64> {
    let listed = CheckpointStore::inspect(run.checkpoints()).list(Validation::Quick).ok()?;
    listed.iter().filter(|checkpoint| checkpoint.manifest.is_ok()).map(|checkpoint| checkpoint.step).max()
}

/// The number of the next attempt: one more than the highest that left a folder.
pub fn next_attempt(folder: &Path) -> u32 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.strip_prefix("attempt_")?.parse::<u32>().ok());
    numbers.max().map_or(0, |highest| highest.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_over_all_launches() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(next_attempt(&folder.path().join("nowhere")), 0);
        assert_eq!(next_attempt(folder.path()), 0);
        for name in ["attempt_0", "attempt_9", "attempt_10", "attempt_x", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        assert_eq!(next_attempt(folder.path()), 11);
    }

    #[test]
    fn lines_are_added_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        assert_eq!(newest_step(&run), None);
        let mut line = Line {
            attempt: 0,
            started: "2026-01-01T00:00:00Z".into(),
            ended: "2026-01-01T00:00:09Z".into(),
            world_size: 2,
            from_step: None,
            to_step: Some(4),
            code: 137,
            cause: Some("rank 1 on `vm` was killed by SIGKILL (9)".into()),
            decision: "restart".into(),
        };
        line.append(&run).unwrap();
        line.attempt = 1;
        line.append(&run).unwrap();
        let text = std::fs::read_to_string(run.restarts()).unwrap();
        let lines: Vec<Line> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.iter().map(|line| line.attempt).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(lines[1], line);
    }
}
