//! Why a verb ended without success.

use dtrain_comm::CommError;
use dtrain_configs::ConfigErrors;

use crate::exit::Exit;

/// Why a verb ended without success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What, in words.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// Exit code.
    pub exit: Exit,
    /// Whether all ranks know and end together.
    pub agreed: bool,
}

impl Failure {
    /// A failure that every rank meets alike.
    pub fn agreed(exit: Exit, message: impl std::fmt::Display, hint: Option<String>) -> Self {
        Self { message: message.to_string(), hint, exit, agreed: true }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Failure::agreed(Exit::Usage, errors, None)
    }
}

/// The ranks cannot find each other.
impl From<CommError> for Failure {
    fn from(error: CommError) -> Self {
        Self {
            hint: error.hint(),
            message: error.to_string(),
            exit: Exit::Environment,
            agreed: error.is_shared(),
        }
    }
}
