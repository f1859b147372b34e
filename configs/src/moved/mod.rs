//! Where the settings of other trainers are here: hints for who comes with command lines and files of
//! lightning-hydra-template-extended (Lightning and Hydra), and with the words of solo-learn, accelerate, torchrun and W&B.
//! They come before guesses, which would lead astray: `data.batch_size` is not a misspelt `eval.batch_size`.

mod rows;
mod table;
mod words;

use crate::node::{Node, Value};
use crate::reference::is_open;
use crate::scalar::Scalar;
use crate::source::printable;
use table::{FILES, KEYS, VALUES};
use words::WORDS;

pub use rows::{Word, words_of_other_tools};

/// What is said about several values of a setting.
pub const ONE_RUN: &str = "a command line is one run; `dtrain sweep` makes one of each combination of values";

/// A key of the other trainer.
struct Moved {
    /// Dotted; `*` is any part, `**` at the end any number of parts.
    from: &'static str,
    /// Values that the row is for, whole or behind their last dot; none: any.
    when: &'static [&'static str],
    /// What is written instead: `*` is the part that `*` stood for, `?` the value, `@` what stands behind its last dot.
    /// Empty: nothing is.
    to: &'static str,
    /// What else there is to know.
    note: &'static str,
}

/// A file of a group of the other trainer.
struct MovedFile {
    group: &'static str,
    names: &'static [&'static str],
    to: &'static str,
    note: &'static str,
}

/// The hint for a key that does not exist here. `has_entry` tells whether a section whose keys the user names, such as
/// `method.heads`, has an entry: else the new word adds it.
pub(crate) fn key_hint(key: &str, value: &Node, has_entry: impl Fn(&str, &str) -> bool) -> Option<String> {
    // Hydra writes groups within groups with slashes.
    let key = key.replace('/', ".");
    let typed = value.as_text().unwrap_or_default();
    let last = typed.rsplit('.').next().unwrap_or_default();
    let holds =
        |moved: &&Moved| moved.when.is_empty() || moved.when.contains(&typed) || moved.when.contains(&last);
    let rows = || KEYS.iter().chain(WORDS).filter(holds);
    // Lightning's own command line leaves `trainer.` out.
    let of_trainer = format!("trainer.{key}");
    let bare = || rows().filter(|moved| moved.from.starts_with("trainer.") && !key.contains('.'));
    let exact = rows().find_map(|moved| Some((moved, captured(moved.from, &key)?)));
    let (moved, part) =
        exact.or_else(|| bare().find_map(|moved| Some((moved, captured(moved.from, &of_trainer)?))))?;
    let mut words = moved.to.replace('*', part);
    if let Some(fraction) = val_fraction(value) {
        words = words.replace("FRACTION", &fraction);
    }
    let value = printable(&shown(value), 100);
    words = words.replace('?', &value).replace('@', last);
    if let Some((ours, theirs)) = words.split_once('=')
        && let Some((.., value)) = VALUES.iter().find(|(of, value, _)| *of == ours && *value == theirs)
    {
        words = format!("{ours}={value}");
    }
    let path: Vec<&str> = words.split(['.', '=']).collect();
    if let [section, open, entry, ..] = path[..] {
        let section = format!("{section}.{open}");
        if is_open(&section) && !has_entry(&section, entry) {
            words.insert(0, '+');
        }
    }
    Some(phrase(&words, &moved.note.replace('?', &value)))
}

/// What is written here instead of another tool's word, which has that value if it had one; `None`: nobody knows the word.
pub fn hint_of_word(word: &str, value: Option<&str>) -> Option<String> {
    key_hint(word, &Node::scalar(Scalar::plain(value.unwrap_or("VALUE")), None), |_, _| true)
}

/// The hint for a value that other tools understand: Python's word for nothing, and several values for several runs.
/// `accepts` tells whether the setting takes a value.
pub(crate) fn habit_hint(text: &str, accepts: impl Fn(&str) -> bool) -> Option<String> {
    if ["none", "nil", "undefined"].contains(&text.to_lowercase().as_str()) && accepts("null") {
        return Some("write `null` for nothing".to_owned());
    }
    let values = swept(text)?;
    values.iter().all(|value| accepts(value)).then(|| ONE_RUN.to_owned())
}

/// The values of a list without brackets, or of a sweep of Hydra such as `range(1,4)`; a pattern such as `glob(*)` names none.
pub(crate) fn swept(text: &str) -> Option<Vec<&str>> {
    let argument = |word: &&str| text.strip_prefix(*word)?.trim_start().strip_prefix('(')?.strip_suffix(')');
    if ["glob"].iter().find_map(argument).is_some() {
        return Some(Vec::new());
    }
    let inner = ["range", "choice", "interval", "shuffle", "sort", "tag"].iter().find_map(argument);
    let values: Vec<&str> = inner.unwrap_or(text).split(',').map(str::trim).collect();
    let is_list = values.len() > 1 || inner.is_some();
    (is_list && values.iter().all(|value| !value.is_empty())).then_some(values)
}

/// The hint for a group's file that does not exist here.
pub(crate) fn file_hint(group: &str, name: &str) -> Option<String> {
    let moved = FILES.iter().find(|moved| moved.group == group && moved.names.contains(&name))?;
    Some(phrase(moved.to, moved.note))
}

/// The hint for a value that a key of ours does not have.
pub(crate) fn value_hint(key: &str, value: &str) -> Option<String> {
    let (_, _, ours) = VALUES.iter().find(|(of, theirs, _)| *of == key && *theirs == value)?;
    Some(phrase(&format!("{key}={ours}"), ""))
}

fn phrase(words: &str, note: &str) -> String {
    match (words, note) {
        ("", note) => note.to_owned(),
        (words, "") => format!("write `{words}`"),
        (words, note) => format!("write `{words}`; {note}"),
    }
}

/// The part of `key` that `*` of the pattern stands for, or nothing where it has none; `None`: it does not match.
fn captured<'a>(pattern: &str, key: &'a str) -> Option<&'a str> {
    let mut part = "";
    let mut words = key.split('.');
    for expected in pattern.split('.') {
        match (expected, words.next()) {
            ("**", _) => return Some(part),
            ("*", Some(word)) => part = word,
            (expected, Some(word)) if expected == word => {}
            _ => return None,
        }
    }
    words.next().is_none().then_some(part)
}

/// The value as it is typed.
fn shown(value: &Node) -> String {
    value
        .as_scalar()
        .filter(|scalar| !scalar.quoted)
        .map_or_else(|| value.flow(), |scalar| scalar.text.clone())
}

/// What `[train, val, test]` samples hold out of the training files.
fn val_fraction(value: &Node) -> Option<String> {
    let Value::List(items) = &value.value else { return None };
    let number = |index: usize| items.get(index)?.as_text()?.replace('_', "").parse::<f64>().ok();
    let (train, val) = (number(0)?, number(1)?);
    let fraction = val / (train + val);
    fraction.is_finite().then(|| format!("{}", (fraction * 1e6).round() / 1e6))
}

#[cfg(test)]
mod tests;
