//! `dtrain stop RUN` leaves a file in the run's directory; rank 0 looks for it now and then.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use dtrain_configs::{RunDir, StopRequest};

use crate::coordinator::Interrupt;

/// Time between two looks: a look at a shared file system is a message over the network.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longer files are something else.
const MAX_BYTES: u64 = 64;

/// Rank 0's eye on the file.
#[derive(Debug)]
pub(crate) struct StopFile {
    path: PathBuf,
    looked: Option<Instant>,
    seen: Option<Interrupt>,
}

impl StopFile {
    /// Watches the file of a run that started at `started`. An older file was meant for an earlier start and is removed.
    pub(crate) fn watch(run_dir: &RunDir, started: SystemTime) -> Self {
        let path = run_dir.stop();
        let written = std::fs::metadata(&path).and_then(|file| file.modified());
        if written.is_ok_and(|written| written < started) {
            tracing::info!("removing `{}`, which an earlier start has left behind", path.display());
            remove(&path);
        }
        Self { path, looked: None, seen: None }
    }

    /// The request, if there is one.
    pub(crate) fn interrupt(&mut self) -> Option<Interrupt> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= INTERVAL) {
            self.looked = Some(Instant::now());
            self.seen = self.seen.max(read(&self.path));
        }
        self.seen
    }

    /// The ranks have agreed to end.
    pub(crate) fn clear(&mut self) {
        if self.seen.is_some() {
            remove(&self.path);
        }
    }
}

fn read(path: &Path) -> Option<Interrupt> {
    let size = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    let text =
        if size <= MAX_BYTES { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() };
    Some(match StopRequest::read(&text) {
        StopRequest::User => Interrupt::User,
        StopRequest::Requeue => Interrupt::Requeue,
    })
}

fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("`{}` cannot be removed: {error}", path.display());
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_request_is_read_kept_and_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(folder.path());
        let started = SystemTime::now() - Duration::from_secs(60);
        for (left, request) in
            [(StopRequest::User, Interrupt::User), (StopRequest::Requeue, Interrupt::Requeue)]
        {
            let mut file = StopFile::watch(&run_dir, started);
            assert_eq!(file.interrupt(), None);
            std::fs::write(run_dir.stop(), left.text()).unwrap();
            // Not before the interval is over.
            assert_eq!(file.interrupt(), None);
            file.looked = None;
            assert_eq!(file.interrupt(), Some(request));
            file.clear();
            assert!(!run_dir.stop().exists());
            assert_eq!(file.interrupt(), Some(request));
        }
    }

    #[test]
    fn any_other_text_is_the_users_stop_request() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(folder.path());
        for text in ["", "now!", "REQUEUE", &"x".repeat(100_000)] {
            std::fs::write(run_dir.stop(), text).unwrap();
            let mut file = StopFile::watch(&run_dir, SystemTime::UNIX_EPOCH);
            assert_eq!(file.interrupt(), Some(Interrupt::User));
        }
        std::fs::write(run_dir.stop(), [0xff, 0xfe]).unwrap();
        assert_eq!(StopFile::watch(&run_dir, SystemTime::UNIX_EPOCH).interrupt(), Some(Interrupt::User));
    }

    #[test]
    fn a_file_of_an_earlier_start_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(folder.path());
        std::fs::write(run_dir.stop(), StopRequest::User.text()).unwrap();
        let mut file = StopFile::watch(&run_dir, SystemTime::now() + Duration::from_secs(60));
        assert_eq!(file.interrupt(), None);
        assert!(!run_dir.stop().exists());
    }
}
