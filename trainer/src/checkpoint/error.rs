//! Everything that can be wrong with a checkpoint, in words that name the file, the numbers and the next step.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::free_bytes;
use super::format::FrameError;
use super::tensor_spec::TensorFileError;

/// A save or load that failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// An operation of the file system failed; the message names operation and path.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No room for a file.
    #[error("not enough space in `{}`{}", path.display(), Space { need: *need_bytes, free: *free_bytes })]
    DiskFull {
        /// Folder on the full file system.
        path: PathBuf,
        /// What was to be written, where it was known beforehand.
        need_bytes: Option<u64>,
        /// What was left, where the file system tells.
        free_bytes: Option<u64>,
    },
    /// A checkpoint is not what its manifest promises.
    #[error("checkpoint `{}` is damaged: {fault}", path.display())]
    Damaged {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// There are checkpoints, and none of them is valid.
    #[error("none of the {} checkpoints in `{}` is valid{}", faults.len(), path.display(), FaultList(faults))]
    NoneValid {
        /// The folder that holds them.
        path: PathBuf,
        /// Each folder that was tried and what is wrong with it, newest first.
        faults: Vec<(PathBuf, Fault)>,
    },
    /// A checkpoint of a later program.
    #[error("checkpoint `{}` has format {found}, this program reads up to {supported}", path.display())]
    NewerFormat {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Format of the checkpoint.
        found: u32,
        /// Newest format that this program reads.
        supported: u32,
    },
    /// A path that was given as a checkpoint and is none.
    #[error("`{}` is not a checkpoint", path.display())]
    NotACheckpoint {
        /// The path.
        path: PathBuf,
    },
    /// A save was to be committed without one of its parts.
    #[error("checkpoint of step {step} lacks `{file}`")]
    MissingPart {
        /// Step of the save.
        step: u64,
        /// The file that was not written.
        file: String,
    },
    /// A name that cannot be a file of a checkpoint.
    #[error("`{name}` cannot be the name of a file in a checkpoint")]
    FileName {
        /// The name.
        name: String,
    },
    /// The checkpoint that resuming starts from was to be deleted.
    #[error("checkpoint of step {step} is the last good one and is not deleted")]
    LastGood {
        /// Its step.
        step: u64,
    },
    /// A component of this run finds nothing of itself in the checkpoint.
    #[error("the checkpoint lacks the state of `{name}`, which this run needs")]
    MissingSection {
        /// Name of the component.
        name: String,
    },
    /// The checkpoint holds a component that this run has not.
    #[error("the checkpoint holds the state of `{name}`, which this run has not")]
    UnknownSection {
        /// Name of the component.
        name: String,
    },
    /// Two components of one name: a broken promise between parts of this program.
    #[error("two components of this run are called `{name}`")]
    RepeatedSection {
        /// The name.
        name: String,
    },
    /// A checkpoint that another run wrote.
    #[error("checkpoint `{}` belongs to another run: {found} instead of {expected}", path.display())]
    OtherRun {
        /// The checkpoint's folder.
        path: PathBuf,
        /// Identity in the manifest.
        found: String,
        /// Identity of the run.
        expected: String,
    },
    /// A device has not given what was to be written.
    #[error("the copy of a checkpoint has failed: {reason}")]
    Copy {
        /// The device's words.
        reason: String,
    },
    /// The thread that writes checkpoints has ended, which it never does by itself.
    #[error("the thread that writes checkpoints has ended")]
    WriterGone,
    /// `state.bin` cannot be encoded or decoded.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// A safetensors file cannot be written or read.
    #[error("{0}")]
    Tensors(#[from] TensorFileError),
}

impl CheckpointError {
    /// What it means that a caller needs the checkpoint at `path`, which has a fault.
    pub(super) fn of_fault(path: &Path, fault: Fault) -> Self {
        let path = path.to_owned();
        match fault {
            Fault::NewerFormat { found, supported } => Self::NewerFormat { path, found, supported },
            Fault::NoFolder => Self::NotACheckpoint { path },
            fault => Self::Damaged { path, fault },
        }
    }

    /// An I/O error below `folder`; a full disk or quota becomes [`CheckpointError::DiskFull`].
    pub fn from_io(error: io::Error, folder: &Path) -> Self {
        if is_disk_full(&error) {
            let free_bytes = free_bytes(folder).ok();
            Self::DiskFull { path: folder.to_owned(), need_bytes: None, free_bytes }
        } else {
            Self::Io(error)
        }
    }

    /// Moves full disks out of [`CheckpointError::Io`], for errors that passed through a writer.
    pub(super) fn naming(self, folder: &Path) -> Self {
        match self {
            Self::Io(error) | Self::Tensors(TensorFileError::Io(error)) => Self::from_io(error, folder),
            other => other,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::DiskFull { .. } => Some(
                "free space or quota there, or put the run elsewhere with `run.dir`; earlier checkpoints are \
                 untouched and `dtrain resume` goes on from them"
                    .into(),
            ),
            Self::Damaged { .. } => Some(
                "`dtrain resume` on the run directory falls back to the newest valid checkpoint".into(),
            ),
            Self::NoneValid { .. } => Some(
                "restore one from a backup, or start again in a new `run.dir`".into(),
            ),
            Self::NewerFormat { .. } => {
                Some("use the version of dtrain that wrote it, or a newer one".into())
            }
            Self::NotACheckpoint { .. } => {
                Some("give a folder such as `<run>/checkpoints/step-00001200`, or the run directory".into())
            }
            Self::MissingSection { .. } | Self::UnknownSection { .. } => Some(
                "use the model, method, optimizer and precision of the run that wrote it, or `init_from` to start a new \
                 run from its weights"
                    .into(),
            ),
            Self::OtherRun { .. } => Some(
                "move it away; `init_from=` starts a new run from the weights of another one".into(),
            ),
            Self::Frame(error) => error.hint(),
            Self::Io(error) => hint_of_io(error.kind()),
            Self::RepeatedSection { .. }
            | Self::Copy { .. }
            | Self::WriterGone
            | Self::MissingPart { .. }
            | Self::FileName { .. }
            | Self::LastGood { .. }
            | Self::Tensors(_) => None,
        }
    }
}

/// What the machine has to grant.
fn hint_of_io(kind: io::ErrorKind) -> Option<String> {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, PermissionDenied | ReadOnlyFilesystem)
        .then(|| "change the permissions or choose a folder that you may write to".into())
}

