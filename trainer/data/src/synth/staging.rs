//! A folder that is filled out of sight and appears complete.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::DataError;

/// A hidden folder beside the final one; removed when it is dropped unpublished.
#[derive(Debug)]
pub(super) struct Staging {
    folder: PathBuf,
}

impl Staging {
    /// Makes the hidden folder, and the ones above `out`.
    pub fn beside(out: &Path) -> Result<Self, DataError> {
        let out = std::path::absolute(out)?;
        let parent = out.parent().unwrap_or(&out);
        fs_err::create_dir_all(parent)?;
        static NUM_MADE: AtomicU64 = AtomicU64::new(0);
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let (process, number) = (std::process::id(), NUM_MADE.fetch_add(1, Ordering::Relaxed));
        let folder = parent.join(format!(".{name}.partial-{process}-{number}"));
        // An earlier process of the same id that was killed.
        match fs_err::remove_dir_all(&folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs_err::create_dir(&folder)?;
        Ok(Self { folder })
    }

    /// The hidden folder, for writers of whole sets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder that the file `relative` lies in.
    pub fn make_folder_of(&self, relative: &str) -> Result<(), DataError> {
        match self.folder.join(relative).parent() {
            Some(folder) => Ok(fs_err::create_dir_all(folder)?),
            None => Ok(()),
        }
    }

    /// Writes a file.
    pub fn write(&self, relative: &str, bytes: &[u8]) -> Result<(), DataError> {
        Ok(fs_err::write(self.folder.join(relative), bytes)?)
    }

    /// Moves the folder to `out`, which must be empty if it exists. False if it is not: another process was faster.
    pub fn publish(self, out: &Path) -> Result<bool, DataError> {
        match fs_err::rename(&self.folder, out) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After publishing there is nothing to remove.
        let _ = fs_err::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_complete_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("set");
        let fill = || {
            let staging = Staging::beside(&out).unwrap();
            staging.make_folder_of("a/b.txt").unwrap();
            staging.write("a/b.txt", b"x").unwrap();
            staging
        };
        drop(fill());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
        let staging = fill();
        assert!(!out.exists());
        assert!(staging.publish(&out).unwrap());
        assert_eq!(fs_err::read(out.join("a/b.txt")).unwrap(), b"x");
        assert!(!fill().publish(&out).unwrap());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }
}
