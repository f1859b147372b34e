//! Files of `torch.save`, read and written without running code: the zip form (PyTorch 1.6 and later) and the one before.
//!
//! What such a file holds is a pickle, a program, and the contents of its tensors. The program is read as data
//! ([`crate::pickle`]): dictionaries, lists, numbers, texts and tensors become a [`Node`]; whatever else it names (classes of
//! Lightning, functions of the operating system) stays an opaque name, is never looked up and never called, and the tensors
//! beside it are found all the same.
//!
//! Memory is bounded by the length of the file: the contents of tensors stay where they are, and are copied only where a
//! tensor does not lie in one piece.

mod contents;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod legacy;
mod tree;
mod write;
mod zipped;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use contents::StoredTensor;
pub use error::{TorchFileError, TorchFileProblem};
pub use tree::Node;
pub use write::{TensorToWrite, write};

use crate::pickle::{Code, Heap, Value};

/// What a zip archive begins with.
const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// What a pickle of protocol 2 and later begins with.
const PICKLE_MAGIC: u8 = 0x80;
/// Names that were passed over and are repeated.
const MAX_PASSED_OVER: usize = 3;

/// A file of `torch.save` in memory, checked.
#[derive(Debug)]
pub struct TorchFile {
    path: PathBuf,
    bytes: Vec<u8>,
    unpickled: Unpickled,
}

/// What the pickle says, and where in the file the contents of storages are.
#[derive(Debug)]
struct Unpickled {
    root: Value,
    heap: Heap,
    /// Length of the pickle.
    pickle_bytes: u64,
    /// By key.
    storages: BTreeMap<String, Range<usize>>,
    is_big_endian: bool,
}

impl TorchFile {
    /// Whether a file begins like one of `torch.save`, whatever it is called.
    pub fn is_one(first_bytes: &[u8]) -> bool {
        first_bytes.starts_with(ZIP_MAGIC) || first_bytes.first() == Some(&PICKLE_MAGIC)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// Those of the file system, and those of [`TorchFile::parse`].
    pub fn read(path: &Path) -> Result<Self, TorchFileError> {
        let bytes = fs_err::read(path).map_err(|error| TorchFileProblem::Io(error).of(path))?;
        Self::parse(path, bytes)
    }

    /// Checks `bytes`, which are those of `path`: the pickle, and that every tensor lies within the file.
    ///
    /// # Errors
    /// Anything but a whole, consistent file, with the place and what was expected there.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, TorchFileError> {
        let unpickled = match bytes.first() {
            _ if bytes.starts_with(ZIP_MAGIC) => zipped::read(&bytes),
            Some(&PICKLE_MAGIC) => legacy::read(&bytes),
            _ => Err(TorchFileProblem::Foreign),
        };
        let unpickled = unpickled.map_err(|problem| problem.of(path))?;
        let file = Self { path: path.to_path_buf(), bytes, unpickled };
        for (name, tensor) in file.tensors()? {
            tensor.check().map_err(|reason| TorchFileProblem::Tensor { name, reason }.of(path))?;
        }
        Ok(file)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved.
    ///
    /// # Errors
    /// Values within each other deeper, or more often, than any real file has them.
    pub fn tree(&self) -> Result<Node<'_>, TorchFileError> {
        tree::build(self).map_err(|problem| problem.of(&self.path))
    }

    /// All tensors, in the order of the file, under the keys that lead to them, joined by dots; of lists and tuples the number
    /// of the item is its key. A single tensor has no name.
    ///
    /// # Errors
    /// As [`TorchFile::tree`].
    pub fn tensors(&self) -> Result<Vec<(String, StoredTensor<'_>)>, TorchFileError> {
        let tree = self.tree()?;
        tree.flatten(self.unpickled.pickle_bytes).map_err(|problem| problem.of(&self.path))
    }

    /// A few of the names that were passed over, such as `argparse.Namespace`.
    pub fn passed_over(&self) -> Vec<String> {
        let mut names = Vec::new();
        for index in 0..self.unpickled.heap.names.len() {
            let name = self.unpickled.heap.name(self.code(), index as u32);
            if !names.contains(&name) {
                names.push(name);
            }
            if names.len() == MAX_PASSED_OVER {
                break;
            }
        }
        names
    }

    fn code(&self) -> Code<'_> {
        Code(&self.bytes)
    }
}

#[cfg(test)]
mod tests;
