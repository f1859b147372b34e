//! When a run that died trains again: the first line of metrics of the new start.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::run_files::RunFiles;

/// Looks at `metrics.jsonl`. A start replaces the file by its lines up to the checkpoint and then appends; the first
/// line that is appended ends the wait.
pub(super) struct Watch {
    since: Instant,
    /// File of the start that died.
    old_file: Option<u64>,
    /// File of this start and its length when it was first seen.
    new_file: Option<(u64, u64)>,
    trains_after: Option<Duration>,
}

impl Watch {
    /// From now on.
    pub fn new(run: &RunFiles) -> Self {
        Self {
            since: Instant::now(),
            old_file: look(run).map(|(file, _)| file),
            new_file: None,
            trains_after: None,
        }
    }

    /// Looks again; whether this start has trained a step.
    pub fn trains(&mut self, run: &RunFiles) -> bool {
        if self.trains_after.is_some() {
            return true;
        }
        let Some((file, len)) = look(run) else { return false };
        match self.new_file {
            Some((known, first_len)) if known == file && len > first_len => {
                self.trains_after = Some(self.since.elapsed());
            }
            Some((known, _)) if known == file => {}
            _ if self.old_file != Some(file) => self.new_file = Some((file, len)),
            _ => {}
        }
        self.trains_after.is_some()
    }

    /// From this watch's beginning to the first step that `other` saw.
    pub fn since_until(&self, other: &Watch) -> Duration {
        (other.since + other.trains_after.unwrap_or_default()).saturating_duration_since(self.since)
    }

    /// How long that took.
    pub fn trains_after(&self) -> Option<Duration> {
        self.trains_after
    }
}

fn look(run: &RunFiles) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(run.join("metrics.jsonl")).ok()?;
    Some((metadata.ino(), metadata.len()))
}
