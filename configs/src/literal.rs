//! Words that other tools replace before they use them: `${...}` of OmegaConf, `$HOME` and `~/` of a shell, `None` of
//! Python. Taken as they stand they would become folders and names that nobody meant.

use std::path::{Path, PathBuf};

use crate::error::Problem;
use crate::node::{Node, Value};
use crate::scalar::Scalar;
use crate::schema::is_path;
use crate::source::{Place, SourceKind, printable};

const NONE: &str = "None";

/// A regular expression has its own use for `$`.
const PATTERN: &str = "data.labels.pattern";

/// Replaces a leading `~/` of paths by the home folder, and finds the words that nothing replaces. `takes` tells whether a
/// value would do for a key: what takes neither `null` nor a word has its own message for `None`. Keys with a problem are
/// noted in `broken`.
pub(crate) fn settle(
    tree: &mut Node,
    home: Option<&Path>,
    takes: impl Fn(&str, Node) -> bool,
    broken: &mut Vec<String>,
) -> Vec<Problem> {
    let mut found = Vec::new();
    walk(tree, "", home, &mut found);
    let mut problems = Vec::new();
    for Finding { key, is_element, word, place } in found {
        let problem = match &word {
            Misread::Nothing => {
                let takes_null = !is_element && takes(&key, Node::null());
                let takes_word = is_element || takes(&key, Node::scalar(Scalar::quoted(NONE), None));
                let typed = place.as_ref().is_some_and(is_typed);
                nothing(&key, takes_null, takes_word, typed && !is_element)
            }
            Misread::Replaced(text) => Some(replaced(&key, text, place.as_ref().is_some_and(is_typed))),
            Misread::Home(text) => Some(foreign_home(&key, text)),
        };
        if let Some(problem) = problem {
            problems.push(problem.at(place.as_ref()));
            broken.push(key);
        }
    }
    problems
}

fn is_typed(place: &Place) -> bool {
    matches!(place.source.kind, SourceKind::Override(_))
}

/// The hint for the name of a file of `group`, if it is such a word.
pub(crate) fn hint_of_choice(group: &str, name: &str) -> Option<String> {
    if name == NONE {
        return Some(format!("write `{group}=null` for the program's own defaults"));
    }
    name.contains("${").then(|| "nothing replaces `${...}` here: write the name itself".to_owned())
}

struct Finding {
    key: String,
    /// Of a list.
    is_element: bool,
    word: Misread,
    place: Option<Place>,
}

enum Misread {
    /// `None`.
    Nothing,
    /// A text with `${...}`, or a path that begins with `$NAME`.
    Replaced(String),
    /// `~name/...`, or `~/...` where there is no home folder.
    Home(String),
}

fn walk(node: &mut Node, key: &str, home: Option<&Path>, found: &mut Vec<Finding>) {
    match &mut node.value {
        Value::Scalar(scalar) => {
            let place = node.place.clone();
            let word = misread(scalar, key, home);
            found.extend(word.map(|word| Finding { key: key.to_owned(), is_element: false, word, place }));
        }
        Value::List(items) => {
            for item in items {
                let before = found.len();
                walk(item, key, home, found);
                for finding in found.iter_mut().skip(before) {
                    finding.is_element = true;
                    finding.place = finding.place.take().or_else(|| node.place.clone());
                }
            }
        }
        Value::Map(map) => {
            for entry in &mut map.entries {
                let dot = if key.is_empty() { "" } else { "." };
                walk(&mut entry.node, &format!("{key}{dot}{}", entry.key), home, found);
            }
        }
    }
}

fn misread(scalar: &mut Scalar, key: &str, home: Option<&Path>) -> Option<Misread> {
    let text = scalar.text.as_str();
    if text == NONE && !scalar.quoted {
        return Some(Misread::Nothing);
    }
    let is_path = is_path(key);
    if key != PATTERN && (text.contains("${") || is_path && text.starts_with('$')) {
        return Some(Misread::Replaced(text.to_owned()));
    }
    // A lone `~` is YAML's `null`.
    if !is_path || !text.starts_with('~') || text == "~" && !scalar.quoted {
        return None;
    }
    let below = text.strip_prefix('~').map(|rest| rest.trim_start_matches('/'));
    match (below, home) {
        (Some(below), Some(home)) if text == "~" || text.starts_with("~/") => {
            *scalar = Scalar::quoted(inside(home, below).display().to_string());
            None
        }
        _ => Some(Misread::Home(text.to_owned())),
    }
}

fn inside(home: &Path, below: &str) -> PathBuf {
    if below.is_empty() { home.to_owned() } else { home.join(below) }
}

/// `takes_null`, `takes_word`: what would do instead; `None` where neither would.
fn nothing(key: &str, takes_null: bool, takes_word: bool, typed: bool) -> Option<Problem> {
    let mut hints = Vec::new();
    if takes_null {
        hints.push("write `null` for nothing".to_owned());
    }
    if takes_word {
        let quoted = if typed { format!("\"{key}='{NONE}'\"") } else { format!("'{NONE}'") };
        hints.push(format!("if it is a word, put it in quotes: `{quoted}`"));
    }
    let problem = Problem::new(format!("`{key}` is `{NONE}`, which is no special word here"));
    (!hints.is_empty()).then(|| problem.hint(hints.join("; ")))
}

fn replaced(key: &str, text: &str, typed: bool) -> Problem {
    let shown = printable(text, 60);
    let by_the_shell = format!("`{key}=\"{}\"`", printable(&for_the_shell(text), 100));
    Problem::new(format!("`{key}` is `{shown}`, and nothing replaces the `$` in it")).hint(if typed {
        format!("let the shell do it, in double quotes: {by_the_shell}")
    } else {
        format!(
            "write the value itself, or give it on the command line, where the shell replaces: {by_the_shell}"
        )
    })
}

fn foreign_home(key: &str, text: &str) -> Problem {
    let shown = printable(text, 60);
    Problem::new(format!("`{key}` is `{shown}`, and the home folder of another user is not known here"))
        .hint("write the whole path; `~/` alone stands for your home folder")
}

/// The text with OmegaConf's and Hydra's resolvers as a shell writes them; what has no counterpart becomes a variable
/// whose name says what is meant.
fn for_the_shell(text: &str) -> String {
    let mut rest = text;
    let mut out = String::new();
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((inner, behind)) = after.split_once('}') else {
            rest = after;
            continue;
        };
        out.push_str(&match inner.split_once(':') {
            Some(("oc.env" | "env", name)) => match name.split_once(',') {
                Some((name, default)) => format!("${{{}:-{}}}", name.trim(), default.trim()),
                None => format!("${name}"),
            },
            Some(("now", format)) => format!("$(date +{format})"),
            _ => format!("${}", inner.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_uppercase()),
        });
        rest = behind;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_said_in_the_words_of_a_shell() {
        for (theirs, ours) in [
            ("${oc.env:HOME}/runs/a", "$HOME/runs/a"),
            ("${oc.env:SCRATCH,/tmp}/a", "${SCRATCH:-/tmp}/a"),
            ("runs/${now:%Y-%m-%d}", "runs/$(date +%Y-%m-%d)"),
            ("${paths.data_dir}/fsdd", "$PATHS_DATA_DIR/fsdd"),
            ("a${b", "ab"),
        ] {
            assert_eq!(for_the_shell(theirs), ours);
        }
    }
}
