//! What the exit code says.

use dtrain_trainer::ErrorClass;
use dtrain_trainer::coordinator::StopReason;

/// Exit codes, the same for every verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// The run failed.
    Failed = 1,
    /// Wrong command, configuration or data.
    Usage = 2,
    /// The machine lacks something: GPU, network, disk.
    Environment = 3,
    /// Saved, and wants to be started again.
    Requeue = 75,
    /// Interrupted by the user, after saving.
    Interrupted = 130,
}

impl From<ErrorClass> for Exit {
    fn from(class: ErrorClass) -> Self {
        match class {
            ErrorClass::Run => Exit::Failed,
            ErrorClass::Config => Exit::Usage,
            ErrorClass::Environment => Exit::Environment,
        }
    }
}

impl From<&StopReason> for Exit {
    fn from(reason: &StopReason) -> Self {
        match reason {
            StopReason::Finished | StopReason::EarlyStopped => Exit::Done,
            StopReason::Interrupted => Exit::Interrupted,
            StopReason::Requeue => Exit::Requeue,
            StopReason::NonFinite => Exit::Failed,
        }
    }
}
