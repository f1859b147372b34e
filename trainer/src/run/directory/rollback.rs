//! `rollback.json`: that a run has gone back, why, and what it does otherwise since. Written before anything is moved, so that
//! a process that is killed on the way is followed by one that goes on with it.

use std::io;

use dtrain_configs::RunDir;
use dtrain_configs::schema::Alarm;
use serde::{Deserialize, Serialize};

use super::change::Change;
use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;

/// A run's way back. There is one at most.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollback {
    /// When, RFC 3339.
    pub at: String,
    /// Whose rule.
    pub alarm: Alarm,
    /// Step at which its evidence began.
    pub since: u64,
    /// Steps that were done.
    pub from_step: u64,
    /// Step of the checkpoint that the run goes on from.
    pub to_step: u64,
    /// `alarms.rollback_set`.
    pub set: Vec<String>,
    /// What follows from it, setting by setting.
    pub changes: Vec<Change>,
    /// Whether later checkpoints are out of the way.
    pub is_done: bool,
}

impl Rollback {
    /// That of a run; `None` if it has not gone back.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(run: &RunDir) -> Result<Option<Self>, TrainError> {
        let path = run.rollback();
        let text = match fs_err::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let read = serde_json::from_slice(&text).map(Some);
        read.map_err(|error| {
            TrainError::config(
                format!("`{}` says how the run went back and cannot be read: {error}", path.display()),
                "restore it from a copy: settings that changed there are known from it alone",
            )
        })
    }

    /// Writes it, durable.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, run: &RunDir) -> Result<(), TrainError> {
        let text = serde_json::to_vec_pretty(self).map_err(TrainError::internal)?;
        Ok(write_atomic(&run.rollback(), &text)?)
    }
}
