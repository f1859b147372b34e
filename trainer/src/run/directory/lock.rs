//! One run directory, one run. Rank 0 holds an exclusive lock on `<run>/.lock` from before it touches the directory until
//! its process ends, however it ends: the kernel gives the lock back. The file says who holds it, for people.
//!
//! A run that is started again while its predecessor still dies (a GPU's memory takes seconds to be given back) waits for a
//! while; a directory whose holder lives on is refused by name.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::time::{Duration, Instant, SystemTime};

use dtrain_comm::Collective;
use dtrain_configs::{RunDir, shell_path};
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::run::agree::agreed;
use crate::track::rfc3339;

/// How long a start waits for a holder that may be dying.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// A longer text was not written by this program.
const MAX_HOLDER_BYTES: u64 = 4096;

/// The lock of a run directory, for as long as the value lives. Processes that this one starts do not inherit it.
#[derive(Debug)]
#[must_use = "dropping it gives the directory to others"]
pub struct RunLock {
    /// `None` on a file system without locks.
    _file: Option<File>,
}

/// Who holds a run directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its host.
    pub host: String,
    /// Its process there; 0 when it is not known.
    pub pid: u32,
    /// When it took the lock, in RFC 3339.
    pub since: String,
}

impl RunLock {
    /// Takes the lock of a directory that exists. Waits up to 10 s for a holder to end.
    ///
    /// A file system without locks gives a value that protects nothing, after a warning.
    ///
    /// # Errors
    /// Another process holds it, or its file cannot be opened.
    pub fn acquire(run: &RunDir) -> Result<Self, TrainError> {
        Self::acquire_within(run, PATIENCE)
    }

    fn acquire_within(run: &RunDir, patience: Duration) -> Result<Self, TrainError> {
        let path = run.lock();
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = opened.map_err(|e| unusable(run, &e))?;
        let taken = wait(run, patience, || match file.try_lock() {
            Ok(()) => Ok(Ok(())),
            Err(TryLockError::WouldBlock) => Err(Holder::read(&mut file)),
            Err(TryLockError::Error(error)) => Ok(Err(error)),
        })?;
        match taken {
            Ok(()) => {}
            Err(error) if lacks_locks(&error) => {
                tracing::warn!(
                    "`{}` cannot be locked ({error}): nothing keeps a second run from writing there; put runs on a file \
                     system with locks",
                    run.path().display()
                );
                return Ok(Self { _file: None });
            }
            Err(error) => return Err(unusable(run, &error)),
        }
        if let Err(error) = Holder::this_process().write(&mut file) {
            // A full disk: others are refused all the same, only without a name.
            tracing::debug!("the holder of `{}` could not be noted: {error}", path.display());
        }
        Ok(Self { _file: Some(file) })
    }

    /// Waits up to 10 s until nobody holds the directory, without taking it: for the launcher, whose rank 0 takes it.
    ///
    /// # Errors
    /// Another process holds it on.
    pub fn wait_until_free(run: &RunDir) -> Result<(), TrainError> {
        wait(run, PATIENCE, || Self::holder(run).map_or(Ok(()), Err))
    }

    /// Who holds the directory now, as far as this can be seen; changes nothing.
    pub fn holder(run: &RunDir) -> Option<Holder> {
        let mut file = File::open(run.lock()).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(Holder::read(&mut file)),
            _ => None,
        }
    }
}

/// Rank 0 takes the lock of a directory that is there already; all ranks hear of a refusal.
pub(crate) fn lock_existing(ranks: &dyn Collective, run: &RunDir) -> Result<Option<RunLock>, TrainError> {
    let here = ranks.world().rank == 0 && run.path().is_dir();
    agreed(ranks, if here { RunLock::acquire(run).map(Some) } else { Ok(None) })
}

/// Rank 0 takes the lock of a directory that has just been made, unless it holds it; another run may have begun there
/// since this one found nothing.
pub(crate) fn lock_new(run: &RunDir, held: Option<RunLock>, continues: bool) -> Result<RunLock, TrainError> {
    if let Some(held) = held {
        return Ok(held);
    }
    let lock = RunLock::acquire(run)?;
    if run.holds_a_run() && !continues {
        return Err(TrainError::config(
            format!("another run has just begun in `{}`", run.path().display()),
            "choose another `run.dir`, or start again to go on with that run",
        ));
    }
    Ok(lock)
}

/// Tries until there is no holder, or for as long as `patience` lasts.
fn wait<T>(
    run: &RunDir,
    patience: Duration,
    mut attempt: impl FnMut() -> Result<T, Holder>,
) -> Result<T, TrainError> {
    let began = Instant::now();
    let mut said = false;
    loop {
        let holder = match attempt() {
            Ok(done) => return Ok(done),
            Err(holder) => holder,
        };
        if began.elapsed() >= patience {
            return Err(in_use(run, &holder));
        }
        if !said {
            let secs = patience.as_secs();
            tracing::info!("`{}` is in use by {holder}; waiting up to {secs} s", run.path().display());
            said = true;
        }
        std::thread::sleep(PAUSE);
    }
}

