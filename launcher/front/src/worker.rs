//! `dtrain-worker`: the program that trains. It lies beside `dtrain`, which takes it in its own place once the command line
//! and the settings are known to be good: the same process with the same words, so that mpirun, signals and whoever started
//! it see one program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::exit::Exit;
use crate::failure::Failure;

/// Its file name.
pub const NAME: &str = "dtrain-worker";

/// Both programs of a build have the same.
const MARK: &str = env!("DTRAIN_BUILD_MARK");
/// The mark of the program that starts the worker.
const MARK_VARIABLE: &str = "DTRAIN_BUILD_MARK";
/// Where that program is.
const FRONT_VARIABLE: &str = "DTRAIN_PROGRAM";

/// Becomes the worker. Returns only when that fails.
pub fn become_worker() -> Failure {
    let front = match std::env::current_exe() {
        Ok(front) => front,
        Err(error) => return unknown_place(&error),
    };
    let worker = front.with_file_name(NAME);
    if !worker.exists() {
        return missing(&worker, &front);
    }
    let mut words = std::env::args_os();
    let error = Command::new(&worker)
        .arg0(words.next().unwrap_or_else(|| "dtrain".into()))
        .args(words)
        .env(MARK_VARIABLE, MARK)
        .env(FRONT_VARIABLE, &front)
        .exec();
    Failure::agreed(
        Exit::Environment,
        format!("`{}` cannot be started: {error}", worker.display()),
        Some("make the file executable, and put it on a file system that allows programs".into()),
    )
}

/// To be called by the worker: whether the `dtrain` of the same build has started it.
///
/// # Errors
/// Another one has, or nobody.
pub fn check_start() -> Result<(), Failure> {
    let worker = std::env::current_exe().map_err(|error| unknown_place(&error))?;
    let front = std::env::var_os(FRONT_VARIABLE).map(PathBuf::from);
    checked(std::env::var_os(MARK_VARIABLE), &worker, front.as_deref())
}

fn checked(mark: Option<OsString>, worker: &Path, front: Option<&Path>) -> Result<(), Failure> {
    let beside = worker.with_file_name("dtrain");
    let front = front.unwrap_or(&beside).display();
    let worker = worker.display();
    match mark {
        Some(mark) if mark == MARK => Ok(()),
        Some(_) => Err(Failure::agreed(
            Exit::Environment,
            format!("`{front}` and `{worker}` are not of the same build"),
            Some(format!("copy `dtrain` and `{NAME}` of one build into one folder")),
        )),
        None => Err(Failure::agreed(
            Exit::Usage,
            format!("`{worker}` is started by `dtrain`, not by hand"),
            Some(format!("write `dtrain` instead of `{NAME}`")),
        )),
    }
}

/// The path of `dtrain`, to start more of it.
///
/// # Errors
/// The system does not tell.
pub fn front_program() -> std::io::Result<PathBuf> {
    std::env::var_os(FRONT_VARIABLE).map_or_else(std::env::current_exe, |front| Ok(front.into()))
}

fn unknown_place(error: &std::io::Error) -> Failure {
    let message = format!("the system does not tell where this program is: {error}");
    Failure::agreed(Exit::Environment, message, Some("mount `/proc`".into()))
}

fn missing(worker: &Path, front: &Path) -> Failure {
    let folder = worker.parent().unwrap_or(Path::new("."));
    Failure::agreed(
        Exit::Environment,
        format!("`{NAME}`, the part of dtrain that trains, is not beside `{}`", front.display()),
        Some(format!(
            "copy `{NAME}` of the same build into `{}`, or build both with `cargo build --release`",
            folder.display()
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mark: Option<&str>) -> Result<(), Failure> {
        checked(mark.map(OsString::from), Path::new("/opt/b/dtrain-worker"), Some(Path::new("/opt/a/dtrain")))
    }

    #[test]
    fn only_the_front_of_the_same_build_starts_the_worker() {
        assert_eq!(check(Some(MARK)), Ok(()));
        let other = check(Some("0123")).unwrap_err();
        assert_eq!(other.message, "`/opt/a/dtrain` and `/opt/b/dtrain-worker` are not of the same build");
        assert_eq!(other.exit, Exit::Environment);
        let by_hand = check(None).unwrap_err();
        assert_eq!(by_hand.message, "`/opt/b/dtrain-worker` is started by `dtrain`, not by hand");
        assert_eq!(by_hand.hint.as_deref(), Some("write `dtrain` instead of `dtrain-worker`"));
    }

    #[test]
    fn a_worker_that_is_not_there_is_named_with_the_folder_for_it() {
        let failure = missing(Path::new("/opt/dtrain-worker"), Path::new("/opt/dtrain"));
        assert!(failure.message.ends_with("is not beside `/opt/dtrain`"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("into `/opt`"));
    }
}
