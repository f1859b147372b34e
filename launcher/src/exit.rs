//! The exit codes of the trainer's errors and ends.

use dtrain_front::Exit;
use dtrain_trainer::ErrorClass;
use dtrain_trainer::coordinator::StopReason;

/// Of an error.
pub fn of_error(class: ErrorClass) -> Exit {
    match class {
        ErrorClass::Run => Exit::Failed,
        ErrorClass::Config => Exit::Usage,
        ErrorClass::Environment => Exit::Environment,
    }
}

/// Of a run that has ended.
pub fn of_end(reason: &StopReason) -> Exit {
    match reason {
        // A run that goes back goes on: nobody sees that end.
        StopReason::Finished | StopReason::EarlyStopped | StopReason::Alarm | StopReason::Rollback(_) => {
            Exit::Done
        }
        StopReason::Interrupted => Exit::Interrupted,
        StopReason::Requeue => Exit::Requeue,
        StopReason::NonFinite => Exit::Failed,
    }
}