/// Whether a write failed for want of space or quota.
pub fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Why a folder is not a valid checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The folder does not exist.
    NoFolder,
    /// There is no `manifest.json`: the save did not finish, or a deletion began.
    NoManifest,
    /// `manifest.json` is not what was written.
    Manifest {
        /// In which way.
        reason: String,
    },
    /// The manifest belongs to another step than the folder's name.
    Step {
        /// Step in the folder's name.
        folder: u64,
        /// Step in the manifest.
        manifest: u64,
    },
    /// A later program wrote it.
    NewerFormat {
        /// Format of the checkpoint.
        found: u32,
        /// Newest format that this program reads.
        supported: u32,
    },
    /// A part that every checkpoint has is not listed in the manifest.
    MissingPart {
        /// Name of the file.
        file: String,
    },
    /// A file is listed and does not exist.
    MissingFile {
        /// Name of the file.
        file: String,
    },
    /// A file has another length.
    Size {
        /// Name of the file.
        file: String,
        /// Bytes according to the manifest.
        expected_bytes: u64,
        /// Bytes on disk.
        actual_bytes: u64,
    },
    /// A file has other bytes.
    Checksum {
        /// Name of the file.
        file: String,
        /// XXH3-128 according to the manifest.
        expected: String,
        /// XXH3-128 of the bytes on disk.
        actual: String,
    },
    /// A file cannot be read.
    Unreadable {
        /// Name of the file.
        file: String,
        /// The operating system's words.
        reason: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoFolder => write!(f, "the folder does not exist"),
            Fault::NoManifest => write!(f, "it has no `manifest.json`, so the save did not finish"),
            Fault::Manifest { reason } => write!(f, "`manifest.json` {reason}"),
            Fault::Step { folder, manifest } => {
                write!(f, "its folder is named after step {folder} and its manifest is of step {manifest}")
            }
            Fault::NewerFormat { found, supported } => {
                write!(f, "it has format {found}, this program reads up to {supported}")
            }
            Fault::MissingPart { file } => write!(f, "it lacks the part `{file}`"),
            Fault::MissingFile { file } => write!(f, "`{file}` is missing"),
            Fault::Size { file, expected_bytes, actual_bytes } => {
                write!(f, "`{file}` has {actual_bytes} bytes instead of {expected_bytes}")
            }
            Fault::Checksum { file, expected, actual } => {
                write!(f, "`{file}` has checksum {actual} instead of {expected}")
            }
            Fault::Unreadable { file, reason } => write!(f, "`{file}` cannot be read: {reason}"),
        }
    }
}

struct Space {
    need: Option<u64>,
    free: Option<u64>,
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.need, self.free) {
            (Some(need), Some(free)) => write!(f, ": {} needed, {} free", Bytes(need), Bytes(free)),
            (None, Some(free)) => write!(f, ": {} free", Bytes(free)),
            (Some(need), None) => write!(f, ": {} needed", Bytes(need)),
            (None, None) => Ok(()),
        }
    }
}

/// A size in words, such as `1.2 GB` (powers of ten, as disks are sold and `df -H` counts).
#[derive(Debug, Clone, Copy)]
pub struct Bytes(
    /// Number of bytes.
    pub u64,
);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        match units.iter().find(|(size, _)| self.0 as f64 >= *size) {
            Some((size, unit)) => write!(f, "{:.1} {unit}", self.0 as f64 / size),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

struct FaultList<'a>(&'a [(PathBuf, Fault)]);

impl fmt::Display for FaultList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, fault) in self.0 {
            let name = path.file_name().unwrap_or(path.as_os_str());
            write!(f, "\n  {}: {fault}", name.to_string_lossy())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_file_and_the_numbers() {
        let damaged = CheckpointError::Damaged {
            path: "checkpoints/step-00000010".into(),
            fault: Fault::Size { file: "state.bin".into(), expected_bytes: 80, actual_bytes: 64 },
        };
        assert_eq!(
            damaged.to_string(),
            "checkpoint `checkpoints/step-00000010` is damaged: `state.bin` has 64 bytes instead of 80"
        );
        let full = CheckpointError::DiskFull {
            path: "runs/a".into(),
            need_bytes: Some(2_500_000_000),
            free_bytes: Some(999),
        };
        assert_eq!(full.to_string(), "not enough space in `runs/a`: 2.5 GB needed, 999 bytes free");
    }

    #[test]
    fn no_space_from_the_system_is_recognized() {
        for code in [nix::errno::Errno::ENOSPC, nix::errno::Errno::EDQUOT] {
            let error = CheckpointError::from_io(io::Error::from(code), Path::new("."));
            assert!(matches!(error, CheckpointError::DiskFull { .. }), "{code}");
        }
        let other = CheckpointError::from_io(io::Error::from(nix::errno::Errno::EIO), Path::new("."));
        assert!(matches!(other, CheckpointError::Io(_)));
    }
}
