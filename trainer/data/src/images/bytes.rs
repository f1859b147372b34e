//! The bytes of a file: mapped where it can be read in place, in memory where it had to be inflated.

use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;

use super::error::{FormatError, FormatProblem};
use super::mapped::Mapped;
use crate::sniff::{FileKind, NUM_FIRST_BYTES};

/// Bytes with the file that they are from. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    path: Arc<PathBuf>,
    storage: Arc<Storage>,
    /// Where the records of gathered bytes are in the file; empty where that is not known, or bytes are where they were.
    places: Arc<[u64]>,
}

#[derive(Debug)]
enum Storage {
    Mapped(Mapped),
    Owned(Vec<u8>),
}

impl Bytes {
    /// Maps a file, of which the first bytes are looked at. One that is shortened while it is mapped reads as zeros, and
    /// [`Bytes::check_intact`] fails.
    ///
    /// # Errors
    /// No file, or one whose first bytes are those of something that no format of images begins with.
    pub fn map(path: &Path) -> Result<Self, FormatError> {
        let open = || -> std::io::Result<Storage> {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(std::io::Error::other("it is not a file"));
            }
            if metadata.len() == 0 {
                return Ok(Storage::Owned(Vec::new()));
            }
            Mapped::new(&file).map(Storage::Mapped)
        };
        let storage = open().map_err(|error| FormatProblem::from(error).of(path))?;
        let bytes =
            Self { path: Arc::new(path.to_path_buf()), storage: Arc::new(storage), places: Arc::new([]) };
        let first = bytes.get(..bytes.len().min(NUM_FIRST_BYTES)).unwrap_or_default();
        match FileKind::of_binary(first) {
            Some(kind) => Err(FormatProblem::Foreign(kind).of(path)),
            None => Ok(bytes),
        }
    }

    /// As [`Bytes::map`], of a file that is not inflated.
    ///
    /// # Errors
    /// As [`Bytes::map`], and a gzip file.
    pub fn map_plain(path: &Path) -> Result<Self, FormatError> {
        let bytes = Self::map(path)?;
        if bytes.is_gzip() {
            return Err(FormatProblem::Foreign(FileKind::Packed("a gzip file", "gunzip")).of(path));
        }
        Ok(bytes)
    }

    /// The first bytes are those of gzip, whatever the file is called.
    pub fn is_gzip(&self) -> bool {
        self.starts_with(b"\x1f\x8b")
    }

    /// To be asked after reading from a part of the file.
    ///
    /// # Errors
    /// The file was shortened or cannot be read any more, and what was read is not what it held.
    pub fn check_intact(&self) -> Result<(), FormatProblem> {
        match &*self.storage {
            Storage::Owned(_) => Ok(()),
            Storage::Mapped(mapped) if mapped.is_intact() => Ok(()),
            Storage::Mapped(mapped) => {
                let num_bytes = std::fs::metadata(&*self.path).map_or(0, |metadata| metadata.len());
                Err(FormatProblem::Lost { mapped_bytes: mapped.len() as u64, num_bytes })
            }
        }
    }

    /// Takes bytes that are in memory already.
    pub fn owned(path: &Path, bytes: Vec<u8>) -> Self {
        Self::gathered(path, bytes, Vec::new())
    }

    /// As [`Bytes::owned`], of records that were gathered from these places of the file.
    pub fn gathered(path: &Path, bytes: Vec<u8>, places: Vec<u64>) -> Self {
        let (path, storage) = (Arc::new(path.to_path_buf()), Arc::new(Storage::Owned(bytes)));
        Self { path, storage, places: places.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `len` bytes at `offset`.
    pub fn part(&self, offset: u64, len: u64, what: &str) -> Result<&[u8], FormatProblem> {
        let range = offset.checked_add(len).and_then(|end| range(offset, end));
        range.and_then(|range| self.get(range)).ok_or_else(|| {
            let found = (self.len() as u64).saturating_sub(offset);
            FormatProblem::truncated(offset, what, len, found)
        })
    }

    /// A fixed number of bytes at `offset`.
    pub fn array<const N: usize>(&self, offset: u64, what: &str) -> Result<[u8; N], FormatProblem> {
        let part = self.part(offset, N as u64, what)?;
        let mut array = [0; N];
        array.copy_from_slice(part);
        self.check_intact()?;
        Ok(array)
    }
}

fn range(start: u64, end: u64) -> Option<Range<usize>> {
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.storage {
            Storage::Mapped(map) => map,
            Storage::Owned(bytes) => bytes,
        }
    }
}

/// One item of each record: records of the same length follow each other from `start` on.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub bytes: Bytes,
    /// Where the item of record 0 begins.
    pub start: u64,
    /// Bytes from one record to the next.
    pub stride: u64,
}

impl Column {
    /// Where the item of a record begins.
    pub fn offset(&self, record: u64) -> u64 {
        record.saturating_mul(self.stride).saturating_add(self.start)
    }

    /// Where a record is in its file, for messages.
    pub fn place(&self, record: u64) -> u64 {
        let place = usize::try_from(record).ok().and_then(|record| self.bytes.places.get(record));
        place.copied().unwrap_or_else(|| self.offset(record))
    }

    /// `len` bytes of a record.
    pub fn of(&self, record: u64, len: usize, what: &str) -> Result<&[u8], FormatProblem> {
        self.bytes.part(self.offset(record), len as u64, what)
    }

    /// One byte of a record.
    pub fn byte(&self, record: u64, what: &str) -> Result<u8, FormatProblem> {
        self.bytes.array::<1>(self.offset(record), what).map(|[byte]| byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_beyond_the_end_are_refused_without_overflow() {
        let bytes = Bytes::owned(Path::new("x"), vec![1, 2, 3]);
        assert_eq!(bytes.part(1, 2, "two").unwrap(), [2, 3]);
        for (offset, len) in [(1, 3), (4, 0), (u64::MAX, 1), (1, u64::MAX)] {
            assert!(matches!(bytes.part(offset, len, "p"), Err(FormatProblem::Truncated { .. })));
        }
        let column = Column { bytes, start: 1, stride: u64::MAX };
        assert_eq!(column.byte(0, "b").unwrap(), 2);
        assert!(column.byte(7, "b").is_err());
    }

    #[test]
    fn gathered_records_know_their_places() {
        let column = |bytes| Column { bytes, start: 1, stride: 2 };
        let gathered = column(Bytes::gathered(Path::new("x"), vec![0; 4], vec![70, 90]));
        assert_eq!([gathered.place(0), gathered.place(1), gathered.place(2)], [70, 90, 5]);
        assert_eq!(column(Bytes::owned(Path::new("x"), vec![0; 4])).place(1), 3);
    }

    #[test]
    fn what_is_no_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Bytes::map(&dir.path().join("no")).unwrap_err();
        assert!(error.to_string().ends_with("no`: cannot be used: it does not exist"), "{error}");
        assert!(Bytes::map(dir.path()).unwrap_err().to_string().contains("it is not a file"));
        fs_err::write(dir.path().join("empty"), b"").unwrap();
        assert!(Bytes::map(&dir.path().join("empty")).unwrap().is_empty());
    }
}
