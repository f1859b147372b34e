//! How far a start has come, as its `metrics.jsonl` tells.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dtrain_trainer::track::jsonl::read_metrics;

/// The file of one start. A start that goes on replaces the file of the one before; until then nothing is known.
pub(super) struct Progress {
    path: PathBuf,
    old_file: Option<u64>,
    seen_bytes: u64,
    step: u64,
}

impl Progress {
    /// Of the start that is about to write `path`.
    pub fn new(path: PathBuf) -> Self {
        let old_file = look(&path).map(|(file, _)| file);
        Self { path, old_file, seen_bytes: 0, step: 0 }
    }

    /// The newest step that this start has recorded; 0 before its first.
    pub fn step(&mut self) -> u64 {
        let Some((file, num_bytes)) = look(&self.path) else { return self.step };
        if Some(file) != self.old_file && num_bytes != self.seen_bytes {
            self.seen_bytes = num_bytes;
            let lines = read_metrics(&self.path).unwrap_or_default();
            self.step = lines.last().map_or(self.step, |line| line.step);
        }
        self.step
    }
}

fn look(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs_err::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_start_before_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let (path, next) = (dir.path().join("metrics.jsonl"), dir.path().join("next"));
        let mut first = Progress::new(path.clone());
        assert_eq!(first.step(), 0);
        let line = |step: u64| format!("{{\"step\":{step},\"epoch\":0,\"wall_s\":1.0}}\n");
        std::fs::write(&path, line(1) + &line(9)).unwrap();
        assert_eq!(first.step(), 9);
        let mut second = Progress::new(path.clone());
        assert_eq!(second.step(), 0);
        std::fs::write(&next, line(4)).unwrap();
        std::fs::rename(&next, &path).unwrap();
        assert_eq!(second.step(), 4);
        std::fs::write(&path, line(4) + &line(5) + "{\"st").unwrap();
        assert_eq!(second.step(), 5);
    }
}
