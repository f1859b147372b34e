//! `state.bin`: the small values of a run's components, a section for each. A section is a [`mod@super::format`] frame of its
//! own, with its own version, so that a component can change what it keeps without touching the others.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::CheckpointError;
use super::format::{FrameKind, decode, encode};

/// The frame around all sections.
pub(crate) const STATE: FrameKind = FrameKind { name: "state.bin", tag: *b"STAT", version: 3 };

/// Sections by the names of their components.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sections(BTreeMap<String, Vec<u8>>);

impl Sections {
    /// Reads the content of `state.bin`; the sections themselves are looked at when they are taken.
    ///
    /// # Errors
    /// Anything but an intact frame of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        Ok(Self(decode(&STATE, bytes)?))
    }

    /// The content of `state.bin`.
    ///
    /// # Errors
    /// More bytes than a frame may hold.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        Ok(encode(&STATE, &self.0)?)
    }

    /// Adds the section of the component that `kind` names.
    ///
    /// # Errors
    /// [`CheckpointError::RepeatedSection`], and values that cannot be encoded.
    pub fn put<T: Serialize + ?Sized>(&mut self, kind: &FrameKind, value: &T) -> Result<(), CheckpointError> {
        let section = encode(kind, value)?;
        match self.0.insert(kind.name.into(), section) {
            None => Ok(()),
            Some(_) => Err(CheckpointError::RepeatedSection { name: kind.name.into() }),
        }
    }

    /// The value of the component that `kind` names.
    ///
    /// # Errors
    /// [`CheckpointError::MissingSection`], and a section of another version or type.
    pub fn get<T: DeserializeOwned>(&self, kind: &FrameKind) -> Result<T, CheckpointError> {
        let section = self.0.get(kind.name);
        let section = section.ok_or_else(|| CheckpointError::MissingSection { name: kind.name.into() })?;
        Ok(decode(kind, section)?)
    }

    /// Whether there is a section of that name.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Names of all sections, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The sections as they are stored, by name.
    pub fn raw(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, section)| (name.as_str(), section.as_slice()))
    }

    /// Takes a section of `other` over, as it is.
    #[cfg(test)]
    pub fn copy(&mut self, other: &Self, name: &str) {
        self.0.extend(other.0.get(name).map(|section| (name.to_owned(), section.clone())));
    }

    /// Refuses a section of a component that this run has not.
    ///
    /// # Errors
    /// [`CheckpointError::UnknownSection`].
    pub fn require_known(&self, known: &[&str]) -> Result<(), CheckpointError> {
        match self.names().find(|name| !known.contains(name)) {
            None => Ok(()),
            Some(name) => Err(CheckpointError::UnknownSection { name: name.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIMIZER: FrameKind = FrameKind { name: "optimizer", tag: *b"OPTM", version: 1 };
    const QUEUE: FrameKind = FrameKind { name: "queue", tag: *b"QUEU", version: 2 };

    #[test]
    fn values_come_back_by_component() {
        let mut sections = Sections::default();
        sections.put(&OPTIMIZER, &vec![1u64, 2]).unwrap();
        sections.put(&QUEUE, "next").unwrap();
        let read = Sections::parse(&sections.to_bytes().unwrap()).unwrap();
        assert_eq!(read, sections);
        assert_eq!(read.get::<Vec<u64>>(&OPTIMIZER).unwrap(), [1, 2]);
        assert_eq!(read.get::<String>(&QUEUE).unwrap(), "next");
        assert_eq!(read.names().collect::<Vec<_>>(), ["optimizer", "queue"]);
    }

    #[test]
    fn what_is_missing_unknown_repeated_or_newer_is_named() {
        let mut sections = Sections::default();
        sections.put(&OPTIMIZER, &7u64).unwrap();
        let message = |error: CheckpointError| error.to_string();
        assert_eq!(
            message(sections.get::<u64>(&QUEUE).unwrap_err()),
            "the checkpoint lacks the state of `queue`, which this run needs"
        );
        assert_eq!(
            message(sections.require_known(&["queue"]).unwrap_err()),
            "the checkpoint holds the state of `optimizer`, which this run has not"
        );
        assert_eq!(
            message(sections.put(&OPTIMIZER, &8u64).unwrap_err()),
            "two components of this run are called `optimizer`"
        );
        let newer = FrameKind { version: 0, ..OPTIMIZER };
        let error = sections.get::<u64>(&newer).unwrap_err();
        assert_eq!(error.to_string(), "optimizer: version 1, this program reads version 0");
        assert!(error.hint().is_some_and(|hint| hint.contains("newer")));
    }
}
