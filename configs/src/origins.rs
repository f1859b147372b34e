//! Where the settings of a run were written, for whoever finds out later that one of them means nothing.

use crate::node::{Node, split_key};
use crate::source::{Place, SourceKind};

/// The places of settings. Empty, for settings that nobody has just asked for, it knows of none.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    tree: Option<Node>,
    own_files_ask: bool,
}

impl Origins {
    /// The places in a composed tree. `own_files_ask`: what a user's file says was asked for as well as what was typed;
    /// not so where the command line gave it other data than it was written for, or where it only repeats what a run
    /// began with.
    pub(crate) fn new(tree: Node, own_files_ask: bool) -> Self {
        Self { tree: Some(tree), own_files_ask }
    }

    /// Whether the user asked for this value, on the command line or in a file: then it has to mean something. What an
    /// experiment of the program brings along may be left out with a note.
    pub fn is_asked(&self, key: &str) -> bool {
        self.place(key).is_some_and(|place| match place.source.kind {
            SourceKind::Override(_) => true,
            SourceKind::File(_) => self.own_files_ask,
            SourceKind::Builtin(_) => false,
        })
    }

    /// The line that sets it, with carets under the value, as reports show it below their first line; empty where the
    /// place is not known.
    pub fn snippet(&self, key: &str) -> String {
        self.place(key).map_or_else(String::new, |place| format!("\n --> {place}\n{}", place.snippet()))
    }

    pub(crate) fn place(&self, key: &str) -> Option<&Place> {
        self.place_of(&split_key(key))
    }

    /// As [`Origins::place`], of a key in its parts, which may hold dots.
    pub(crate) fn place_of(&self, path: &[&str]) -> Option<&Place> {
        self.tree.as_ref()?.get(path)?.place.as_ref()
    }
}
