//! The folder of a run's checkpoints: what is in it, which one to load, and what happens to the others.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::disk;
use super::durable::{fsync_dir, parent_of, require_space, require_writable, write_atomic};
use super::error::{CheckpointError, Fault};
use super::manifest::{MANIFEST_FILE, Manifest, Validation, folder_step, step_folder};
use super::retention::{Existing, RetentionAction, RetentionPolicy};

/// Name of the file that names the newest checkpoint.
pub const LATEST_FILE: &str = "latest";
/// Folder of a checkpoint that is being written.
pub(super) const STAGING_PREFIX: &str = ".staging-";
/// Folder that gives way to a new one of the same step.
pub(super) const REPLACED_PREFIX: &str = ".replaced-";
/// Folder that is being deleted.
const TRASH_PREFIX: &str = ".trash-";

const MAX_LATEST_BYTES: u64 = 256;

/// A run's `checkpoints` folder. One process at a time writes to it.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    dir: PathBuf,
}

/// A checkpoint that can be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Its folder.
    pub dir: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// What was passed over on the way to it; to be shown to the user.
    pub warnings: Vec<LoadWarning>,
}

/// Why another checkpoint than the newest is loaded, or how it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoadWarning {
    /// `latest` does not name a checkpoint: missing, empty or damaged.
    Latest {
        /// The file.
        path: PathBuf,
        /// In which way.
        reason: String,
    },
    /// A checkpoint was passed over.
    Skipped {
        /// Its folder.
        dir: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// A checkpoint, valid or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Step in the folder's name.
    pub step: u64,
    /// Its folder.
    pub dir: PathBuf,
    /// Whether `latest` names it.
    pub is_latest: bool,
    /// What it holds, or what is wrong with it.
    pub manifest: Result<Manifest, Fault>,
}

