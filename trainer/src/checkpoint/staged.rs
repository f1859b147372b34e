//! A checkpoint in the making: its files are written and flushed in a hidden folder, which [`Staged::commit`] renames.
//! Dropped before that, it leaves nothing behind.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use xxhash_rust::xxh3::Xxh3;

use super::disk;
use super::durable::fsync_dir;
use super::error::CheckpointError;
use super::manifest::{
    FileEntry, MANIFEST_FILE, Manifest, ManifestInfo, REQUIRED_FILES, Validation, is_plain_name, step_folder,
};
use super::store::{CheckpointStore, REPLACED_PREFIX, STAGING_PREFIX};

/// Bytes that are hashed and handed to the operating system at once.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes after which the disk is told to begin, so that little is left to do when the file is flushed.
const BEGIN_BYTES: u64 = 8 << 20;

/// A checkpoint that is being written.
#[derive(Debug)]
pub struct Staged {
    store: CheckpointStore,
    step: u64,
    folder: PathBuf,
    files: BTreeMap<String, FileEntry>,
}

impl CheckpointStore {
    /// Begins the checkpoint of `step`. Nothing can be seen of it before [`Staged::commit`].
    ///
    /// # Errors
    /// I/O errors.
    pub fn begin(&self, step: u64) -> Result<Staged, CheckpointError> {
        Staged::new(self.clone(), step)
    }
}

impl Staged {
    fn new(store: CheckpointStore, step: u64) -> Result<Self, CheckpointError> {
        let folder = store.dir().join(format!("{STAGING_PREFIX}{}", step_folder(step)));
        if folder.exists() {
            // An earlier attempt of this process that could not clean up after itself.
            disk::remove_tree(&folder)?;
        }
        disk::make_dir(&folder).map_err(|error| CheckpointError::from_io(error, store.dir()))?;
        Ok(Self { store, step, folder, files: BTreeMap::new() })
    }

    /// Writes one file; it is durable when this returns. `write` streams into a buffer.
    ///
    /// # Errors
    /// What `write` returns, I/O errors, and [`CheckpointError::DiskFull`]. Drop the value then: the staged files go,
    /// earlier checkpoints stay.
    pub fn write_file(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        if !is_plain_name(name) || name == MANIFEST_FILE || self.files.contains_key(name) {
            return Err(CheckpointError::FileName { name: name.into() });
        }
        let entry = self.write_hashed(name, write).map_err(|error| error.naming(self.store.dir()))?;
        self.files.insert(name.into(), entry);
        Ok(())
    }

