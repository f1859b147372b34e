//! The values that a pickle builds.

use super::code::Code;
use super::names::{Global, NumpyType, shown};
use crate::dtype::Dtype;

/// A value. What is large stays in the file or on the heap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// `None`
    None,
    /// `True` or `False`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// UTF-8 at a place in the file.
    Text {
        /// In bytes.
        len: u32,
        /// Where it begins.
        offset: u64,
    },
    /// A list of numbers from 0 to 255, complete, as the instructions at a place in the file.
    Row {
        /// Of the instructions, in bytes.
        len: u32,
        /// Where they begin.
        offset: u64,
    },
    /// Bytes in the file, by number.
    Bytes(u32),
    /// A whole number of more than eight bytes, as its digits in the file.
    Long {
        /// In bytes.
        len: u32,
        /// Where they begin.
        offset: u64,
    },
    /// A name.
    Global(Global),
    /// By number.
    Tuple(u32),
    /// By number.
    List(u32),
    /// By number.
    Dict(u32),
    /// An array of numpy, by number.
    Array(u32),
    /// A type of numpy, by number.
    Dtype(u32),
    /// A storage of PyTorch, by number.
    Storage(u32),
    /// A tensor of PyTorch, by number.
    Tensor(u32),
    /// What a name that is not known would have made, by the number of the name; nothing if it had none.
    Opaque(Option<u32>),
}

/// Bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blob {
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// An array of numpy, its contents in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Array {
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// Type of an element, such as `|u1`.
    pub dtype: String,
    /// Columns lie together instead of rows.
    pub is_fortran: bool,
    /// Where the contents begin; nothing before they are set.
    pub offset: Option<u64>,
}

/// Memory that tensors lie in, its contents elsewhere in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StorageEntry {
    /// Type of its elements.
    pub dtype: Dtype,
    /// Where the text of its key is.
    pub key: Blob,
    /// Number of elements.
    pub num_elements: u64,
}

/// A tensor, as a view of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorEntry {
    /// By number.
    pub storage: u32,
    /// First element in the storage.
    pub offset: u64,
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// Elements from one to the next, for each dimension.
    pub strides: Vec<u64>,
}

/// Everything that values refer to by number.
#[derive(Debug, Default)]
pub(crate) struct Heap {
    pub blobs: Vec<Blob>,
    pub tuples: Vec<Vec<Value>>,
    pub lists: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub arrays: Vec<Array>,
    pub dtypes: Vec<NumpyType>,
    pub storages: Vec<StorageEntry>,
    pub tensors: Vec<TensorEntry>,
    /// Module and name of globals that are not known, as places in the file.
    pub names: Vec<[Blob; 2]>,
}

impl Heap {
    pub fn num_containers(&self) -> u64 {
        let Self { blobs, tuples, lists, dicts, arrays, dtypes, storages, tensors, names } = self;
        let of_numpy = arrays.len() + dtypes.len();
        let of_torch = storages.len() + tensors.len() + names.len();
        (blobs.len() + tuples.len() + lists.len() + dicts.len() + of_numpy + of_torch) as u64
    }

    pub fn tuple(&self, index: u32) -> &[Value] {
        self.tuples.get(index as usize).map_or(&[], Vec::as_slice)
    }

    pub fn list(&self, index: u32) -> &[Value] {
        self.lists.get(index as usize).map_or(&[], Vec::as_slice)
    }

    pub fn dict(&self, index: u32) -> &[(Value, Value)] {
        self.dicts.get(index as usize).map_or(&[], Vec::as_slice)
    }

    pub fn array(&self, index: u32) -> Option<&Array> {
        self.arrays.get(index as usize)
    }

    pub fn blob(&self, index: u32) -> Option<Blob> {
        self.blobs.get(index as usize).copied()
    }

    /// The value of a key; the last one counts, as in Python.
    pub fn lookup(&self, code: Code<'_>, dict: u32, key: &str) -> Option<Value> {
        let is_key = |value: Value| match value {
            Value::Text { len, offset } => code.part(offset, len.into(), "a text") == Ok(key.as_bytes()),
            _ => false,
        };
        self.dict(dict).iter().rev().find(|(name, _)| is_key(*name)).map(|(_, value)| *value)
    }

    /// A text, shortened for messages and names.
    pub fn text(&self, code: Code<'_>, value: Value) -> String {
        let Value::Text { len, offset } = value else { return self.describe(value) };
        let text = code.part(offset, len.into(), "a text").unwrap_or_default();
        shown(text)
    }

    /// The name of a global that is not known.
    pub fn name(&self, code: Code<'_>, index: u32) -> String {
        let text = |blob: &Blob| shown(code.part(blob.offset, blob.len, "a name").unwrap_or_default());
        self.names
            .get(index as usize)
            .map_or_else(String::new, |[module, name]| format!("{}.{}", text(module), text(name)))
    }

    /// What a value is, in a few words.
    pub fn describe(&self, value: Value) -> String {
        match value {
            Value::None => "None".into(),
            Value::Bool(value) => if value { "True" } else { "False" }.into(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Text { .. } => "a text".into(),
            Value::Row { .. } => "a list of small numbers".into(),
            Value::Bytes(_) => "bytes".into(),
            Value::Long { len, .. } => format!("a number of {len} bytes"),
            Value::Global(_) => "a name".into(),
            Value::Tuple(index) => format!("a tuple of {}", self.tuple(index).len()),
            Value::List(index) => format!("a list of {}", self.list(index).len()),
            Value::Dict(index) => format!("a dictionary of {}", self.dict(index).len()),
            Value::Array(index) => self.array(index).map_or("an array".into(), |array| {
                format!("an array of {} with shape {:?}", array.dtype, array.shape)
            }),
            Value::Dtype(_) => "a type of numpy".into(),
            Value::Storage(_) => "a storage of PyTorch".into(),
            Value::Tensor(index) => self
                .tensors
                .get(index as usize)
                .map_or("a tensor".into(), |tensor| format!("a tensor with shape {:?}", tensor.shape)),
            Value::Opaque(_) => "an object that is not known here".into(),
        }
    }
}
