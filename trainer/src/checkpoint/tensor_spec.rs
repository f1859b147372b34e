//! Named tensors on disk in the safetensors format (<https://github.com/huggingface/safetensors>). A tensor here is a name,
//! a type, a shape and little-endian bytes in row-major order.

use std::io;

/// Key of the header under which a file keeps words about itself.
pub(super) const METADATA_KEY: &str = "__metadata__";
/// Longest header, as in the reference implementation.
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// One byte, 0 or 1.
    Bool,
    /// Unsigned, 1 byte.
    U8,
    /// Signed, 1 byte.
    I8,
    /// Signed, 2 bytes.
    I16,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    Bf16,
    /// Signed, 4 bytes.
    I32,
    /// IEEE single.
    F32,
    /// Signed, 8 bytes.
    I64,
    /// IEEE double.
    F64,
}

impl Dtype {
    pub(super) const ALL: [(Dtype, &'static str, u64); 10] = [
        (Dtype::Bool, "BOOL", 1),
        (Dtype::U8, "U8", 1),
        (Dtype::I8, "I8", 1),
        (Dtype::I16, "I16", 2),
        (Dtype::F16, "F16", 2),
        (Dtype::Bf16, "BF16", 2),
        (Dtype::I32, "I32", 4),
        (Dtype::F32, "F32", 4),
        (Dtype::I64, "I64", 8),
        (Dtype::F64, "F64", 8),
    ];

    /// Bytes of one element.
    pub fn num_bytes(self) -> u64 {
        Self::ALL.iter().find(|(dtype, ..)| *dtype == self).map_or(1, |(.., bytes)| *bytes)
    }

    /// The format's name of the type, such as `F32`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(dtype, ..)| *dtype == self).map_or("", |(_, name, _)| name)
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
    }
}

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