    fn write_hashed(
        &self,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), CheckpointError>,
    ) -> Result<FileEntry, CheckpointError> {
        let file = disk::create(&self.folder.join(name))?;
        let hashing = Hashing { file, hasher: Xxh3::new(), bytes: 0, begun: 0 };
        let mut buffered = io::BufWriter::with_capacity(BUFFER_BYTES, hashing);
        write(&mut buffered)?;
        let hashing = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
        disk::sync_file(&hashing.file)?;
        Ok(FileEntry { bytes: hashing.bytes, xxh3_128: format!("{:032x}", hashing.hasher.digest128()) })
    }

    /// Makes the checkpoint exist and moves `latest` to it. When this returns, the checkpoint survives a crash of the
    /// machine; when it fails, the checkpoints that existed before still do.
    ///
    /// A folder of the same step with the same content stays as it is. Another one gives way only after this one is
    /// complete.
    ///
    /// # Errors
    /// [`CheckpointError::MissingPart`] when one of [`REQUIRED_FILES`] was not written, I/O errors, and
    /// [`CheckpointError::DiskFull`].
    pub fn commit(mut self, info: ManifestInfo) -> Result<PathBuf, CheckpointError> {
        if let Some(file) = REQUIRED_FILES.iter().find(|file| !self.files.contains_key(**file)) {
            return Err(CheckpointError::MissingPart { step: self.step, file: (*file).into() });
        }
        let target = self.store.dir().join(step_folder(self.step));
        if self.is_already_in(&target) {
            self.store.point_latest_to(self.step)?;
            return Ok(target);
        }
        let manifest = Manifest::new(self.step, info, std::mem::take(&mut self.files));
        self.write_hashed(MANIFEST_FILE, |file| Ok(file.write_all(manifest.encode()?.as_bytes())?))
            .map_err(|error| error.naming(self.store.dir()))?;
        fsync_dir(&self.folder)?;
        self.publish(&target)?;
        self.store.point_latest_to(self.step)?;
        self.store.remove_replaced(self.step)?;
        Ok(target)
    }

    fn is_already_in(&self, target: &Path) -> bool {
        Manifest::read(target)
            .is_ok_and(|there| there.files == self.files && there.check(target, Validation::Full).is_ok())
    }

    /// Renames the staged folder to `target`. What is there moves aside first and comes back if the rename fails; after
    /// a crash between the two renames, the next start brings it back.
    fn publish(&self, target: &Path) -> Result<(), CheckpointError> {
        let aside = self.store.dir().join(format!("{REPLACED_PREFIX}{}", step_folder(self.step)));
        let replaces = target.exists();
        if replaces {
            self.store.remove_replaced(self.step)?;
            disk::rename(target, &aside)?;
        }
        if let Err(error) = disk::rename(&self.folder, target) {
            if replaces {
                disk::rename(&aside, target)?;
            }
            return Err(CheckpointError::from_io(error, self.store.dir()));
        }
        fsync_dir(self.store.dir())?;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a commit the folder is gone; what cannot be removed now is removed at the next start.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Hashing {
    file: fs::File,
    hasher: Xxh3,
    bytes: u64,
    /// Of them, those that the disk has been told to write.
    begun: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes += written as u64;
        if self.bytes - self.begun >= BEGIN_BYTES {
            disk::begin_writing(&self.file, self.begun, self.bytes - self.begun);
            self.begun = self.bytes;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{MODEL_FILE, OPTIMIZER_FILE, STATE_FILE};

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn save(store: &CheckpointStore, step: u64, content: &[u8]) -> Result<PathBuf, CheckpointError> {
        let mut staged = store.begin(step)?;
        for name in REQUIRED_FILES {
            staged.write_file(name, |file| Ok(file.write_all(content)?))?;
        }
        staged.commit(ManifestInfo::default())
    }

    #[test]
    fn a_commit_leaves_the_folder_and_latest_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        let path = save(&store, 12, b"weights").unwrap();
        assert_eq!(path, dir.path().join("step-00000012"));
        assert_eq!(names(dir.path()), ["latest", "step-00000012"]);
        assert_eq!(names(&path), [MANIFEST_FILE, MODEL_FILE, OPTIMIZER_FILE, STATE_FILE]);
        assert_eq!(fs::read_to_string(dir.path().join("latest")).unwrap(), "step-00000012\n");
        Manifest::read(&path).unwrap().check(&path, Validation::Full).unwrap();
    }

    #[test]
    fn a_missing_part_and_a_failed_write_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        save(&store, 1, b"good").unwrap();
        let before = names(dir.path());
        let mut staged = store.begin(2).unwrap();
        staged.write_file(MODEL_FILE, |file| Ok(file.write_all(b"x")?)).unwrap();
        let error = staged.commit(ManifestInfo::default()).unwrap_err();
        assert_eq!(error.to_string(), "checkpoint of step 2 lacks `optimizer.safetensors`");
        assert_eq!(names(dir.path()), before);

        let mut staged = store.begin(2).unwrap();
        let error = staged
            .write_file(MODEL_FILE, |file| {
                file.write_all(&vec![0; 3 << 20])?;
                Err(io::Error::from(nix::errno::Errno::ENOSPC).into())
            })
            .unwrap_err();
        assert!(matches!(error, CheckpointError::DiskFull { free_bytes: Some(_), .. }), "{error}");
        drop(staged);
        assert_eq!(names(dir.path()), before);
    }

    #[test]
    fn names_outside_the_folder_and_repeated_ones_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut staged = CheckpointStore::open(dir.path()).unwrap().begin(1).unwrap();
        for name in ["../x", MANIFEST_FILE, ".hidden"] {
            assert!(matches!(staged.write_file(name, |_| Ok(())), Err(CheckpointError::FileName { .. })));
        }
        staged.write_file(STATE_FILE, |_| Ok(())).unwrap();
        assert!(staged.write_file(STATE_FILE, |_| Ok(())).is_err());
    }

    #[test]
    fn the_same_step_again_keeps_equal_content_and_replaces_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        let path = save(&store, 5, b"one").unwrap();
        let first = fs::metadata(path.join(MANIFEST_FILE)).unwrap().modified().unwrap();
        save(&store, 5, b"one").unwrap();
        assert_eq!(fs::metadata(path.join(MANIFEST_FILE)).unwrap().modified().unwrap(), first);
        save(&store, 5, b"two").unwrap();
        assert_eq!(fs::read(path.join(MODEL_FILE)).unwrap(), b"two");
        fs::write(path.join(MODEL_FILE), b"bad").unwrap();
        save(&store, 5, b"two").unwrap();
        assert_eq!(fs::read(path.join(MODEL_FILE)).unwrap(), b"two");
        assert_eq!(names(dir.path()), ["latest", "step-00000005"]);
    }
}
