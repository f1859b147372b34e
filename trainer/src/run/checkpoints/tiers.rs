//! Where a run's checkpoints are: the run directory, which is durable, and, where it is asked for, a folder on a fast disk
//! of rank 0's node for those in between. A run goes on from the newest valid one of both.

use std::fmt;
use std::path::Path;

use dtrain_configs::RunDir;

use crate::checkpoint::{CheckpointError, CheckpointStore, Loaded, Validation};
use crate::error::TrainError;

/// Key of a manifest's metadata under which the run is named.
pub(super) const RUN_ID_KEY: &str = "run_id";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierName {
    /// In the run directory.
    Durable,
    /// On the fast disk.
    Local,
}

impl fmt::Display for TierName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TierName::Durable => "durable",
            TierName::Local => "local",
        })
    }
}

/// Folder of a run's checkpoints below `checkpoint.local_dir`, which many runs may share.
pub fn local_folder(local_dir: &Path, run_id: &str) -> std::path::PathBuf {
    local_dir.join(run_id)
}

/// The newest valid checkpoint of `run`, and on which tier it is; `None` when there is none yet. Warnings say what was
/// passed over.
///
/// # Errors
/// A checkpoint of another run or of a newer program; durable checkpoints of which none is valid, unless a local one is.
pub fn newest(
    run: &RunDir,
    local_dir: Option<&Path>,
    run_id: Option<&str>,
) -> Result<Option<(Loaded, TierName)>, TrainError> {
    // Opening repairs what a killed process left half done.
    let durable = CheckpointStore::open(run.checkpoints())?.load_latest(Validation::Full);
    let durable_step = durable.as_ref().ok().and_then(|found| Some(found.as_ref()?.manifest.step));
    let local = local_dir.zip(run_id).map_or(Ok(None), |(dir, id)| newer_local(dir, id, durable_step))?;
    let found = match (local, durable) {
        (Some(loaded), durable) => {
            if let Err(error) = durable {
                require_readable(&error)?;
                tracing::warn!("{error}");
            }
            Some((loaded, TierName::Local))
        }
        (None, durable) => durable?.map(|loaded| (loaded, TierName::Durable)),
    };
    if let Some(((loaded, _), id)) = found.as_ref().zip(run_id) {
        require_own(loaded, id)?;
    }
    Ok(found)
}

/// The local checkpoint, if it is newer than the durable one. Nothing that is wrong with this tier stops a run, but for what
/// another run or a newer program wrote.
fn newer_local(dir: &Path, id: &str, durable_step: Option<u64>) -> Result<Option<Loaded>, CheckpointError> {
    let folder = local_folder(dir, id);
    if !folder.is_dir() {
        return Ok(None);
    }
    let found = CheckpointStore::open(folder).and_then(|store| store.load_latest(Validation::Full));
    match found {
        Ok(found) => Ok(found.filter(|loaded| durable_step.is_none_or(|step| loaded.manifest.step > step))),
        Err(error) => {
            require_readable(&error)?;
            tracing::warn!("the local tier is passed over: {error}");
            Ok(None)
        }
    }
}

/// Falling back would lose what a newer program trained.
fn require_readable(error: &CheckpointError) -> Result<(), CheckpointError> {
    match error {
        CheckpointError::NewerFormat { path, found, supported } => {
            Err(CheckpointError::NewerFormat { path: path.clone(), found: *found, supported: *supported })
        }
        _ => Ok(()),
    }
}

/// Refuses a checkpoint that names another run.
fn require_own(loaded: &Loaded, expected: &str) -> Result<(), CheckpointError> {
    let found = loaded.manifest.metadata.get(RUN_ID_KEY).and_then(|id| id.as_str());
    match found.filter(|found| *found != expected) {
        None => Ok(()),
        Some(found) => Err(CheckpointError::OtherRun {
            path: loaded.dir.clone(),
            found: found.into(),
            expected: expected.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::checkpoint::{ManifestInfo, REQUIRED_FILES};

    fn save(folder: &Path, step: u64, id: &str) {
        let mut staged = CheckpointStore::open(folder).unwrap().begin(step).unwrap();
        for name in REQUIRED_FILES {
            staged.write_file(name, |file: &mut dyn Write| Ok(file.write_all(id.as_bytes())?)).unwrap();
        }
        let metadata = [(RUN_ID_KEY.to_owned(), id.into())].into();
        staged.commit(ManifestInfo { metadata, ..ManifestInfo::default() }).unwrap();
    }

    struct Place {
        _dir: tempfile::TempDir,
        run: RunDir,
        local: std::path::PathBuf,
    }

    impl Place {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let (run, local) = (RunDir::new(dir.path().join("run")), dir.path().join("fast"));
            Self { _dir: dir, run, local }
        }

        fn newest(&self) -> Result<Option<(u64, TierName)>, TrainError> {
            let found = newest(&self.run, Some(&self.local), Some("me"))?;
            Ok(found.map(|(loaded, tier)| (loaded.manifest.step, tier)))
        }

        fn cut(&self, folder: &Path, step: u64) {
            let file = folder.join(format!("step-{step:08}/model.safetensors"));
            std::fs::write(file, "").unwrap();
        }
    }

    #[test]
    fn the_newest_valid_one_of_both_tiers_is_taken() {
        let place = Place::new();
        let mine = local_folder(&place.local, "me");
        assert_eq!(place.newest().unwrap(), None);
        save(&place.run.checkpoints(), 20, "me");
        assert_eq!(place.newest().unwrap(), Some((20, TierName::Durable)));
        save(&mine, 30, "me");
        assert_eq!(place.newest().unwrap(), Some((30, TierName::Local)));
        place.cut(&mine, 30);
        assert_eq!(place.newest().unwrap(), Some((20, TierName::Durable)));
        save(&mine, 30, "me");
        save(&place.run.checkpoints(), 40, "me");
        assert_eq!(place.newest().unwrap(), Some((40, TierName::Durable)));
        for step in [20, 40] {
            place.cut(&place.run.checkpoints(), step);
        }
        assert_eq!(place.newest().unwrap(), Some((30, TierName::Local)));
        place.cut(&mine, 30);
        assert!(matches!(place.newest(), Err(TrainError::Checkpoint(CheckpointError::NoneValid { .. }))));
    }

    #[test]
    fn checkpoints_of_another_run_are_refused_and_other_runs_folders_are_not_looked_at() {
        let place = Place::new();
        save(&place.run.checkpoints(), 20, "me");
        save(&local_folder(&place.local, "other"), 90, "other");
        assert_eq!(place.newest().unwrap(), Some((20, TierName::Durable)));
        save(&local_folder(&place.local, "me"), 30, "other");
        let error = place.newest().unwrap_err();
        assert!(error.to_string().ends_with("belongs to another run: other instead of me"), "{error}");
        std::fs::remove_dir_all(&place.local).unwrap();
        save(&place.run.checkpoints(), 50, "other");
        assert!(place.newest().unwrap_err().to_string().contains("step-00000050` belongs to another run"));
    }
}
