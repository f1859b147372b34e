//! The dictionary that a pickled data set is. What makes it is [`crate::pickle`], in the dialect of arrays.

use super::bytes::Bytes;
use super::error::FormatProblem;
use crate::pickle::{Array, Code, Dialect, Heap, Value, extend_row, run};

/// A dictionary that was pickled.
#[derive(Debug)]
pub(super) struct Pickle {
    bytes: Bytes,
    heap: Heap,
    root: u32,
}

impl Pickle {
    /// # Errors
    /// Anything that is not such a pickle, with its place.
    pub fn parse(bytes: Bytes) -> Result<Self, FormatProblem> {
        let ran = run(Code(&bytes), 0, Dialect::Arrays);
        bytes.check_intact()?;
        let ran = ran?;
        let heap = ran.heap;
        match ran.value {
            Value::Dict(root) => Ok(Self { bytes, heap, root }),
            other => Err(FormatProblem::unexpected(0, "a dictionary", heap.describe(other))),
        }
    }

    /// The file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.heap.lookup(Code(&self.bytes), self.root, key)
    }

    /// What a value is, in a few words.
    pub fn describe(&self, value: Value) -> String {
        self.heap.describe(value)
    }

    /// A number that is not negative; nothing where the key is missing.
    pub fn number(&self, key: &str) -> Result<Option<u64>, FormatProblem> {
        match self.get(key) {
            None | Some(Value::None) => Ok(None),
            Some(Value::Int(number)) if number >= 0 => Ok(Some(number.unsigned_abs())),
            Some(other) => Err(FormatProblem::key(key, "a number of at least 0", self.describe(other))),
        }
    }

    /// The items of a dictionary of up to `most` texts with numbers; nothing where the key is missing.
    pub fn numbers(&self, key: &str, most: usize) -> Result<Vec<(String, u64)>, FormatProblem> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let wrong = |found: String| FormatProblem::key(key, "a dictionary of texts and numbers", found);
        let Value::Dict(index) = value else { return Err(wrong(self.describe(value))) };
        if self.heap.dict(index).len() > most {
            return Err(wrong(self.describe(value)));
        }
        let items = self.heap.dict(index).iter().map(|&(name, number)| match (name, number) {
            (Value::Text { .. }, Value::Int(number)) if number >= 0 => {
                Ok((self.heap.text(Code(&self.bytes), name), number.unsigned_abs()))
            }
            (name, number) => {
                Err(wrong(format!("{} as key of {}", self.describe(name), self.describe(number))))
            }
        });
        items.collect()
    }

    /// The array that a value is.
    pub fn array(&self, value: Value) -> Option<&Array> {
        match value {
            Value::Array(index) => self.heap.array(index),
            _ => None,
        }
    }

    /// The items of a list, unless it is one of small numbers.
    pub fn list(&self, value: Value) -> Option<&[Value]> {
        match value {
            Value::List(index) => Some(self.heap.list(index)),
            _ => None,
        }
    }

    /// Appends the numbers of a list to `out`. Nothing where it is no list of numbers from 0 to 255.
    pub fn extend_bytes(&self, list: Value, out: &mut Vec<u8>) -> Option<()> {
        match list {
            Value::Row { offset, len } => {
                extend_row(self.bytes.part(offset, len.into(), "a list").ok()?, out);
                Some(())
            }
            Value::List(index) => {
                for &item in self.heap.list(index) {
                    let Value::Int(number) = item else { return None };
                    out.push(u8::try_from(number).ok()?);
                }
                Some(())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
