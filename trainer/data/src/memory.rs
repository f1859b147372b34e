//! Where the values of a batch lie. The loader writes them once; from then on they are read only.

use std::ops::{Deref, DerefMut};

use thiserror::Error;

/// Gives out memory of the host for batches: plain, or such as a device copies from while it works on.
pub trait HostMemory: Send + Sync + 'static {
    /// Values that one owner writes. Its memory returns to whoever gave it out when the last reader is gone.
    type Block: DerefMut<Target = [f32]> + Send + 'static;

    /// `len` values that nobody has written yet.
    ///
    /// # Errors
    /// When memory runs out.
    fn allocate(&self, len: usize) -> Result<Self::Block, NoMemory>;
}

/// Memory has run out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no memory for {num_values} values: {reason}")]
pub struct NoMemory {
    /// 32-bit values that were asked for.
    pub num_values: usize,
    /// What the allocator says.
    pub reason: String,
}

/// The process's own memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainMemory;

impl HostMemory for PlainMemory {
    type Block = Vec<f32>;

    fn allocate(&self, len: usize) -> Result<Vec<f32>, NoMemory> {
        let mut block = Vec::new();
        let reserved = block.try_reserve_exact(len);
        reserved.map_err(|e| NoMemory { num_values: len, reason: e.to_string() })?;
        block.resize(len, 0.0);
        Ok(block)
    }
}

/// The first values of a block, which stay as they are.
#[derive(Debug)]
pub struct Written<B> {
    block: B,
    len: usize,
}

impl<B: Deref<Target = [f32]>> Written<B> {
    /// The first `len` values of `block`, or all where it has fewer.
    pub fn new(block: B, len: usize) -> Self {
        let len = len.min(block.len());
        Self { block, len }
    }

    /// The whole block, of which only the first [`len`](slice::len) values mean something.
    pub fn block(&self) -> &B {
        &self.block
    }
}

impl<B: Deref<Target = [f32]>> Deref for Written<B> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.block.get(..self.len).unwrap_or_default()
    }
}

impl<B: Deref<Target = [f32]>> PartialEq for Written<B> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_behind_the_length_is_not_seen() {
        let written = Written::new(vec![1.0, 2.0, 3.0], 2);
        assert_eq!(*written, [1.0, 2.0]);
        assert_eq!(written.block(), &[1.0, 2.0, 3.0]);
        assert_eq!(Written::new(vec![1.0], 5).len(), 1);
        assert_eq!(written, Written::new(vec![1.0, 2.0, 4.0], 2));
    }

    #[test]
    fn memory_that_is_not_there_is_an_error() {
        let error = PlainMemory.allocate(usize::MAX / 8).unwrap_err();
        assert_eq!(error.num_values, usize::MAX / 8);
        assert!(error.to_string().starts_with("no memory for "), "{error}");
    }
}
