//! What ends a run, and with which exit code.

use std::any::Any;
use std::fmt::Display;

use dtrain_comm::CommError;
use dtrain_data::loader::LoaderError;
use dtrain_data::{DataError, ViewError};
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::checkpoint::{CheckpointError, FrameError, TensorFileError};
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
    /// No memory for something that this run cannot do without.
    #[error("not enough memory for {what}{}", in_bytes(*bytes))]
    Memory {
        /// What it was to hold.
        what: String,
        /// Its size, where that is known.
        bytes: Option<u64>,
        /// The next step.
        hint: String,
    },
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
            TrainError::Comm(_)
            | TrainError::Torch(_)
            | TrainError::Memory { .. }
            | TrainError::Loader(_)
            | TrainError::Io(_) => false,
            // Settings, data and checkpoints are checked alike on all ranks.
            _ => true,
        }
    }

    /// Whether there was no room for a tensor.
    pub fn is_out_of_memory(&self) -> bool {
        match self {
            TrainError::Memory { .. } => true,
            TrainError::Torch(error) => speaks_of_memory(&error.to_string()),
            _ => false,
        }
    }

    /// libtorch's error for want of memory becomes one that says what the memory was for and what makes it smaller; others
    /// stay as they are. `bytes` is the size where the caller knows it; else libtorch's words count.
    pub fn wanting(self, what: impl Display, bytes: Option<u64>, hint: impl Display) -> Self {
        match self {
            TrainError::Torch(error) if speaks_of_memory(&error.to_string()) => TrainError::Memory {
                what: what.to_string(),
                bytes: bytes.or_else(|| bytes_wanted(&error.to_string())),
                hint: hint.to_string(),
            },
            other => other,
        }
    }

    /// The want of memory that a panic speaks of: the operators of tch have no other way to say it.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Option<Self> {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied())?;
        speaks_of_memory(text).then(|| TrainError::Memory {
            what: "a tensor".to_owned(),
            bytes: bytes_wanted(text),
            hint: MORE_MEMORY.to_owned(),
        })
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
            TrainError::Loader(error) => error.hint(),
            TrainError::Memory { hint, .. } => Some(hint.clone()),
            error if error.is_out_of_memory() => Some(MORE_MEMORY.into()),
            TrainError::Torch(_) => None,
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
            error if error.is_out_of_memory() => ErrorClass::Environment,
            TrainError::Memory { .. } | TrainError::Loader(LoaderError::NoMemory { .. }) => {
                ErrorClass::Environment
            }
            TrainError::Comm(error) if error.is_environment() => ErrorClass::Environment,
            TrainError::Comm(_) | TrainError::Loader(_) | TrainError::Torch(_) | TrainError::Run { .. } => {
                ErrorClass::Run
            }
        }
    }
}

/// Where nobody knows which setting asks for the memory.
const MORE_MEMORY: &str = "free memory on this machine, give the job more of it, or choose a smaller `model`";

/// The words of the CUDA allocator and of the CPU's, and what C++ says of memory of its own.
fn speaks_of_memory(text: &str) -> bool {
    ["out of memory", "can't allocate memory", "not enough memory", "bad_alloc"]
        .iter()
        .any(|words| text.contains(words))
}

/// As in libtorch's `you tried to allocate 400000000 bytes` and our pool's `a tensor of 400000000 bytes`.
fn bytes_wanted(text: &str) -> Option<u64> {
    let (_, rest) = ["tried to allocate ", "a tensor of "].iter().find_map(|words| text.split_once(words))?;
    let (number, unit) = rest.split_once(' ')?;
    unit.starts_with("bytes").then(|| number.parse().ok())?
}

fn in_bytes(bytes: Option<u64>) -> String {
    bytes.map_or_else(String::new, |bytes| format!(": {}", Bytes(bytes)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrapped keeps its next step, however deep.
    #[test]
    fn hints_survive_wrapping() {
        let hint = "make `data.audio.clip_secs` longer".to_owned();
        let failed = LoaderError::Failed { step: 1, reason: "too short".into(), hint: Some(hint.clone()) };
        let error = TrainError::from(failed).known_to_all();
        assert_eq!(error.hint(), Some(hint));
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert!(TrainError::from(full).known_to_all().hint().is_some());
    }

    #[test]
    fn want_of_memory_says_what_for() {
        let refused = || tch::Tensor::f_zeros([1 << 48], (tch::Kind::Float, tch::Device::Cpu)).unwrap_err();
        let known = TrainError::from(refused()).wanting("the bank", Some(3 << 30), "lower `k`");
        assert_eq!(known.to_string(), "not enough memory for the bank: 3.0 GiB");
        assert_eq!(known.hint().as_deref(), Some("lower `k`"));
        assert!(known.is_out_of_memory() && !known.is_agreed());
        assert_eq!(known.known_to_all().class(), ErrorClass::Environment);
        let told = TrainError::from(refused()).wanting("the bank", None, "");
        assert_eq!(told.to_string(), "not enough memory for the bank: 1.0 PiB");
        let other = TrainError::internal("x").wanting("the bank", None, "");
        assert!(matches!(other, TrainError::Run { .. }));
    }

    /// An operator of tch that finds no memory panics, and this reads its words.
    #[test]
    fn a_panic_for_want_of_memory_is_an_error() {
        let row = tch::Tensor::zeros([1], (tch::Kind::Float, tch::Device::Cpu)).expand([1 << 48], false);
        let payload = std::panic::catch_unwind(|| &row + 1.0).unwrap_err();
        let error = TrainError::of_panic(&*payload).unwrap();
        assert_eq!(error.to_string(), "not enough memory for a tensor: 1.0 PiB");
        assert!(TrainError::of_panic(&"index out of bounds").is_none());
    }
}
