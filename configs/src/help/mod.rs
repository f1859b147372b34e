//! What each setting means: the comments of the schema beside the defaults of the schema, for `dtrain help` and
//! docs/settings.md. Nothing here is written a second time.

mod comments;
mod markdown;
mod settings;
#[cfg(test)]
mod tests;
mod text;

use crate::decode::keys::{not_a_setting, unknown_key};
use crate::error::Problem;
use crate::moved;
use crate::node::{Map, Node, split_key};
use crate::overrides::Override;
use crate::reference::{TAGGED_SECTIONS, reference, tag_names};
use settings::{Settings, matches};

pub use markdown::page as settings_page;

/// What is known of a setting, of a section with all that is in it, or of a group: `trainer.precision`, `trainer`. A part of a
/// name is enough where it is the end of one only.
///
/// # Errors
/// There is no such setting; what was probably meant is in the hint.
pub fn explain(key: &str) -> Result<String, Problem> {
    let settings = Settings::collect();
    // As it stands in a command line.
    let key = key.trim_start_matches(['+', '~']).split('=').next().unwrap_or_default().trim_end_matches('.');
    if let Some(text) = text::of_key(&settings, key) {
        return Ok(text);
    }
    let ends: Vec<&str> =
        settings.all.iter().map(|setting| setting.key.as_str()).filter(|full| ends_with(full, key)).collect();
    if let [only] = ends[..]
        && let Some(text) = text::of_key(&settings, only)
    {
        return Ok(text);
    }
    Err(unknown(key))
}

/// One line for each section: its name and what it is about.
pub fn sections() -> Vec<(String, String)> {
    let settings = Settings::collect();
    settings.sections().map(|section| (section.key.clone(), section.comment.clone())).collect()
}

/// Whether `key` is the last part, or the last parts, of the dotted name `full`.
fn ends_with(full: &str, key: &str) -> bool {
    !key.is_empty() && full.strip_suffix(key).is_some_and(|before| before.ends_with('.'))
}

/// Words of other tools first, then what looks alike, with any method, optimizer and model.
fn unknown(key: &str) -> Problem {
    let problem = not_a_setting(key);
    let value = Override::parse(1, &format!("{key}=VALUE")).map_or_else(|_| Node::null(), |over| over.value);
    if let Some(hint) = moved::key_hint(key, &value, |_, _| true) {
        return problem.hint(hint);
    }
    let path = split_key(key);
    let mut known = Node::map(Map::default(), None);
    for name in TAGGED_SECTIONS.into_iter().flat_map(tag_names) {
        known.merge(reference(|_| name));
    }
    debug_assert!(known.get(&path).is_none() || matches(key, key), "`{key}` is a setting");
    let found = unknown_key(key, &known, &Node::map(Map::default(), None));
    found.hint.clone().map_or_else(|| problem.hint("`dtrain help` lists the sections"), |_| found.clone())
}
