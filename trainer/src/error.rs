//! What ends a run, and with which exit code.

use std::fmt::Display;

use dtrain_comm::CommError;
use serde::{Deserialize, Serialize};

use crate::checkpoint::{CheckpointError, FrameError, TensorFileError};
use crate::data::loader::LoaderError;
use crate::data::{DataError, ViewError};
use crate::track::TrackError;

/// Whose business an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErrorClass {
    /// The run failed.
    Run,
    /// Wrong command, configuration or data.
    Config,
    /// The machine: GPU, network, disk.
    Environment,
}

/// Anything that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Settings that do not fit each other or the data.
    #[error("{message}")]
    Config {
        /// What is wrong, with keys and values.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// The machine lacks something.
    #[error("{message}")]
    Environment {
        /// What is lacking.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// Recordings, labels, splits.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Views of recordings.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Collectives.
    #[error(transparent)]
    Comm(#[from] CommError),
    /// Saving and loading.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Preparing batches.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// Metrics and other records.
    #[error(transparent)]
    Track(#[from] TrackError),
    /// libtorch.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
    /// Files of the run directory.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Another rank failed and has told why; all ranks end together.
    #[error("{message} (rank {rank})")]
    OtherRank {
        /// The lowest rank that failed.
        rank: usize,
        /// Whose business it is.
        class: ErrorClass,
        /// Its message.
        message: String,
        /// Its hint.
        hint: Option<String>,
    },
    /// This rank failed and the others know; all ranks end together.
    #[error(transparent)]
    Agreed(Box<TrainError>),
    /// The run cannot go on.
    #[error("{message}")]
    Run {
        /// Why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
}

impl TrainError {
    /// Settings that do not fit.
    pub fn config(message: impl Display, hint: impl Display) -> Self {
        TrainError::Config { message: message.to_string(), hint: Some(hint.to_string()) }
    }

    /// The machine lacks something.
    pub fn environment(message: impl Display, hint: impl Display) -> Self {
        TrainError::Environment { message: message.to_string(), hint: Some(hint.to_string()) }
    }

    /// The run cannot go on.
    pub fn run(message: impl Display, hint: impl Display) -> Self {
        TrainError::Run { message: message.to_string(), hint: Some(hint.to_string()) }
    }

    /// A broken promise between parts of this program.
    pub fn internal(message: impl Display) -> Self {
        TrainError::Run { message: format!("internal error: {message}"), hint: None }
    }

    /// The same error, which the other ranks have been told.
    pub fn known_to_all(self) -> Self {
        match self {
            known @ (TrainError::Agreed(_) | TrainError::OtherRank { .. }) => known,
            error => TrainError::Agreed(Box::new(error)),
        }
    }

    /// Whether every rank has this error or knows of it. If not, the others may be waiting for this rank.
    pub fn is_agreed(&self) -> bool {
        match self {
            TrainError::Comm(_) | TrainError::Torch(_) | TrainError::Loader(_) | TrainError::Io(_) => false,
            // Settings, data and checkpoints are checked alike on all ranks.
            _ => true,
        }
    }

    /// The next step, when one is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrainError::Config { hint, .. }
            | TrainError::Environment { hint, .. }
            | TrainError::Run { hint, .. }
            | TrainError::OtherRank { hint, .. } => hint.clone(),
            TrainError::Data(e) => e.hint(),
            TrainError::View(e) => e.hint(),
            TrainError::Track(TrackError::Io(error)) => hint_of_io(error.kind()),
            TrainError::Track(e) => e.hint(),
            TrainError::Comm(e) => e.hint(),
            TrainError::Checkpoint(e) => e.hint(),
            TrainError::Agreed(error) => error.hint(),
            TrainError::Io(error) => hint_of_io(error.kind()),
            TrainError::Loader(_) | TrainError::Torch(_) => None,
        }
    }

    /// Decides about the exit code.
    pub fn class(&self) -> ErrorClass {
        match self {
            TrainError::Agreed(error) => error.class(),
            TrainError::Data(DataError::Io { source }) if hint_of_io(source.kind()).is_some() => {
                ErrorClass::Environment
            }
            TrainError::Config { .. } | TrainError::Data(_) | TrainError::View(_) => ErrorClass::Config,
            TrainError::Environment { .. } | TrainError::Io(_) | TrainError::Track(_) => {
                ErrorClass::Environment
            }
            TrainError::Checkpoint(CheckpointError::DiskFull { .. } | CheckpointError::Io(_)) => {
                ErrorClass::Environment
            }
            TrainError::Checkpoint(_) => ErrorClass::Config,
            TrainError::OtherRank { class, .. } => *class,
            TrainError::Comm(error) if error.is_environment() => ErrorClass::Environment,
            TrainError::Comm(_) | TrainError::Loader(_) | TrainError::Torch(_) | TrainError::Run { .. } => {
                ErrorClass::Run
            }
        }
    }
}

/// Space and permissions: what the machine has to grant.
fn hint_of_io(kind: std::io::ErrorKind) -> Option<String> {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match kind {
        StorageFull | QuotaExceeded => Some("free some space or choose a folder on another disk".into()),
        PermissionDenied | ReadOnlyFilesystem => {
            Some("change the permissions or choose a folder that you may write to".into())
        }
        _ => None,
    }
}

impl From<FrameError> for TrainError {
    fn from(error: FrameError) -> Self {
        CheckpointError::from(error).into()
    }
}

impl From<TensorFileError> for TrainError {
    fn from(error: TensorFileError) -> Self {
        CheckpointError::from(error).into()
    }
}
