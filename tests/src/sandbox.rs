//! A folder in which one test's programs run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::job::Job;
use crate::run_files::RunFiles;

/// A working directory, and a folder for what tests note about their programs; both end with the value.
pub struct Sandbox {
    work: TempDir,
    scratch: TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// Empty.
    pub fn new() -> Self {
        let folder =
            || tempfile::Builder::new().prefix("dtrain-test-").tempdir().expect("a temporary folder");
        Self { work: folder(), scratch: folder() }
    }

    /// The working directory.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// A path below the working directory.
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path().join(relative)
    }

    /// A `dtrain` with these arguments.
    pub fn dtrain<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Job {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        Job::new(args, self.path(), self.scratch.path())
    }

    /// The run directory `relative`.
    pub fn run(&self, relative: impl AsRef<Path>) -> RunFiles {
        RunFiles::new(self.join(relative))
    }

    /// All files below the working directory, with sizes and times of change, but for locks of run directories: who looks at a
    /// run may have held one.
    pub fn listing(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("the folder can be listed").flatten() {
                let (path, metadata) = (entry.path(), entry.metadata().expect("the entry is there"));
                let relative = path.strip_prefix(self.path()).unwrap_or(&path).display().to_string();
                if entry.file_name() == ".lock" {
                    continue;
                }
                if metadata.is_dir() {
                    found.insert(format!("{relative}/"));
                    folders.push(path);
                } else {
                    let changed = metadata.modified().expect("the file system knows times");
                    found.insert(format!("{relative} {} {changed:?}", metadata.len()));
                }
            }
        }
        found
    }
}
