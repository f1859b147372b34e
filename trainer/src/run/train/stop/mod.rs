//! Stop requests: everything outside the run that may ask for its end, as one request in this rank's report: signals, the
//! time limit, and on rank 0 the file that `dtrain stop` leaves. None of them acts by itself.

mod deadline;
mod file;
mod flag;

pub use flag::StopFlag;

pub(crate) use deadline::Deadline;
pub(crate) use file::StopFile;

use super::pace::Pace;
use crate::coordinator::Interrupt;

/// Where stop requests come from.
pub(crate) struct StopRequests {
    /// Signals.
    pub(crate) flag: StopFlag,
    /// `dtrain stop`; on rank 0 of a run with a directory.
    pub(crate) file: Option<StopFile>,
    /// The time limit.
    pub(crate) deadline: Option<Deadline>,
    /// What a time limit leaves room for.
    pub(crate) pace: Pace,
}

impl StopRequests {
    /// The strongest request.
    pub(crate) fn interrupt(&mut self) -> Option<Interrupt> {
        let file = self.file.as_mut().and_then(StopFile::interrupt);
        let deadline = self.deadline.as_mut().and_then(|deadline| deadline.interrupt(&self.pace));
        self.flag.interrupt().max(file).max(deadline)
    }

    /// The ranks have agreed to end.
    pub(crate) fn agreed(&mut self) {
        if let Some(file) = &mut self.file {
            file.clear();
        }
    }
}
