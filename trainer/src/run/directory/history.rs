//! `history.jsonl`: one line for each start of a run, with what was typed and what changed.

use std::io::Write;
use std::time::SystemTime;

use dtrain_configs::RunDir;
use dtrain_configs::schema::{Role, ScheduleLength};
use serde::{Deserialize, Serialize};

use crate::track::rfc3339;

/// A setting that is not what it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Dotted.
    pub key: String,
    /// As JSON; `null` where it was not set.
    pub was: serde_json::Value,
    /// As JSON.
    pub now: serde_json::Value,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` was {} and is now {}", self.key, self.was, self.now)
    }
}

impl Change {
    /// Why the run may go on with it, for the banner. `word`: what was said about another length.
    pub fn reason(&self, word: Option<ScheduleLength>) -> String {
        let why = match Role::of(&self.key) {
            Role::Length => match word {
                Some(ScheduleLength::Keep) => "the schedule stays as it is, by `schedule.length=keep`",
                Some(ScheduleLength::New) => "the schedule is computed anew, by `schedule.length=new`",
                None => "what was done does not depend on the length",
            },
            Role::Location => "what lies there is compared, not where",
            Role::Upkeep | Role::Start | Role::Recipe => "no weight depends on it",
        };
        format!("was {}; {why}", self.was)
    }
}

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
}

impl Start {
    /// A start of now.
    pub fn now(step: u64, world_size: usize, overrides: &[String], changes: &[Change]) -> Self {
        let started = rfc3339(SystemTime::now());
        Self { started, step, world_size, overrides: overrides.to_vec(), changes: changes.to_vec() }
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
