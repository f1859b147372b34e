//! Whether a run is going on.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;

use dtrain_configs::RunDir;

/// Whether someone holds the run's lock.
///
/// # Errors
/// The lock cannot be looked at.
pub(crate) fn is_running(run_dir: &RunDir) -> std::io::Result<bool> {
    match File::open(run_dir.lock()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
        Ok(file) => match file.try_lock_shared() {
            // Closing the file lets go of it.
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        },
    }
}
