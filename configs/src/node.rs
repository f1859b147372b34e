//! The tree of settings before it has types: every value knows where it was written.

use crate::scalar::{Scalar, Word};
use crate::source::{Place, printable};

/// A value and its place; without a place it is a default of the program.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written.
    pub place: Option<Place>,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A single word.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Node>),
    /// Named values in order.
    Map(Map),
}

/// Named values in the order in which they were first written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Map {
    /// No name occurs twice.
    pub entries: Vec<Entry>,
}

/// A named value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Where the name was written.
    pub key_place: Option<Place>,
    /// The value.
    pub node: Node,
}

impl Map {
    /// The entry of that name.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of that name.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value of that name, for changes.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.node)
    }

    /// Takes the entry of that name out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(index))
    }

    /// Puts an entry in, in place of the one of the same name.
    pub fn insert(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|old| old.key == entry.key) {
            Some(old) => *old = entry,
            None => self.entries.push(entry),
        }
    }

    /// The names.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Lays `other` over `self`: sections merge, anything else replaces.
    pub fn merge(&mut self, other: Map) {
        for entry in other.entries {
            match self.entries.iter_mut().find(|old| old.key == entry.key) {
                Some(old) => {
                    old.node.merge(entry.node);
                    old.key_place = entry.key_place;
                }
                None => self.entries.push(entry),
            }
        }
    }
}

impl Node {
    /// A word.
    pub fn scalar(scalar: Scalar, place: Option<Place>) -> Self {
        Self { value: Value::Scalar(scalar), place }
    }

    /// Nothing, as `null`.
    pub fn null() -> Self {
        Self::scalar(Scalar::plain("null"), None)
    }

    /// A section.
    pub fn map(map: Map, place: Option<Place>) -> Self {
        Self { value: Value::Map(map), place }
    }

    /// The section, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The word, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The text of a word that is not `null`.
    pub fn as_text(&self) -> Option<&str> {
        self.as_scalar().filter(|scalar| scalar.word() != Word::Null).map(|scalar| scalar.text.as_str())
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| scalar.word() == Word::Null)
    }

    /// The value under a dotted path; empty means `self`.
    pub fn get(&self, path: &[&str]) -> Option<&Node> {
        match path.split_first() {
            None => Some(self),
            Some((key, rest)) => self.as_map()?.get(key)?.get(rest),
        }
    }

    /// Takes the entry under a dotted path out.
    pub fn remove(&mut self, path: &[&str]) -> Option<Entry> {
        let Value::Map(map) = &mut self.value else { return None };
        match path {
            [] => None,
            [key] => map.remove(key),
            [key, rest @ ..] => map.get_mut(key)?.remove(rest),
        }
    }

    /// Puts a value under a dotted path, making sections on the way; a section there is merged with. Values that
    /// are not sections give way on the path too: check [`Node::blocked_at`] first.
    pub fn set(&mut self, path: &[&str], node: Node, key_place: Option<Place>) {
        let Some((key, rest)) = path.split_first() else {
            self.merge(node);
            return;
        };
        if self.as_map().is_none() {
            self.value = Value::Map(Map::default());
        }
        let Value::Map(map) = &mut self.value else { return };
        if map.get(key).is_none() {
            let empty = Node::map(Map::default(), node.place.clone());
            map.insert(Entry { key: (*key).into(), key_place: key_place.clone(), node: empty });
        }
        if let Some(child) = map.get_mut(key) {
            child.set(rest, node, key_place);
        }
    }

    /// Length of the shortest proper prefix of the path that holds a word or list instead of a section.
    pub fn blocked_at(&self, path: &[&str]) -> Option<usize> {
        (1..path.len()).find(|&length| {
            let node = path.get(..length).and_then(|prefix| self.get(prefix));
            node.is_some_and(|node| node.as_map().is_none() && !node.is_null())
        })
    }

    /// Lays `other` over `self`.
    pub fn merge(&mut self, other: Node) {
        match (&mut self.value, other) {
            (Value::Map(below), Node { value: Value::Map(above), place }) => {
                below.merge(above);
                self.place = place.or(self.place.take());
            }
            (_, other) => *self = other,
        }
    }

    /// In a few words for a message.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Map(_) => "a section".into(),
            Value::List(_) => format!("the list `{}`", self.brief()),
            Value::Scalar(scalar) => match scalar.word() {
                Word::Null => "`null`".into(),
                Word::Text("") => "an empty word".into(),
                Word::Text(_) if scalar.quoted => format!("the text `{}`", self.brief()),
                _ => format!("`{}`", self.brief()),
            },
        }
    }

    /// As YAML on one line.
    pub fn flow(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) => scalar.to_yaml(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(Node::flow).collect::<Vec<_>>().join(", "))
            }
            Value::Map(map) => {
                let pair = |entry: &Entry| format!("{}: {}", yaml_key(&entry.key), entry.node.flow());
                format!("{{{}}}", map.entries.iter().map(pair).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// On one line, cut to a length that fits a message.
    pub fn brief(&self) -> String {
        match &self.value {
            Value::Scalar(scalar) => printable(&scalar.to_yaml(), 60),
            Value::List(_) | Value::Map(_) => printable(&self.flow(), 60),
        }
    }
}

/// A key as YAML.
pub fn yaml_key(text: &str) -> String {
    Scalar::quoted(text).to_yaml()
}

/// `a.b.c` as its parts.
pub fn split_key(key: &str) -> Vec<&str> {
    key.split('.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Node {
        Node::scalar(Scalar::plain(text), None)
    }

    #[test]
    fn sections_merge_and_words_replace() {
        let mut tree = Node::map(Map::default(), None);
        tree.set(&["a", "b"], word("1"), None);
        tree.set(&["a", "c"], word("2"), None);
        tree.set(&["a", "b"], word("3"), None);
        assert_eq!(tree.get(&["a", "b"]), Some(&word("3")));
        assert_eq!(tree.get(&["a", "c"]), Some(&word("2")));
        assert_eq!(tree.get(&["a", "d"]), None);
        assert_eq!(tree.blocked_at(&["a", "b", "x"]), Some(2));
        assert!(tree.remove(&["a", "b"]).is_some());
        assert_eq!(tree.get(&["a"]).and_then(Node::as_map).map(|map| map.entries.len()), Some(1));
    }

    #[test]
    fn null_gives_way_to_a_section() {
        let mut tree = Node::map(Map::default(), None);
        tree.set(&["a"], Node::null(), None);
        assert_eq!(tree.blocked_at(&["a", "b"]), None);
        tree.set(&["a", "b"], word("1"), None);
        assert_eq!(tree.get(&["a", "b"]), Some(&word("1")));
    }
}
