//! Why a verb of the worker ended without success.

use std::ops::Deref;

use dtrain_configs::ConfigErrors;
use dtrain_front::Exit;
use dtrain_trainer::TrainError;

use crate::exit::of_error;

/// What both programs say, made of the errors that this one alone knows.
#[derive(Debug)]
pub struct Failure(dtrain_front::Failure);

impl Failure {
    /// A failure that every rank meets alike.
    pub fn agreed(exit: Exit, message: impl std::fmt::Display, hint: Option<String>) -> Self {
        Self(dtrain_front::Failure::agreed(exit, message, hint))
    }
}

impl Deref for Failure {
    type Target = dtrain_front::Failure;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<dtrain_front::Failure> for Failure {
    fn from(failure: dtrain_front::Failure) -> Self {
        Self(failure)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self(errors.into())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Self(dtrain_front::Failure {
            message: error.to_string(),
            hint: error.hint(),
            exit: of_error(error.class()),
            agreed: error.is_agreed(),
        })
    }
}
