//! The run's directory as a start takes it: named, locked, with everything in it that training writes to.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::SystemTime;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::{RunConfig, RunDir};

use crate::error::TrainError;
use crate::run::agree::{agreed, rank_0_says};
use crate::run::checkpoints::Saver;
use crate::run::directory::{RunLock, choose_run_dir, lock_existing, lock_new};
use crate::run::prepare::Prepared;
use crate::state::Layout;

/// A run directory that is this start's own; others get it back when this is dropped.
pub(super) struct Claim {
    pub(super) run_dir: RunDir,
    /// Whether it held a run before.
    pub(super) continues: bool,
    /// Rank 0's.
    lock: Option<RunLock>,
}

impl Claim {
    /// Names the directory, the same on all ranks, and locks it if it is there.
    ///
    /// # Errors
    /// Another process trains in it.
    pub(super) fn new(config: &RunConfig, ranks: &dyn Collective) -> Result<Self, TrainError> {
        let run_dir = agreed_run_dir(config, ranks)?;
        let lock = lock_existing(ranks, &run_dir)?;
        let continues = holds_a_run(ranks, &run_dir)?;
        Ok(Self { run_dir, continues, lock })
    }

    /// Makes the directory, locks it where it was not there, and opens rank 0's saver. `on_run_dir` is told when logs can go
    /// there.
    ///
    /// # Errors
    /// The same on all ranks: what cannot be made, or has no room for checkpoints.
    pub(super) fn open(
        &mut self,
        prepared: &Prepared,
        layouts: &[Layout],
        on_run_dir: &dyn Fn(&RunDir) -> std::io::Result<()>,
    ) -> Result<Option<Saver>, TrainError> {
        let ranks = &**prepared.engine.collective();
        let run_dir = &self.run_dir;
        let made = fs_err::create_dir_all(run_dir.path().join("logs")).and_then(|()| on_run_dir(run_dir));
        agreed(ranks, made.map_err(cannot_be_made))?;
        let opened = if ranks.world().rank == 0 {
            lock_new(run_dir, self.lock.take(), self.continues).and_then(|lock| {
                let saver = open_saver(run_dir, prepared, layouts)?;
                Ok((Some(lock), saver))
            })
        } else {
            Ok((None, None))
        };
        let (lock, saver) = agreed(ranks, opened)?;
        self.lock = lock;
        Ok(saver)
    }
}

fn cannot_be_made(error: std::io::Error) -> TrainError {
    TrainError::environment(
        format!("the run directory cannot be made: {error}"),
        "choose another `run.dir` or `run.root`",
    )
}

/// Rank 0 names the directory; all ranks hear its name.
fn agreed_run_dir(config: &RunConfig, collective: &dyn Collective) -> Result<RunDir, TrainError> {
    let here = match collective.world().rank {
        0 => choose_run_dir(config, SystemTime::now()).path().as_os_str().as_encoded_bytes().to_vec(),
        _ => Vec::new(),
    };
    Ok(RunDir::new(OsString::from_vec(collective.broadcast_bytes(here, 0)?)))
}

fn holds_a_run(collective: &dyn Collective, run_dir: &RunDir) -> Result<bool, TrainError> {
    rank_0_says(collective, collective.world().rank == 0 && run_dir.holds_a_run())
}

/// Rank 0's saver; the others have none, and neither has a run that never saves.
fn open_saver(
    run_dir: &RunDir,
    prepared: &Prepared,
    layouts: &[Layout],
) -> Result<Option<Saver>, TrainError> {
    let config = &prepared.config.checkpoint;
    if prepared.engine.collective().world().rank != 0 || config.every_steps == Some(0) {
        return Ok(None);
    }
    Ok(Some(Saver::open(run_dir, config, layouts, prepared.engine.device())?))
}
