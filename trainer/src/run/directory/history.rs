//! `history.jsonl`: one line for each start of a run, with what was typed and what changed.

use std::io::Write;
use std::time::SystemTime;

use dtrain_configs::RunDir;
use serde::{Deserialize, Serialize};

use super::change::Change;
use super::rollback::Rollback;
use crate::track::rfc3339;

/// A start of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// When, RFC 3339.
    pub started: String,
    /// Optimizer steps that were done before it.
    pub step: u64,
    /// Ranks.
    pub world_size: usize,
    /// The settings that were typed for it.
    pub overrides: Vec<String>,
    /// What is not as it was at the start before.
    pub changes: Vec<Change>,
    /// Where an alarm has taken the run back to the beginning of this start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back: Option<Rollback>,
}

impl Start {
    /// A start of now.
    pub fn now(step: u64, world_size: usize, overrides: &[String], changes: &[Change]) -> Self {
        let started = rfc3339(SystemTime::now());
        let (overrides, changes) = (overrides.to_vec(), changes.to_vec());
        Self { started, step, world_size, overrides, changes, rolled_back: None }
    }

    /// Adds the line to the run's file, in one write, so that a process that is killed leaves whole lines.
    ///
    /// # Errors
    /// I/O errors.
    pub fn append(&self, run: &RunDir) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        fs_err::OpenOptions::new().create(true).append(true).open(run.history())?.write_all(&line)
    }
}
