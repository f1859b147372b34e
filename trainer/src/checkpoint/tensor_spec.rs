//! Named tensors on disk in the safetensors format (<https://github.com/huggingface/safetensors>). A tensor here is a name,
//! a type, a shape and little-endian bytes in row-major order.

use std::io;

pub use dtrain_data::dtype::Dtype;

/// Key of the header under which a file keeps words about itself.
pub(super) const METADATA_KEY: &str = "__metadata__";
/// Longest header, as in the reference implementation.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// A tensor without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Dotted name, unique in a file.
    pub name: String,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Sizes of the dimensions; empty for a scalar.
    pub shape: Vec<u64>,
}

impl TensorSpec {
    /// Bytes of all elements; `None` where the product does not fit in 64 bits.
    pub fn num_bytes(&self) -> Option<u64> {
        self.shape.iter().try_fold(self.dtype.num_bytes(), |bytes, &size| bytes.checked_mul(size))
    }
}

/// A safetensors file that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// The file system's error, naming the path where the file was opened by path.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The header is not one.
    #[error("safetensors header: {reason}")]
    Header {
        /// In which way.
        reason: String,
    },
    /// A tensor's entry contradicts itself or the file.
    #[error("tensor `{name}`: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// In which way.
        reason: String,
    },
    /// A tensor that the file does not hold.
    #[error("there is no tensor `{name}`")]
    NotFound {
        /// Its name.
        name: String,
    },
}
