//! Checkpoints that a run goes on from: rank 0 reads, all ranks know.

use std::path::{Path, PathBuf};

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::RunDir;

use super::loop_state::LoopState;
use super::tiers::{TierName, newest};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Loaded, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, Sections, TensorFile,
    Validation,
};
use crate::error::TrainError;
use crate::run::agree::{agreed, rank_0_says};
use crate::run::directory::run_id;
use crate::run::prepare::Prepared;
use crate::state::Stored;

/// Folder of a checkpoint, and the tier that it is on.
pub type Found = (PathBuf, TierName);

/// `state.bin`, the model's and the optimizer's tensors.
type Files = [Vec<u8>; 3];

/// A checkpoint's content, read by rank 0 and known to all ranks.
pub struct Restored {
    /// The loop's state.
    pub state: LoopState,
    /// Where it was read; rank 0 knows it.
    pub found: Option<Found>,
    sections: Sections,
    model: TensorFile,
    optimizer: TensorFile,
}

impl Restored {
    /// Puts the state of every component of the engine into place.
    ///
    /// # Errors
    /// What is missing, different or nobody's, by name.
    pub fn apply(&self, prepared: &mut Prepared) -> Result<(), TrainError> {
        self.stored().restore(&mut prepared.engine.stateful(), &LoopState::SECTIONS)?;
        // An evaluation may come before the first step.
        prepared.engine.freeze_as_before(self.state.coordinator.step)
    }

    /// Puts weights and buffers into place only.
    ///
    /// # Errors
    /// As [`Restored::apply`].
    pub fn apply_weights(&self, prepared: &Prepared) -> Result<(), TrainError> {
        prepared.engine.parameters().restore_weights(&self.stored())
    }

    fn stored(&self) -> Stored<'_> {
        Stored { sections: &self.sections, model: &self.model, optimizer: &self.optimizer }
    }
}

/// Loads the newest valid checkpoint of a run, of either tier; `None` when there is none yet.
///
/// # Errors
/// The same on all ranks.
pub fn load_newest(
    collective: &dyn Collective,
    run: &RunDir,
    local_dir: Option<&Path>,
) -> Result<Option<Restored>, TrainError> {
    broadcast(collective, || newest(run, local_dir, run_id::read(run)?.as_deref()))
}

/// Loads the checkpoint at `path`: its folder or a run directory.
///
/// # Errors
/// The same on all ranks.
pub fn load_at(collective: &dyn Collective, path: &Path) -> Result<Restored, TrainError> {
    let found = broadcast(collective, || {
        Ok(Some((CheckpointStore::open_at(path, Validation::Full)?, TierName::Durable)))
    })?;
    found.ok_or_else(|| {
        TrainError::config(
            format!("`{}` holds no checkpoint yet", path.display()),
            "train first, or give a folder like `.../checkpoints/step-...`",
        )
    })
}

fn broadcast(
    collective: &dyn Collective,
    find: impl FnOnce() -> Result<Option<(Loaded, TierName)>, TrainError>,
) -> Result<Option<Restored>, TrainError> {
    let _stage = collective.heartbeat().enter(Stage::Loading);
    let read = || -> Result<Option<(Files, Found)>, TrainError> {
        let Some((loaded, tier)) = find()? else { return Ok(None) };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!("loading {}", loaded.dir.display());
        let file = |name: &str| fs_err::read(loaded.dir.join(name));
        let files = [file(STATE_FILE)?, file(MODEL_FILE)?, file(OPTIMIZER_FILE)?];
        Ok(Some((files, (loaded.dir, tier))))
    };
    let here = if collective.world().rank == 0 { read() } else { Ok(None) };
    let here = agreed(collective, here)?;
    if !rank_0_says(collective, here.is_some())? {
        return Ok(None);
    }
    let (files, found) = match here {
        Some((files, found)) => (files, Some(found)),
        None => Default::default(),
    };
    let mut files = files.into_iter();
    let mut next = || collective.broadcast_bytes(files.next().unwrap_or_default(), 0);
    let (state, model, optimizer) = (next()?, next()?, next()?);
    let parsed = || -> Result<Restored, TrainError> {
        let sections = Sections::parse(&state)?;
        Ok(Restored {
            state: LoopState::get(&sections)?,
            found,
            sections,
            model: TensorFile::parse(model).map_err(CheckpointError::from)?,
            optimizer: TensorFile::parse(optimizer).map_err(CheckpointError::from)?,
        })
    };
    Ok(Some(agreed(collective, parsed())?))
}
