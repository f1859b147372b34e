//! What it takes for bytes to survive a crash: write beside, flush, rename, flush the folder. A file appears whole or
//! not at all, and a full disk is an error that says how much was needed.

use std::io::{self, Write};
use std::path::Path;

use fs_err as fs;

use super::disk;
use super::error::CheckpointError;

/// Replaces the file at `path`, or creates it, so that a crash leaves the old bytes or the new ones.
///
/// # Errors
/// I/O errors name the path; a full disk is [`CheckpointError::DiskFull`]. The old file is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    replace_atomic(path, |file| file.write_all(bytes))
}

/// [`write_atomic`] for content that is produced piece by piece.
///
/// # Errors
/// As [`write_atomic`], and whatever `write` returns.
pub fn replace_atomic(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CheckpointError> {
    let folder = parent_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The process number keeps two processes from writing into one temporary file.
    let temporary = folder.join(format!(".{name}.tmp-{}", std::process::id()));
    let written = (|| {
        // An earlier attempt of this process that could not clean up after itself.
        let _ = fs::remove_file(&temporary);
        let mut file = io::BufWriter::new(disk::create(&temporary)?);
        write(&mut file)?;
        disk::sync_file(&file.into_inner().map_err(io::IntoInnerError::into_error)?)?;
        disk::rename(&temporary, path)?;
        fsync_dir(folder)
    })();
    written.map_err(|error| {
        // Best effort: the name is already reported as not written.
        let _ = fs::remove_file(&temporary);
        CheckpointError::from_io(error, folder)
    })
}

/// Makes creations, renames and deletions inside `folder` durable.
///
/// # Errors
/// I/O errors name the folder.
pub fn fsync_dir(folder: &Path) -> io::Result<()> {
    disk::sync_dir(folder)
}

/// Asks before a save whether `need_bytes` will fit below `folder`. Where the file system does not tell, the save is
/// allowed to try.
///
/// # Errors
/// [`CheckpointError::DiskFull`] with need and free space.
pub fn require_space(folder: &Path, need_bytes: u64) -> Result<(), CheckpointError> {
    match disk::free_bytes(folder) {
        Ok(free) if free < need_bytes => Err(CheckpointError::DiskFull {
            path: folder.to_owned(),
            need_bytes: Some(need_bytes),
            free_bytes: Some(free),
        }),
        _ => Ok(()),
    }
}

/// Asks whether files can be written into `folder`, which exists, before there is anything to write.
///
/// # Errors
/// I/O errors name the path; a full disk is [`CheckpointError::DiskFull`].
pub fn require_writable(folder: &Path) -> Result<(), CheckpointError> {
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let written = fs::write(&probe, b"dtrain");
    // Best effort: an empty file that could not be written does no harm.
    let _ = fs::remove_file(&probe);
    written.map_err(|error| CheckpointError::from_io(error, folder))
}

/// The folder that holds `path`; `.` for a bare name.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_remains() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latest");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_temporary_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        write_atomic(&path, b"old").unwrap();
        let full = replace_atomic(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(matches!(full, Err(CheckpointError::DiskFull { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_space_check_names_need_and_free() {
        let dir = tempfile::tempdir().unwrap();
        require_space(dir.path(), 1).unwrap();
        let error = require_space(dir.path(), u64::MAX).unwrap_err();
        assert!(matches!(
            &error,
            CheckpointError::DiskFull { need_bytes: Some(u64::MAX), free_bytes: Some(_), .. }
        ));
        assert!(error.hint().is_some());
    }
}
