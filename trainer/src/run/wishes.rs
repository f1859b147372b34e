//! Everything outside the run that may want it to end, as one wish in this rank's report: signals, the time limit, and
//! on rank 0 the file that `dtrain stop` leaves. None of them acts by itself.

use super::StopFlag;
use super::deadline::Deadline;
use super::pace::Pace;
use super::stop_file::StopFile;
use crate::coordinator::Interrupt;

/// Who may want an end.
pub(super) struct Wishes {
    /// Signals.
    pub(super) flag: StopFlag,
    /// `dtrain stop`; on rank 0 of a run with a directory.
    pub(super) file: Option<StopFile>,
    /// The time limit.
    pub(super) deadline: Option<Deadline>,
    /// What a time limit leaves room for.
    pub(super) pace: Pace,
}

impl Wishes {
    /// The strongest wish.
    pub(super) fn interrupt(&mut self) -> Option<Interrupt> {
        let file = self.file.as_mut().and_then(StopFile::interrupt);
        let deadline = self.deadline.as_mut().and_then(|deadline| deadline.interrupt(&self.pace));
        self.flag.interrupt().max(file).max(deadline)
    }

    /// The ranks have agreed to end.
    pub(super) fn agreed(&mut self) {
        if let Some(file) = &mut self.file {
            file.clear();
        }
    }
}
