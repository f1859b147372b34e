//! What was saved, as values within each other.

use super::contents::StoredTensor;
use super::{TorchFile, TorchFileProblem};
use crate::pickle::Value;

/// Values lie within each other at most so deep; those of real files do three to ten times.
const MAX_DEPTH: usize = 64;
/// Values that any file may have.
const FREE: u64 = 1024;
/// Longest key that leads to a tensor.
const MAX_KEY_BYTES: usize = 512;
/// Bytes that names of tensors may have together, besides eight for each byte of the pickle.
const FREE_NAME_BYTES: u64 = 1 << 20;

/// A value that was saved. Texts and tensors are those of the file.
#[derive(Debug)]
pub enum Node<'a> {
    /// A dictionary with texts or numbers as keys, in the order of the file; other keys are passed over.
    Dict(Vec<(String, Node<'a>)>),
    /// A list or a tuple.
    List(Vec<Node<'a>>),
    /// A tensor.
    Tensor(StoredTensor<'a>),
    /// A text.
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// `True` or `False`
    Bool(bool),
    /// `None`
    None,
    /// Something that was not made: the name of its class or function, where it has one.
    Opaque(String),
}

impl<'a> Node<'a> {
    /// The value of a key of a dictionary; the last one counts, as in Python.
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Dict(items) => items.iter().rev().find(|(name, _)| name == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// All tensors with the keys that lead to them, joined by dots.
    pub(super) fn flatten(
        self,
        pickle_bytes: u64,
    ) -> Result<Vec<(String, StoredTensor<'a>)>, TorchFileProblem> {
        let limit = FREE_NAME_BYTES + 8 * pickle_bytes;
        let mut out = Flat { tensors: Vec::new(), name_bytes: 0, limit };
        out.add(self, String::new())?;
        Ok(out.tensors)
    }
}

struct Flat<'a> {
    tensors: Vec<(String, StoredTensor<'a>)>,
    name_bytes: u64,
    limit: u64,
}

impl<'a> Flat<'a> {
    fn add(&mut self, node: Node<'a>, name: String) -> Result<(), TorchFileProblem> {
        let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
        match node {
            Node::Tensor(tensor) => {
                self.name_bytes += name.len() as u64;
                if self.name_bytes > self.limit {
                    let what = "bytes of names";
                    return Err(TorchFileProblem::Excessive { what, limit: self.limit });
                }
                self.tensors.push((name, tensor));
                Ok(())
            }
            Node::Dict(items) => items.into_iter().try_for_each(|(key, node)| self.add(node, below(&key))),
            Node::List(items) => items
                .into_iter()
                .enumerate()
                .try_for_each(|(index, node)| self.add(node, below(&index.to_string()))),
            _ => Ok(()),
        }
    }
}

/// The whole tree of a file.
///
/// # Errors
/// Values within themselves, or more than the size of the pickle justifies: one value may be used any number of times.
pub(super) fn build(file: &TorchFile) -> Result<Node<'_>, TorchFileProblem> {
    let limit = FREE + file.unpickled.pickle_bytes;
    Builder { file, num_nodes: 0, limit }.node(file.unpickled.root, 0)
}

struct Builder<'a> {
    file: &'a TorchFile,
    num_nodes: u64,
    limit: u64,
}

impl<'a> Builder<'a> {
    fn node(&mut self, value: Value, depth: usize) -> Result<Node<'a>, TorchFileProblem> {
        self.num_nodes += 1;
        if self.num_nodes > self.limit {
            return Err(TorchFileProblem::Excessive { what: "values", limit: self.limit });
        }
        if depth > MAX_DEPTH {
            return Err(TorchFileProblem::Deep { limit: MAX_DEPTH });
        }
        let heap = &self.file.unpickled.heap;
        Ok(match value {
            Value::None => Node::None,
            Value::Bool(value) => Node::Bool(value),
            Value::Int(value) => Node::Int(value),
            Value::Float(value) => Node::Float(value),
            Value::Text { .. } => self.text(value).map_or(Node::Opaque(String::new()), Node::Text),
            Value::Tensor(index) => match self.file.stored(index) {
                Some(tensor) => Node::Tensor(tensor),
                None => Node::Opaque(String::new()),
            },
            Value::Tuple(index) => self.list(heap.tuple(index), depth)?,
            Value::List(index) => self.list(heap.list(index), depth)?,
            Value::Dict(index) => self.dict(heap.dict(index), depth)?,
            Value::Opaque(Some(name)) => Node::Opaque(heap.name(self.file.code(), name)),
            _ => Node::Opaque(String::new()),
        })
    }

    fn list(&mut self, items: &[Value], depth: usize) -> Result<Node<'a>, TorchFileProblem> {
        let items = items.iter().map(|&item| self.node(item, depth + 1));
        items.collect::<Result<_, _>>().map(Node::List)
    }

    fn dict(&mut self, items: &[(Value, Value)], depth: usize) -> Result<Node<'a>, TorchFileProblem> {
        let mut nodes = Vec::new();
        for &(key, value) in items {
            let key = match key {
                Value::Int(key) => Some(key.to_string()),
                key => self.text(key).filter(|key| key.len() <= MAX_KEY_BYTES).map(str::to_owned),
            };
            if let Some(key) = key {
                nodes.push((key, self.node(value, depth + 1)?));
            }
        }
        Ok(Node::Dict(nodes))
    }

    fn text(&self, value: Value) -> Option<&'a str> {
        let Value::Text { len, offset } = value else { return None };
        std::str::from_utf8(self.file.code().part(offset, len.into(), "a text").ok()?).ok()
    }
}
