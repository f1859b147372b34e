//! Checkpoints that a run goes on from, and weights that it starts from: rank 0 reads, all ranks know.

use std::path::{Path, PathBuf};

use dtrain_comm::{Collective, CollectiveExt, Stage};

use super::prepare::Prepared;
use super::tiers::{TierName, newest};
use super::{LoopState, RunDir, agreed, run_id};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Loaded, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE, Sections, TensorFile,
    Validation,
};
use crate::error::TrainError;
use crate::state::{Stored, copy_into, tensor_of};

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
        self.stored().restore(&mut prepared.engine.stateful(), &LoopState::SECTIONS)
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
    let there_is_one = collective.broadcast_bytes(vec![u8::from(here.is_some())], 0)?;
    if there_is_one != [1] {
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

const WEIGHTS_HINT: &str = "give a run directory, a checkpoint folder or a safetensors file";

/// Starts from the weights that another run or program left: every tensor that both have in the same shape.
///
/// # Errors
/// The same on all ranks: weights that are not there, cannot be read or do not fit.
pub fn init_weights(
    collective: &dyn Collective,
    prepared: &mut Prepared,
    path: &Path,
) -> Result<usize, TrainError> {
    let _stage = collective.heartbeat().enter(Stage::Loading);
    let bytes = || -> Result<Vec<u8>, TrainError> {
        if !path.exists() {
            return Err(TrainError::config(
                format!("`init_from={}` does not exist", path.display()),
                WEIGHTS_HINT,
            ));
        }
        if path.is_dir() {
            let loaded = CheckpointStore::open_at(path, Validation::Full)?;
            return Ok(fs_err::read(loaded.dir.join(MODEL_FILE))?);
        }
        Ok(fs_err::read(path)?)
    };
    let here = if collective.world().rank == 0 { bytes() } else { Ok(Vec::new()) };
    let bytes = collective.broadcast_bytes(agreed(collective, here)?, 0)?;
    let file = TensorFile::parse(bytes).map_err(|e| {
        TrainError::config(format!("`init_from={}` cannot be read: {e}", path.display()), WEIGHTS_HINT)
    })?;
    let mut used = 0;
    // A memory queue holds rows of another run's encoder.
    let targets = prepared.engine.parameters().named().filter(|(name, _)| !name.starts_with("queue."));
    for (name, target) in targets {
        // A backbone exported on its own carries torchvision's bare names.
        let bare = name.strip_prefix("backbone.").unwrap_or(name);
        let Some(view) = [name, bare].into_iter().find_map(|n| file.tensor(n).ok()) else { continue };
        let shape: Vec<i64> = view.spec.shape.iter().map(|&n| n as i64).collect();
        if shape != target.size() {
            if name.starts_with("backbone.") {
                return Err(TrainError::config(
                    format!(
                        "`init_from={}`: `{name}` is {shape:?} there and {:?} here",
                        path.display(),
                        target.size()
                    ),
                    "choose the `model` and `data` that the weights were trained with",
                ));
            }
            continue;
        }
        copy_into(&target, &tensor_of(view.spec, view.bytes)?)?;
        used += 1;
    }
    if used == 0 {
        return Err(TrainError::config(
            format!("`init_from={}` shares no tensor name with this model", path.display()),
            "names are torchvision's, with or without `backbone.` in front",
        ));
    }
    Ok(used)
}
