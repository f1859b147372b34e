//! Where a run lives: one rule for the rank that names a run and for the launcher, which names it before there are ranks.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dtrain_configs::{RunConfig, RunDir};

use crate::error::TrainError;
use crate::track::rfc3339;

/// `run.dir`, or a folder that does not exist yet: `<run.root>/<experiment>/<date_time>`.
pub fn choose_run_dir(config: &RunConfig, now: SystemTime) -> RunDir {
    let Some(dir) = &config.run.dir else {
        let parent = runs_of_experiment(config);
        let name = free_name(&parent, now);
        return RunDir::new(parent.join(name));
    };
    RunDir::new(dir.clone())
}

/// As [`choose_run_dir`], and makes the folder, so that nobody else takes its name.
///
/// # Errors
/// The folder cannot be made.
pub fn reserve_run_dir(config: &RunConfig, now: SystemTime) -> std::io::Result<RunDir> {
    loop {
        let chosen = choose_run_dir(config, now);
        let path = chosen.path();
        if let Some(parent) = path.parent() {
            fs_err::create_dir_all(parent)?;
        }
        match fs_err::create_dir(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                // Somebody was faster; a folder that was asked for by name may be there.
                if config.run.dir.is_some() && path.is_dir() {
                    return Ok(chosen);
                }
                if config.run.dir.is_some() {
                    return Err(error);
                }
            }
            made => return made.map(|()| chosen),
        }
    }
}

/// Folder of all runs of an experiment.
fn runs_of_experiment(config: &RunConfig) -> PathBuf {
    let experiment = config.experiment.as_deref().unwrap_or(config.method.name());
    let stem = experiment.rsplit('/').next().unwrap_or(experiment).trim_end_matches(".yaml");
    config.run.root.join(stem)
}

/// The time as a name that `parent` does not hold yet.
fn free_name(parent: &Path, now: SystemTime) -> String {
    // 2026-11-21T10:00:00Z, without the signs that file systems or shells dislike.
    let stamp = rfc3339(now).replace('T', "_").replace(':', "-").replace('Z', "");
    let mut name = stamp.clone();
    let mut number = 2;
    while parent.join(&name).exists() {
        name = format!("{stamp}-{number}");
        number += 1;
    }
    name
}

/// Finds the checkpoint and the settings that `path` (a run directory or a checkpoint folder) stands for.
pub fn open_checkpoint(path: &Path) -> Result<(RunDir, Option<PathBuf>), TrainError> {
    let run = RunDir::new(path);
    if run.holds_a_run() {
        return Ok((run, None));
    }
    let above = path.parent().and_then(Path::parent).map(RunDir::new);
    match above {
        Some(run) if run.holds_a_run() && path.is_dir() => Ok((run, Some(path.to_owned()))),
        _ => Err(TrainError::config(
            format!("`{}` is neither a run directory nor a checkpoint in one", path.display()),
            "give `runs/<experiment>/<date_time>` or `.../checkpoints/step-...`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    fn config(root: &Path, experiment: Option<&str>) -> RunConfig {
        let mut config = RunConfig::default();
        config.run.root = root.to_owned();
        config.experiment = experiment.map(str::to_owned);
        config
    }

    #[test]
    fn names_are_times_and_never_taken_twice() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), Some("mine/first.yaml"));
        let parent = folder.path().join("first");
        for name in ["1970-01-01_00-00-00", "1970-01-01_00-00-00-2", "1970-01-01_00-00-00-3"] {
            assert_eq!(choose_run_dir(&config, EPOCH).path(), parent.join(name));
            assert_eq!(reserve_run_dir(&config, EPOCH).unwrap().path(), parent.join(name));
            assert!(parent.join(name).is_dir());
        }
    }

    #[test]
    fn a_folder_that_was_asked_for_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path(), None);
        let dir = folder.path().join("a/b");
        config.run.dir = Some(dir.clone());
        for _ in 0..2 {
            assert_eq!(reserve_run_dir(&config, EPOCH).unwrap().path(), dir);
        }
        std::fs::write(folder.path().join("file"), "").unwrap();
        for path in ["file", "file/run"] {
            config.run.dir = Some(folder.path().join(path));
            assert!(reserve_run_dir(&config, EPOCH).is_err(), "{path}");
        }
    }
}