impl CheckpointStore {
    /// Opens the folder for saving: creates it where needed, finishes what a killed process left half done and removes
    /// its leftovers. For the one process that trains.
    ///
    /// # Errors
    /// I/O errors.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let store = Self { dir: dir.into() };
        if !store.dir.is_dir() {
            fs::create_dir_all(&store.dir).map_err(|e| CheckpointError::from_io(e, parent_of(&store.dir)))?;
            fsync_dir(parent_of(&store.dir))?;
        }
        store.recover()?;
        Ok(store)
    }

    /// Opens the folder for looking only; also while another process saves into it. It need not exist.
    pub fn inspect(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Asks whether `bytes` more will fit, before anything is written.
    ///
    /// # Errors
    /// [`CheckpointError::DiskFull`] with need and free space.
    pub fn require_space(&self, bytes: u64) -> Result<(), CheckpointError> {
        require_space(&self.dir, bytes)
    }

    /// Asks whether files can be written here, before there is anything to write.
    ///
    /// # Errors
    /// I/O errors, which name the path.
    pub fn require_writable(&self) -> Result<(), CheckpointError> {
        require_writable(&self.dir)
    }

    /// The checkpoint that `latest` names or, where that cannot be loaded, the newest one that can; `None` when there
    /// is none at all.
    ///
    /// # Errors
    /// [`CheckpointError::NoneValid`], [`CheckpointError::NewerFormat`] (falling back would lose what a newer program
    /// trained) and I/O errors.
    pub fn load_latest(&self, level: Validation) -> Result<Option<Loaded>, CheckpointError> {
        let mut candidates = self.steps()?;
        candidates.reverse();
        let mut warnings = Vec::new();
        match self.read_latest() {
            Ok(Some(step)) => {
                candidates.retain(|candidate| *candidate != step);
                candidates.insert(0, step);
            }
            Ok(None) if candidates.is_empty() => return Ok(None),
            Ok(None) => warnings.push(self.latest_warning("is missing")),
            Err(reason) => warnings.push(self.latest_warning(&reason)),
        }
        let mut faults = Vec::new();
        for step in candidates {
            let dir = self.folder(step);
            match examine(&dir, Some(step), level) {
                Ok(manifest) => return Ok(Some(Loaded { dir, manifest, warnings })),
                Err(fault @ Fault::NewerFormat { .. }) => return Err(CheckpointError::of_fault(&dir, fault)),
                Err(fault) => {
                    warnings.push(LoadWarning::Skipped { dir: dir.clone(), fault: fault.clone() });
                    faults.push((dir, fault));
                }
            }
        }
        Err(CheckpointError::NoneValid { path: self.dir.clone(), faults })
    }

    /// The checkpoint at `path`: its folder, the `checkpoints` folder or a run directory (then as
    /// [`Self::load_latest`]).
    ///
    /// # Errors
    /// [`CheckpointError::NotACheckpoint`], [`CheckpointError::Damaged`] with the fault, and those of
    /// [`Self::load_latest`].
    pub fn open_at(path: &Path, level: Validation) -> Result<Loaded, CheckpointError> {
        for dir in [path.join("checkpoints"), path.to_owned()] {
            let store = Self::inspect(dir);
            if store.dir.is_dir() && (store.dir.join(LATEST_FILE).exists() || !store.steps()?.is_empty()) {
                let loaded = store.load_latest(level)?;
                return loaded.ok_or_else(|| CheckpointError::NotACheckpoint { path: path.into() });
            }
        }
        // The name is free here: a copy may be called `best`.
        let step = path.file_name().and_then(|name| folder_step(&name.to_string_lossy()));
        match examine(path, step, level) {
            Ok(manifest) => Ok(Loaded { dir: path.to_owned(), manifest, warnings: Vec::new() }),
            Err(Fault::NoManifest) if step.is_none() => {
                Err(CheckpointError::NotACheckpoint { path: path.into() })
            }
            Err(fault) => Err(CheckpointError::of_fault(path, fault)),
        }
    }

    /// All checkpoints, valid or not, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self, level: Validation) -> Result<Vec<Listed>, CheckpointError> {
        let latest = self.read_latest().ok().flatten();
        let list = |step| {
            let dir = self.folder(step);
            let manifest = examine(&dir, Some(step), level);
            Listed { step, dir, is_latest: latest == Some(step), manifest }
        };
        Ok(self.steps()?.into_iter().map(list).collect())
    }

    /// What `policy` would delete now; `monitor` names the metric in the manifests, and the newest checkpoint up to each step of
    /// `keeps` stays.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn plan(
        &self,
        policy: &RetentionPolicy,
        monitor: Option<&str>,
        keeps: &[u64],
    ) -> Result<Vec<RetentionAction>, CheckpointError> {
        let list = self.list(Validation::Quick)?;
        let latest = list.iter().find(|listed| listed.is_latest).map(|listed| listed.step);
        let value = |manifest: &Manifest| monitor.and_then(|name| manifest.metrics.get(name).copied());
        let existing: Vec<_> = list
            .iter()
            .map(|listed| Existing {
                step: listed.step,
                valid: listed.manifest.is_ok(),
                value: listed.manifest.as_ref().ok().and_then(value),
            })
            .collect();
        Ok(policy.plan(&existing, latest, keeps))
    }

    /// Performs `actions`.
    ///
    /// # Errors
    /// [`CheckpointError::LastGood`] for the checkpoint that [`Self::load_latest`] would give, and I/O errors.
    pub fn apply(&self, actions: &[RetentionAction]) -> Result<(), CheckpointError> {
        let last_good = match self.load_latest(Validation::Quick) {
            Ok(loaded) => loaded.map(|loaded| loaded.manifest.step),
            Err(CheckpointError::NoneValid { .. }) => None,
            Err(error) => return Err(error),
        };
        for RetentionAction::Delete { step } in actions {
            if Some(*step) == last_good {
                return Err(CheckpointError::LastGood { step: *step });
            }
            let folder = self.folder(*step);
            if folder.exists() {
                let trash = self.dir.join(format!("{TRASH_PREFIX}{}", step_folder(*step)));
                if trash.exists() {
                    remove_checkpoint(&trash)?;
                }
                disk::rename(&folder, &trash)?;
                fsync_dir(&self.dir)?;
                remove_checkpoint(&trash)?;
            }
        }
        Ok(())
    }

    /// Makes the checkpoint of `step` the newest one: later ones are moved into the folder `aside`, on the same disk.
    ///
    /// # Errors
    /// I/O errors; what was moved before stays moved, and another call goes on.
    pub fn go_back_to(&self, step: u64, aside: &Path) -> Result<(), CheckpointError> {
        fs::create_dir_all(aside)?;
        self.point_latest_to(step)?;
        for later in self.steps()?.into_iter().filter(|&later| later > step) {
            disk::rename(&self.folder(later), &aside.join(step_folder(later)))?;
        }
        fsync_dir(aside)?;
        Ok(fsync_dir(&self.dir)?)
    }

    /// Step of the newest valid checkpoint up to and including `step`.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn newest_up_to(&self, step: u64) -> Result<Option<u64>, CheckpointError> {
        let list = self.list(Validation::Full)?;
        let valid = list.into_iter().rev().find(|listed| listed.step <= step && listed.manifest.is_ok());
        Ok(valid.map(|listed| listed.step))
    }

    pub(super) fn point_latest_to(&self, step: u64) -> Result<(), CheckpointError> {
        write_atomic(&self.dir.join(LATEST_FILE), format!("{}\n", step_folder(step)).as_bytes())
    }

    pub(super) fn remove_replaced(&self, step: u64) -> Result<(), CheckpointError> {
        let folder = self.dir.join(format!("{REPLACED_PREFIX}{}", step_folder(step)));
        if folder.exists() { remove_checkpoint(&folder) } else { Ok(()) }
    }

    fn folder(&self, step: u64) -> PathBuf {
        self.dir.join(step_folder(step))
    }

    /// Steps of all checkpoint folders, in order.
    fn steps(&self) -> Result<Vec<u64>, CheckpointError> {
        let mut steps: Vec<_> = self.names()?.iter().filter_map(|name| folder_step(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    fn names(&self) -> Result<Vec<String>, CheckpointError> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    /// The step that `latest` names; `None` when there is no such file, and the reason when it names nothing.
    fn read_latest(&self) -> Result<Option<u64>, String> {
        let file = match fs::File::open(self.dir.join(LATEST_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(|error| format!("cannot be read: {error}"))?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_LATEST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| format!("cannot be read: {error}"))?;
        let name = String::from_utf8_lossy(&bytes);
        let step = folder_step(name.trim_end());
        step.map(Some).ok_or_else(|| format!("names no checkpoint: `{}`", name.trim_end().escape_debug()))
    }

    fn latest_warning(&self, reason: &str) -> LoadWarning {
        LoadWarning::Latest { path: self.dir.join(LATEST_FILE), reason: reason.into() }
    }

    /// Removes what killed processes left, and brings back a folder that was moved aside for one that never came.
    fn recover(&self) -> Result<(), CheckpointError> {
        for name in self.names()? {
            let path = self.dir.join(&name);
            if let Some(step) = name.strip_prefix(REPLACED_PREFIX).and_then(folder_step) {
                let successor = self.folder(step);
                if examine(&successor, Some(step), Validation::Quick).is_err() {
                    if successor.exists() {
                        remove_checkpoint(&successor)?;
                    }
                    disk::rename(&path, &successor)?;
                    fsync_dir(&self.dir)?;
                } else {
                    remove_checkpoint(&path)?;
                }
            } else if name.starts_with(STAGING_PREFIX) || name.starts_with(TRASH_PREFIX) {
                remove_checkpoint(&path)?;
            } else if name.starts_with(".latest.tmp-") || name.starts_with(".probe-") {
                disk::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Loaded {
    /// Where the file `name` is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Reads a file and compares it with its checksum, whatever was checked before.
    ///
    /// # Errors
    /// [`CheckpointError::Damaged`], also for a file that the manifest does not list.
    pub fn read_file(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let entry = self.manifest.files.get(name);
        let entry = entry.ok_or_else(|| Fault::MissingPart { file: name.into() });
        entry
            .and_then(|entry| entry.read(&self.dir, name))
            .map_err(|fault| CheckpointError::of_fault(&self.dir, fault))
    }
}

impl fmt::Display for LoadWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadWarning::Latest { path, reason } => {
                write!(f, "`{}` {reason}; looking for the newest valid checkpoint", path.display())
            }
            LoadWarning::Skipped { dir, fault } => {
                write!(f, "checkpoint `{}` is passed over: {fault}", dir.display())
            }
        }
    }
}

/// The manifest of the checkpoint in `dir` when all is as it promises. `step` is that of the folder's name.
fn examine(dir: &Path, step: Option<u64>, level: Validation) -> Result<Manifest, Fault> {
    let manifest = Manifest::read(dir)?;
    if let Some(folder) = step.filter(|step| *step != manifest.step) {
        return Err(Fault::Step { folder, manifest: manifest.step });
    }
    manifest.check(dir, level)?;
    Ok(manifest)
}

/// Removes a folder, its manifest first, so that a half-deleted one is never taken for a checkpoint.
fn remove_checkpoint(folder: &Path) -> Result<(), CheckpointError> {
    match disk::remove_file(&folder.join(MANIFEST_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    fsync_dir(folder)?;
    Ok(disk::remove_tree(folder)?)
}