fn in_use(run: &RunDir, holder: &Holder) -> TrainError {
    let word = shell_path(run.path());
    TrainError::config(
        format!("`{}` is in use by {holder}", run.path().display()),
        format!("wait for that run, end it with `dtrain stop {word}`, or choose another `run.dir`"),
    )
}

fn unusable(run: &RunDir, error: &io::Error) -> TrainError {
    TrainError::environment(
        format!("`{}` cannot be locked: {error}", run.lock().display()),
        "change the permissions, or choose a `run.dir` that you may write to",
    )
}

/// What file systems without locks answer.
fn lacks_locks(error: &io::Error) -> bool {
    const ENOLCK: i32 = nix::errno::Errno::ENOLCK as i32;
    error.kind() == ErrorKind::Unsupported || error.raw_os_error() == Some(ENOLCK)
}

impl Holder {
    fn this_process() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { host: host.trim().to_owned(), pid: std::process::id(), since: rfc3339(SystemTime::now()) }
    }

    /// What the file says; unknown where it says nothing.
    fn read(file: &mut File) -> Self {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| file.take(MAX_HOLDER_BYTES).read_to_string(&mut text));
        read.ok().and_then(|_| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    fn write(&self, file: &mut File) -> io::Result<()> {
        let text = serde_json::to_string(self)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(text.as_bytes())
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            0 => write!(f, "another process"),
            pid => write!(f, "process {pid} on `{}` since {}", self.host, self.since),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    const SHORT: Duration = Duration::from_millis(120);

    fn run_dir() -> (tempfile::TempDir, RunDir) {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::new(folder.path());
        (folder, run)
    }

    #[test]
    fn a_held_directory_is_refused_by_the_name_of_its_holder() {
        let (_folder, run) = run_dir();
        assert_eq!(RunLock::holder(&run), None);
        let lock = RunLock::acquire(&run).unwrap();
        let holder = RunLock::holder(&run).unwrap();
        assert_eq!(holder.pid, std::process::id());
        let error = RunLock::acquire_within(&run, SHORT).unwrap_err();
        assert_eq!(error.class(), ErrorClass::Config);
        assert!(error.to_string().ends_with(&format!("is in use by {holder}")), "{error}");
        assert!(error.hint().unwrap().contains("dtrain stop"));
        drop(lock);
        assert_eq!(RunLock::holder(&run), None, "what the file says outlives the lock");
        drop(RunLock::acquire_within(&run, Duration::ZERO).unwrap());
    }

    #[test]
    fn the_suggested_command_survives_the_shell() {
        let error = in_use(&RunDir::new("my runs/it's"), &Holder::default());
        assert!(error.hint().unwrap().contains(r"`dtrain stop 'my runs/it'\''s'`"), "{error:?}");
    }

    #[test]
    fn a_holder_that_ends_is_waited_for() {
        let (_folder, run) = run_dir();
        let lock = RunLock::acquire(&run).unwrap();
        let waiter = {
            let run = run.clone();
            std::thread::spawn(move || RunLock::acquire_within(&run, Duration::from_secs(600)).map(drop))
        };
        std::thread::sleep(SHORT);
        assert!(!waiter.is_finished());
        drop(lock);
        waiter.join().unwrap().unwrap();
    }

    #[test]
    fn a_look_does_not_take_the_lock() {
        let (_folder, run) = run_dir();
        drop(RunLock::acquire(&run).unwrap());
        assert_eq!(RunLock::holder(&run), None);
        RunLock::wait_until_free(&run).unwrap();
        drop(RunLock::acquire_within(&run, Duration::ZERO).unwrap());
    }

    #[test]
    fn garbage_in_the_file_is_an_unknown_holder() {
        let (_folder, run) = run_dir();
        for garbage in [&b""[..], b"{", b"\xff\xfe", br#"{"host": 1}"#] {
            std::fs::write(run.lock(), garbage).unwrap();
            let lock = RunLock::acquire_within(&run, Duration::ZERO).unwrap();
            std::fs::write(run.lock(), garbage).unwrap();
            assert_eq!(RunLock::holder(&run).unwrap().to_string(), "another process");
            drop(lock);
        }
    }

    #[test]
    fn another_run_that_began_meanwhile_is_not_touched() {
        let (_folder, run) = run_dir();
        std::fs::write(run.config(), "").unwrap();
        assert!(lock_new(&run, None, false).unwrap_err().to_string().contains("has just begun"));
        drop(lock_new(&run, None, true).unwrap());
    }

    #[test]
    fn file_systems_without_locks_are_told_from_broken_ones() {
        let of = |errno: nix::errno::Errno| lacks_locks(&io::Error::from_raw_os_error(errno as i32));
        assert!(of(nix::errno::Errno::ENOLCK) && of(nix::errno::Errno::EOPNOTSUPP));
        assert!(!of(nix::errno::Errno::EIO) && !of(nix::errno::Errno::EACCES));
    }
}
