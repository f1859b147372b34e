//! What a launched job has on the machine, and that nothing of it is left.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::processes::is_alive;

/// Processes of a job and the private folder of its files.
#[derive(Debug, Clone)]
pub struct Footprint {
    /// All descendants of the launcher.
    pub processes: Vec<u32>,
    /// Pipes, records, shared memory.
    pub folder: PathBuf,
}

/// The kernel frees the memory of a killed process before it is gone.
const DYING: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

impl Footprint {
    /// Names of all files in the folder.
    pub fn files(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path().is_dir() {
                    true => folders.push(entry.path()),
                    false => names.push(entry.file_name().to_string_lossy().into_owned()),
                }
            }
        }
        names
    }

    /// Waits until no process runs and the folder is gone; fails when that takes too long.
    #[track_caller]
    pub fn assert_gone(&self) {
        let deadline = Instant::now() + DYING;
        loop {
            let alive: Vec<u32> = self.processes.iter().copied().filter(|pid| is_alive(*pid)).collect();
            if alive.is_empty() && !self.folder.exists() {
                return;
            }
            let files = self.files();
            assert!(
                Instant::now() < deadline,
                "left: processes {alive:?}, `{}` {files:?}",
                self.folder.display()
            );
            std::thread::sleep(POLL);
        }
    }
}
