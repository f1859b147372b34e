//! The bytes of a pickle, read by place.

use super::problem::PickleProblem;

/// The bytes that instructions and their texts are in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code<'a>(pub &'a [u8]);

impl<'a> Code<'a> {
    /// In bytes.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// `len` bytes at `offset`.
    pub fn part(self, offset: u64, len: u64, what: &str) -> Result<&'a [u8], PickleProblem> {
        let range = || {
            let end = offset.checked_add(len)?;
            self.0.get(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)
        };
        range().ok_or_else(|| PickleProblem::Truncated {
            offset,
            what: what.into(),
            expected_bytes: len,
            found_bytes: (self.len() as u64).saturating_sub(offset),
        })
    }

    /// A fixed number of bytes at `offset`.
    pub fn array<const N: usize>(self, offset: u64, what: &str) -> Result<[u8; N], PickleProblem> {
        let mut array = [0; N];
        array.copy_from_slice(self.part(offset, N as u64, what)?);
        Ok(array)
    }

    /// What follows a place.
    pub fn rest(self, offset: u64) -> &'a [u8] {
        usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default()
    }
}
