//! The order of words: the verb first, for whoever types options before it, and `train` where there is none.

use std::ffi::OsString;
use std::ops::Range;

use clap::{Command, CommandFactory};

use super::Cli;

/// The words with the verb in the second place. Options that stand before it are those of that verb.
pub fn in_order(typed: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = typed.collect();
    let command = Cli::command();
    let is_global = |word: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|flag| word == flag);
    if words.get(1).is_some_and(is_global) {
        return words;
    }
    match verb_at(&command, words.get(1..).unwrap_or_default()) {
        Some(verb) => {
            // Behind them come the options that stood before.
            let options = 1..1 + verb.start;
            words.get_mut(options.start..1 + verb.end).unwrap_or_default().rotate_left(options.len());
        }
        None => words.insert(1.min(words.len()), "train".into()),
    }
    words
}

/// Where the verb is, with the second word of a verb that has parts: the first word that is one and has nothing but options
/// of its own before it.
fn verb_at(command: &Command, words: &[OsString]) -> Option<Range<usize>> {
    let part = |of: &'_ Command, word: Option<&OsString>| {
        of.get_subcommands().find(|part| word.is_some_and(|word| word == part.get_name())).cloned()
    };
    (0..words.len()).find_map(|index| {
        let verb = part(command, words.get(index))?;
        let below = part(&verb, words.get(index + 1));
        let end = index + 1 + usize::from(below.is_some());
        let options = words.get(..index).unwrap_or_default();
        are_options(&below.unwrap_or(verb), options).then_some(index..end)
    })
}

/// Whether all words are options of the verb, with their values.
fn are_options(verb: &Command, words: &[OsString]) -> bool {
    let mut left = words.iter();
    while let Some(word) = left.next() {
        let Some((takes_value, has_value)) = word.to_str().and_then(|word| option(verb, word)) else {
            return false;
        };
        if takes_value && !has_value && left.next().is_none() {
            return false;
        }
    }
    true
}

/// Whether an option of the verb takes a word of its own behind it, and whether `word` holds the value already.
fn option(verb: &Command, word: &str) -> Option<(bool, bool)> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    let argument = verb.get_arguments().find(|argument| {
        let long = argument.get_long().is_some_and(|long| name.strip_prefix("--") == Some(long));
        let short =
            argument.get_short().is_some_and(|short| name.strip_prefix('-') == Some(&short.to_string()));
        long || short
    });
    let argument = argument?;
    let takes_value = argument.get_action().takes_values() && !argument.is_require_equals_set();
    Some((takes_value, value.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(words: &str) -> String {
        let words = std::iter::once("dtrain").chain(words.split_whitespace()).map(OsString::from);
        let ordered: Vec<String> =
            in_order(words).into_iter().skip(1).map(|word| word.into_string().unwrap()).collect();
        ordered.join(" ")
    }

    #[test]
    fn options_may_stand_before_the_verb() {
        for (typed, expected) in [
            ("--config-dir D ls", "ls --config-dir D"),
            ("--config-dir=D ls method", "ls --config-dir=D method"),
            ("ls --config-dir D", "ls --config-dir D"),
            ("--json eval runs/a", "eval --json runs/a"),
            ("--json F bench step seed=1", "bench step --json F seed=1"),
            ("--config-dir D slurm train seed=1", "slurm train --config-dir D seed=1"),
            ("-n 4 --max-restarts 2 launch seed=1", "launch -n 4 --max-restarts 2 seed=1"),
            ("--config-dir D launch -n 2 seed=1", "launch --config-dir D -n 2 seed=1"),
            ("--requeue stop runs/a", "stop --requeue runs/a"),
            ("--fast-dev-run train seed=1", "train --fast-dev-run seed=1"),
        ] {
            assert_eq!(ordered(typed), expected);
        }
    }

    #[test]
    fn without_a_verb_it_is_training() {
        for (typed, expected) in [
            ("", "train"),
            ("seed=1", "train seed=1"),
            ("--config-dir D seed=1", "train --config-dir D seed=1"),
            ("--fast-dev-run seed=1", "train --fast-dev-run seed=1"),
            // A folder of that name.
            ("--config-dir ls seed=1", "train --config-dir ls seed=1"),
            // The verb comes first, and a message says so.
            ("seed=1 ls", "train seed=1 ls"),
            ("--no-such-option ls", "train --no-such-option ls"),
            ("--help", "--help"),
        ] {
            assert_eq!(ordered(typed), expected);
        }
    }
}
