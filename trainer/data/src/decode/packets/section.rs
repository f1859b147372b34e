//! A part of a file, as a library reads it.

use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use fs_err::File;
use symphonia::core::io::MediaSource;

/// The bytes of a file from an offset to its end, as if they were a file of their own.
#[derive(Debug)]
pub(super) struct Section {
    file: File,
    begin: u64,
    len: u64,
    position: u64,
}

impl Section {
    /// What comes after the first `begin` bytes of a file of `len`.
    pub fn new(file: File, begin: u64, len: u64) -> Self {
        Self { file, begin, len: len.saturating_sub(begin), position: 0 }
    }
}

impl Read for Section {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let there = usize::try_from(self.len.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(there);
        let Some(wanted) = bytes.get_mut(..wanted) else { return Ok(0) };
        let count = self.file.file().read_at(wanted, self.begin + self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.len.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl MediaSource for Section {
    fn is_seekable(&self) -> bool {
        true
    }

    fn byte_len(&self) -> Option<u64> {
        Some(self.len)
    }
}
