//! The words of other tools as a page shows them, and as a test types them.

use super::words::WORDS;
use super::{Moved, hint_of_word};

/// A word of another tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// As it is typed there; `*` stands for any further parts of a name.
    pub there: String,
    /// What is said about it, with `VALUE` for its value.
    pub here: String,
}

/// All words that stand alone elsewhere, in the order of the table.
pub fn words_of_other_tools() -> Vec<Word> {
    WORDS.iter().filter_map(word).collect()
}

fn word(moved: &Moved) -> Option<Word> {
    let key = moved.from.trim_end_matches(".**");
    let value = moved.when.first().copied();
    let there = match moved.when {
        [] => moved.from.replace(".**", ".*"),
        values => values.iter().map(|value| format!("{key}={value}")).collect::<Vec<_>>().join("`, `"),
    };
    Some(Word { there, here: hint_of_word(key, value)? })
}
