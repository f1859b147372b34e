//! What a rank leaves behind when it fails: one small file, written before the rank tells anybody else, so that the first
//! to fail can be told from those that failed because of it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::rank::FAILURE_DIR;

/// A longer file was not written by this program.
const MAX_BYTES: u64 = 1 << 20;

/// A failure in a rank's own words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Who.
    pub rank: usize,
    /// Where.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// When, in seconds since 1970.
    pub time_unix: f64,
    /// The exit code that it ends with.
    pub exit: i32,
    /// What.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// What it was doing, where that is known.
    pub stage: Option<String>,
}

impl Record {
    /// Of this process, now.
    pub fn of(rank: usize, failure: &Failure) -> Self {
        Self {
            rank,
            host: this_host(),
            pid: std::process::id(),
            time_unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            exit: failure.exit as i32,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            stage: dtrain_comm::last_stage().map(|stage| stage.to_string()),
        }
    }

    /// Leaves it where the launcher looks, if there is one. That it cannot be left is no second failure.
    pub fn leave(&self) {
        let Some(folder) = std::env::var_os(FAILURE_DIR) else { return };
        if let Err(error) = self.write(Path::new(&folder)) {
            tracing::debug!("the failure could not be recorded: {error}");
        }
    }

    fn write(&self, folder: &Path) -> std::io::Result<()> {
        let path = file_in(folder, self.rank);
        let unfinished = path.with_extension("tmp");
        fs_err::write(&unfinished, serde_json::to_vec(self)?)?;
        fs_err::rename(unfinished, path)
    }

    /// All records in `folder`, the earliest first. What is no record is passed over.
    pub fn read_all(folder: &Path) -> Vec<Record> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let paths = entries.flatten().map(|entry| entry.path());
        let mut records: Vec<Record> = paths
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .filter(|path| path.metadata().is_ok_and(|about| about.len() <= MAX_BYTES))
            .filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok())
            .collect();
        records.sort_by(|a, b| a.time_unix.total_cmp(&b.time_unix).then(a.rank.cmp(&b.rank)));
        records
    }
}

fn file_in(folder: &Path, rank: usize) -> PathBuf {
    folder.join(format!("rank_{rank:03}.json"))
}

/// Name of this machine.
pub fn this_host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn records_are_read_back_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let failure = Failure {
            message: "the disk is full".into(),
            hint: Some("free some".into()),
            exit: Exit::Environment,
            agreed: false,
        };
        let mut records = [3, 1, 2].map(|rank| Record::of(rank, &failure));
        for (record, time) in records.iter_mut().zip([30.0, 10.0, 10.0]) {
            record.time_unix = time;
            record.write(folder.path()).unwrap();
        }
        let read = Record::read_all(folder.path());
        assert_eq!(read.iter().map(|record| record.rank).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(read[2], records[0]);
        assert_eq!((read[0].exit, read[0].pid), (3, std::process::id()));
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("rank_000.json", "{"), ("rank_001.json", "[]"), ("rank_002.tmp", "{}"), ("x.json", "\u{0}")]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(Record::read_all(folder.path()), []);
        assert_eq!(Record::read_all(&folder.path().join("nowhere")), []);
    }
}
