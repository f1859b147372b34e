//! Words of the command line that change settings.
//!
//! | word | meaning |
//! |---|---|
//! | `group=name` | takes that file for the section (`data=fsdd`, `method=./mine.yaml`); `group=null`: the program's defaults |
//! | `a.b=value` | sets a key that exists |
//! | `+a.b=value` | adds a key that is not set, such as a new split |
//! | `++a.b=value` | sets or adds |
//! | `~a.b` | takes a key away, so that the program's default holds |
//!
//! A value that starts with `[`, `{`, `"` or `'` is YAML: `tags=[a, b]`, `data.splits.mine={by: species}`. Any other
//! value is one word just as it stands, so that regular expressions and paths need no quotes beyond the shell's; a
//! regular expression that starts with `[` is put in quotes: `"data.labels.pattern='[a-z]+'"`.

use std::sync::Arc;

use crate::builtin::is_group;
use crate::error::Problem;
use crate::node::Node;
use crate::read::{MAX_BYTES, read_part};
use crate::reference::NAMED_BY_FILES;
use crate::renamed::current;
use crate::scalar::Scalar;
use crate::source::{Place, Source, SourceKind, printable};

/// What an override does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `key=value`
    Set,
    /// `+key=value`
    Add,
    /// `++key=value`
    SetOrAdd,
    /// `~key`
    Delete,
}

/// One word of the command line, taken apart.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub operation: Operation,
    /// Dotted.
    pub key: String,
    /// `null` for a deletion.
    pub value: Node,
    /// The key in the word.
    pub key_place: Place,
}

impl Override {
    /// Takes a word apart; `number` counts from 1.
    pub fn parse(number: usize, text: &str) -> Result<Self, Problem> {
        let source = Arc::new(Source { kind: SourceKind::Override(number), text: text.to_owned() });
        let place = Place::whole(&source);
        let bad = |what: String| Problem::new(what).at(Some(&place));
        let shown = printable(text, 60);
        if text.len() > MAX_BYTES {
            return Err(bad(format!("override {number} is longer than {MAX_BYTES} bytes")));
        }
        let (operation, rest) = if let Some(rest) = text.strip_prefix("++") {
            (Operation::SetOrAdd, rest)
        } else if let Some(rest) = text.strip_prefix('+') {
            (Operation::Add, rest)
        } else if let Some(rest) = text.strip_prefix('~') {
            (Operation::Delete, rest)
        } else {
            (Operation::Set, text)
        };
        let sign_chars = text.len() - rest.len();
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (rest, None),
        };
        if key.is_empty() || key.split('.').any(|part| part.is_empty() || part.contains(char::is_whitespace))
        {
            return Err(
                bad(format!("`{shown}` does not name a setting")).hint("write `key=value`, without spaces")
            );
        }
        let key_place = Place { column: sign_chars + 1, width: key.chars().count(), ..place.clone() };
        let value = match (operation, value) {
            (Operation::Delete, None) => Node::scalar(Scalar::plain("null"), Some(place.clone())),
            (Operation::Delete, Some(_)) => {
                return Err(bad(format!("`{shown}` both deletes a key and gives it a value"))
                    .hint(format!("write `~{key}`, or `{key}=value`")));
            }
            (_, None) => {
                let hint = match key.trim_start_matches('-') {
                    bare if bare.len() < key.len() => format!("settings have no dashes: `{bare}=value`"),
                    _ => format!("write `{}=value`", printable(key, 60)),
                };
                return Err(bad(format!("`{shown}` has no value")).hint(hint));
            }
            (_, Some("")) => {
                return Err(bad(format!("`{shown}` has no value")).hint(format!(
                    "write `{key}=null` for nothing, `{key}=''` for an empty word; an unset shell variable looks like this too"
                )));
            }
            (_, Some(value)) => {
                let skipped = sign_chars + key.chars().count() + 1;
                Self::value(&source, value, skipped, &place)?
            }
        };
        Ok(Self { operation, key: current(key).to_owned(), value, key_place })
    }

    fn value(source: &Arc<Source>, text: &str, skipped: usize, whole: &Place) -> Result<Node, Problem> {
        if text.starts_with(['[', '{', '"', '\'']) {
            return read_part(source, text, skipped).map_err(|problem| {
                let hint =
                    "a value that starts with `[`, `{` or a quote is read as YAML; put other text in quotes";
                if problem.hint.is_some() { problem } else { problem.hint(hint) }
            });
        }
        let place = Place { column: skipped + 1, width: text.chars().count(), ..whole.clone() };
        Ok(Node::scalar(Scalar::plain(text.trim()), Some(place)))
    }

    /// The group and the file that the override chooses, if it is such a choice; no name means the program's
    /// defaults. `method.name=simclr` is taken as `method=simclr`, since the rest of the section depends on it.
    pub fn choice(&self) -> Option<(&str, Option<&str>)> {
        let tagged = NAMED_BY_FILES.into_iter().find(|section| self.key == format!("{section}.name"));
        if let (Some(section), Some(name)) = (tagged, self.value.as_text()) {
            return Some((section, Some(name)));
        }
        let is_word = self.value.as_scalar().is_some();
        (is_word && is_group(&self.key)).then(|| (self.key.as_str(), self.value.as_text()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        Override::parse(1, text).unwrap().value.flow()
    }

    #[test]
    fn values_are_words_or_yaml() {
        for (text, expected) in [
            ("a=1", "1"),
            ("a=null", "null"),
            ("a=b: c # d", "b: c # d"),
            ("a=[x,y]", "[x, y]"),
            ("a={by: species, test: ['1']}", "{by: species, test: ['1']}"),
            (r"a=(?P<digit>\d)_.*\.wav$", r"(?P<digit>\d)_.*\.wav$"),
            ("a='[a-z]+'", "'[a-z]+'"),
            ("a=''", "''"),
            ("a=b=c", "b=c"),
        ] {
            assert_eq!(value(text), expected, "{text}");
        }
    }

    #[test]
    fn places_count_from_the_start_of_the_word() {
        let over = Override::parse(3, "++a.b=[x, 12]").unwrap();
        assert_eq!((over.operation, over.key.as_str()), (Operation::SetOrAdd, "a.b"));
        let crate::node::Value::List(items) = &over.value.value else { panic!() };
        assert_eq!(items[1].place.as_ref().map(|place| (place.column, place.width)), Some((11, 2)));
        assert_eq!(over.key_place.column, 3);
    }

    #[test]
    fn bad_words_say_what_to_write() {
        let message = |text: &str| {
            let problem = Override::parse(1, text).unwrap_err();
            format!("{} | {}", problem.message, problem.hint.unwrap_or_default())
        };
        insta::assert_snapshot!(
            ["--trainer.lr", "seed", "seed=", "=3", "a..b=1", "~seed=1", "tags=[a"].map(message).join("\n"),
            @r#"
        `--trainer.lr` has no value | settings have no dashes: `trainer.lr=value`
        `seed` has no value | write `seed=value`
        `seed=` has no value | write `seed=null` for nothing, `seed=''` for an empty word; an unset shell variable looks like this too
        `=3` does not name a setting | write `key=value`, without spaces
        `a..b=1` does not name a setting | write `key=value`, without spaces
        `~seed=1` both deletes a key and gives it a value | write `~seed`, or `seed=value`
        not valid YAML: unclosed bracket '[' | a value that starts with `[`, `{` or a quote is read as YAML; put other text in quotes
        "#
        );
    }
}
