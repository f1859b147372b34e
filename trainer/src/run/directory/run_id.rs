//! A run's identity: 128 random bits, written into its directory when it begins and into every checkpoint. Checkpoints of
//! several runs may meet in one folder; they are told apart by it.

use std::io::Read;

use dtrain_configs::RunDir;

use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;

/// Longest identity that is read: one that somebody wrote himself may be longer than ours.
const MAX_BYTES: u64 = 64;

/// The identity in the run directory; `None` where there is none yet.
///
/// # Errors
/// When the file cannot be read, or holds what cannot be the name of a folder.
pub fn read(run: &RunDir) -> Result<Option<String>, TrainError> {
    let path = run.run_id();
    let file = match fs_err::File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut text = String::new();
    let read = file.take(MAX_BYTES).read_to_string(&mut text);
    let id = text.trim_end();
    let is_plain = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if read.is_err() || !is_plain {
        return Err(TrainError::config(
            format!("`{}` does not hold the identity of a run", path.display()),
            "restore the file, or remove it: the checkpoints of the run directory are then taken as they are",
        ));
    }
    Ok(Some(id.to_owned()))
}

/// The identity in the run directory; where there is none yet, a new one is written.
///
/// # Errors
/// As [`read`], and when the file cannot be written.
pub fn read_or_make(run: &RunDir) -> Result<String, TrainError> {
    if let Some(id) = read(run)? {
        return Ok(id);
    }
    let mut bytes = [0; 16];
    fs_err::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let id = format!("{:032x}", u128::from_ne_bytes(bytes));
    write_atomic(&run.run_id(), format!("{id}\n").as_bytes())?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_keeps_its_identity_and_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (RunDir::new(dir.path().join("a")), RunDir::new(dir.path().join("b")));
        for run in [&a, &b] {
            std::fs::create_dir(run.path()).unwrap();
            assert_eq!(read(run).unwrap(), None);
        }
        let id = read_or_make(&a).unwrap();
        assert_eq!(id.len(), 32);
        assert_eq!(read(&a).unwrap(), Some(id.clone()));
        assert_eq!(read_or_make(&a).unwrap(), id);
        assert_ne!(read_or_make(&b).unwrap(), id);
    }

    #[test]
    fn what_could_leave_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        for text in ["", "\n", "../other", "a b", "\u{fffd}"] {
            std::fs::write(run.run_id(), text).unwrap();
            assert!(read(&run).unwrap_err().to_string().contains("run_id"), "{text:?}");
        }
        std::fs::write(run.run_id(), [0xff, 0xfe]).unwrap();
        assert!(read(&run).is_err());
    }
}
