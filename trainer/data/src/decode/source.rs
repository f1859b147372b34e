//! A file that is read once from its beginning: small ones with one call, long ones a block at a time.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use nix::fcntl::OFlag;

use super::error::DecodeProblem;

/// An open file and its first bytes.
pub(super) struct Source<'a> {
    file: File,
    len: u64,
    /// The beginning of the file up to `num_first`; later whatever was read last.
    block: &'a mut Vec<u8>,
    num_first: usize,
}

impl<'a> Source<'a> {
    /// Opens a file and fills `block` from it.
    ///
    /// # Errors
    /// No file, or none that can be read from its beginning to its end.
    pub fn open(path: &Path, block: &'a mut Vec<u8>) -> Result<Self, DecodeProblem> {
        // To open a pipe would wait for its writer.
        let file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(DecodeProblem::Io("not a regular file".into()));
        }
        let len = metadata.len();
        let num_first = usize::try_from(len).unwrap_or(usize::MAX).min(block.len());
        if let Some(first) = block.get_mut(..num_first) {
            file.file().read_exact_at(first, 0)?;
        }
        Ok(Self { file, len, block, num_first })
    }

    /// The same open file, for a reader of its own.
    pub fn reopened(&self) -> Result<File, DecodeProblem> {
        Ok(self.file.try_clone()?)
    }

    /// Length of the file, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The beginning of the file.
    pub fn first_bytes(&self) -> &[u8] {
        self.block.get(..self.num_first).unwrap_or_default()
    }

    /// `N` bytes at `offset`; nothing where the file ends before.
    pub fn array<const N: usize>(&self, offset: u64) -> Result<Option<[u8; N]>, DecodeProblem> {
        let mut bytes = [0; N];
        Ok((self.fill(offset, &mut bytes)? == N).then_some(bytes))
    }

    /// Fills `bytes` from `offset` on, as far as the file goes; returns how many there are.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) -> Result<usize, DecodeProblem> {
        let there = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let Some(wanted) = bytes.get_mut(..there) else { return Ok(0) };
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.first_bytes().get(start..start.saturating_add(there)) {
            Some(known) => wanted.copy_from_slice(known),
            None => self.file.file().read_exact_at(wanted, offset)?,
        }
        Ok(there)
    }

    /// Hands out `num_bytes` bytes from `offset` on, whole frames of `frame_bytes` at a time, until `take` returns
    /// false. Consumes the source, since its block is used again.
    ///
    /// # Errors
    /// [`DecodeProblem::Truncated`] where the file has become shorter, and what `take` returns.
    pub fn each_block(
        self,
        offset: u64,
        num_bytes: u64,
        frame_bytes: usize,
        mut take: impl FnMut(&[u8]) -> Result<bool, DecodeProblem>,
    ) -> Result<(), DecodeProblem> {
        let whole_frames = |len: usize| len / frame_bytes * frame_bytes;
        let wanted = |done: u64| usize::try_from(num_bytes - done).unwrap_or(usize::MAX);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.num_first);
        let known = whole_frames((self.num_first - start).min(wanted(0)));
        if known > 0 && !take(self.block.get(start..start + known).unwrap_or_default())? {
            return Ok(());
        }
        let mut done = known as u64;
        let room = whole_frames(self.block.len()).max(frame_bytes);
        if self.block.len() < room && done < num_bytes {
            self.block.resize(room, 0);
        }
        while done < num_bytes {
            let len = room.min(wanted(done));
            let Some(block) = self.block.get_mut(..len) else { return Ok(()) };
            self.file.file().read_exact_at(block, offset + done).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => DecodeProblem::Truncated {
                    offset,
                    expected_bytes: num_bytes,
                    found_bytes: self.file.metadata().map_or(done, |now| now.len().saturating_sub(offset)),
                },
                _ => error.into(),
            })?;
            if !take(block)? {
                return Ok(());
            }
            done += len as u64;
        }
        Ok(())
    }
}
