//! Types of the elements of tensors in files, under safetensors' names.

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
    /// All types, their names and the bytes of an element.
    pub const ALL: [(Dtype, &'static str, u64); 10] = [
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

    /// The name of the type, such as `F32`.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(dtype, ..)| *dtype == self).map_or("", |(_, name, _)| name)
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
    }

    /// PyTorch's name of the class of its storages, such as `FloatStorage`.
    pub(crate) fn storage_class(self) -> &'static str {
        match self {
            Self::Bool => "BoolStorage",
            Self::U8 => "ByteStorage",
            Self::I8 => "CharStorage",
            Self::I16 => "ShortStorage",
            Self::F16 => "HalfStorage",
            Self::Bf16 => "BFloat16Storage",
            Self::I32 => "IntStorage",
            Self::F32 => "FloatStorage",
            Self::I64 => "LongStorage",
            Self::F64 => "DoubleStorage",
        }
    }

    /// The type whose storages PyTorch calls so.
    pub(crate) fn of_storage_class(name: &[u8]) -> Option<Self> {
        Self::ALL.iter().map(|(dtype, ..)| *dtype).find(|dtype| dtype.storage_class().as_bytes() == name)
    }
}
