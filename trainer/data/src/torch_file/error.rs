//! What can be wrong with a file of `torch.save`, and the next step.

use std::io;
use std::path::{Path, PathBuf};

use crate::pickle::PickleProblem;

/// A file of `torch.save` that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}`: {problem}", path.display())]
pub struct TorchFileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: TorchFileProblem,
}

/// What is wrong with a file of `torch.save`. Offsets are bytes from the beginning of the file.
#[derive(Debug, thiserror::Error)]
pub enum TorchFileProblem {
    /// The operating system refused.
    #[error("{0}")]
    Io(io::Error),
    /// It begins with neither a zip archive nor a pickle.
    #[error("at byte 0: expected a zip archive (`PK`) or a pickle (0x80), as `torch.save` writes them")]
    Foreign,
    /// A pickle that is none, or not one of `torch.save`.
    #[error("{0}")]
    Pickle(String),
    /// A zip archive that is none.
    #[error("the zip archive cannot be read: {0}")]
    Archive(String),
    /// An entry of the archive is packed or encrypted.
    #[error("the entry `{entry}` of the zip archive is {found}, expected one that is stored as it is")]
    Packed {
        /// Its name.
        entry: String,
        /// What it is.
        found: &'static str,
    },
    /// An archive of something else.
    #[error("the zip archive has no entry `data.pkl` in a folder, as `torch.save` writes it")]
    NoPickle,
    /// A program of TorchScript.
    #[error("it is a TorchScript archive: its weights are part of a program")]
    TorchScript,
    /// The contents of tensors that are not there, or not whole.
    #[error("storage `{key}`: expected {expected_bytes} bytes, found {found}")]
    Storage {
        /// Its key.
        key: String,
        /// Its length by the pickle.
        expected_bytes: u64,
        /// What is there.
        found: String,
    },
    /// A tensor that reaches beyond its storage, or is larger than the file.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Keys that lead to it.
        name: String,
        /// In which way.
        reason: String,
    },
    /// Values within each other.
    #[error("values lie within each other deeper than {limit}, or within themselves")]
    Deep {
        /// The limit.
        limit: usize,
    },
    /// More values than the size of the file justifies.
    #[error("it describes more {what} than {limit}, which its size does not justify")]
    Excessive {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl TorchFileProblem {
    /// With the file that it is about.
    pub(super) fn of(self, path: &Path) -> TorchFileError {
        TorchFileError { path: path.to_path_buf(), problem: self }
    }
}

impl TorchFileError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match &self.problem {
            TorchFileProblem::Io(_) => return None,
            TorchFileProblem::Foreign => "give a file that `torch.save` wrote, or a safetensors file",
            TorchFileProblem::TorchScript => {
                "save the weights alone: `torch.save(model.state_dict(), \"weights.pth\")`"
            }
            TorchFileProblem::Packed { .. } => "save it again with `torch.save`, which packs nothing",
            _ => "restore the file from its source, or save it again with `torch.save`",
        };
        Some(hint.into())
    }
}

impl From<PickleProblem> for TorchFileProblem {
    fn from(problem: PickleProblem) -> Self {
        Self::Pickle(problem.to_string())
    }
}
