//! The values that a pickle builds.

use super::super::bytes::Bytes;
use super::names::{Dtype, Global, shown};

/// A value. What is large stays in the file or on the heap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
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
    /// Something of numpy.
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
}

/// Bytes in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub len: u64,
}

/// An array of numpy, its contents in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Array {
    /// Sizes, outermost first.
    pub shape: Vec<u64>,
    /// Type of an element, such as `|u1`.
    pub dtype: String,
    /// Columns lie together instead of rows.
    pub is_fortran: bool,
    /// Where the contents begin; nothing before they are set.
    pub offset: Option<u64>,
}

/// Everything that values refer to by number.
#[derive(Debug, Default)]
pub struct Heap {
    pub blobs: Vec<Blob>,
    pub tuples: Vec<Vec<Value>>,
    pub lists: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
    pub arrays: Vec<Array>,
    pub dtypes: Vec<Dtype>,
}

impl Heap {
    pub fn num_containers(&self) -> u64 {
        let Self { blobs, tuples, lists, dicts, arrays, dtypes } = self;
        (blobs.len() + tuples.len() + lists.len() + dicts.len() + arrays.len() + dtypes.len()) as u64
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
    pub fn lookup(&self, bytes: &Bytes, dict: u32, key: &str) -> Option<Value> {
        let is_key = |value: Value| match value {
            Value::Text { len, offset } => bytes.part(offset, len.into(), "a text") == Ok(key.as_bytes()),
            _ => false,
        };
        self.dict(dict).iter().rev().find(|(name, _)| is_key(*name)).map(|(_, value)| *value)
    }

    /// A text, shortened for messages and names.
    pub fn text(&self, bytes: &Bytes, value: Value) -> String {
        let Value::Text { len, offset } = value else { return self.describe(value) };
        let text = bytes.part(offset, len.into(), "a text").unwrap_or_default();
        shown(text)
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
            Value::Global(_) => "a name of numpy".into(),
            Value::Tuple(index) => format!("a tuple of {}", self.tuple(index).len()),
            Value::List(index) => format!("a list of {}", self.list(index).len()),
            Value::Dict(index) => format!("a dictionary of {}", self.dict(index).len()),
            Value::Array(index) => self.array(index).map_or("an array".into(), |array| {
                format!("an array of {} with shape {:?}", array.dtype, array.shape)
            }),
            Value::Dtype(_) => "a type of numpy".into(),
        }
    }
}
