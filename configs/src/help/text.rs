//! A setting as a terminal shows it.

use super::comments::{Form, Variant};
use super::settings::{Default, Setting, Settings, Value, What};
use crate::builtin::groups;
use crate::schema::Role;

/// Widest line.
const WIDTH: usize = 100;
/// Where the text beside a name begins.
const COLUMN: usize = 14;

/// What there is to say of a key; `None` where it is none.
pub(super) fn of_key(settings: &Settings, key: &str) -> Option<String> {
    let setting = settings.find(key)?;
    let mut text = format!("{}\n", setting.key);
    text += &paragraphs(&setting.comment, 2);
    match &setting.what {
        What::Value(value) => {
            text.push('\n');
            text += &facts(&setting.key, value);
        }
        What::Section => text += &files(&setting.key),
    }
    for below in settings.below(&setting.key) {
        text += &entry(below);
    }
    Some(text)
}

/// A setting among others: its default beside its name, and its comment below.
fn entry(setting: &Setting) -> String {
    let head = match &setting.what {
        What::Section => format!("\n{}\n", setting.key),
        What::Value(value) => format!("\n{} = {}\n", setting.key, defaults(&value.defaults)),
    };
    let mut text = head + &paragraphs(&setting.comment, 4);
    if let What::Value(value) = &setting.what
        && let words @ [_, ..] = value.choices()
    {
        let words: Vec<&str> = words.iter().map(|variant| variant.word).collect();
        text += &paragraphs(&format!("One of {}.", words.join(", ")), 4);
    }
    text
}

/// Value, unit, default, and what another value means for a run that goes on.
fn facts(key: &str, value: &Value) -> String {
    let mut text = fact("value", &kind(value));
    let widest = value.choices().iter().map(|variant| variant.word.len()).max().unwrap_or(0);
    for Variant { word, comment, .. } in value.choices() {
        text += &beside(&format!("    {word}"), comment, 4 + widest + 2);
    }
    if let Some(unit) = unit(key) {
        text += &fact("unit", unit);
    }
    for default in &value.defaults {
        let of = names(default).map_or_else(String::new, |names| format!("  ({names})"));
        text += &fact("default", &format!("{}{of}", default.value));
    }
    text + &fact("on resume", on_resume(Role::of(key)))
}

/// The alternatives of a section that has files.
fn files(section: &str) -> String {
    let Some(group) = groups().into_iter().find(|group| group.name == section) else { return String::new() };
    let Some(first) = group.options.first() else { return String::new() };
    let line = format!(
        "`{section}=NAME` chooses a file: {}.\n`dtrain show {section}/{first}` prints one.",
        group.options.join(", ")
    );
    format!("\n{}", paragraphs(&line, 2))
}

/// What is written as a value, in words.
pub(super) fn kind(value: &Value) -> String {
    let one = match value.of {
        "bool" => "`true` or `false`",
        "usize" | "u64" | "u32" => "a whole number",
        "f64" => "a number",
        "PathBuf" => "a path",
        "String" => "a word",
        "Scheduled" | "TeacherMomentum" => "a number, or a schedule `{from: A, to: B, kind: cosine}`",
        "ByView" => "a number, or a list with one for each view, `[a, b]`",
        "Channel" => "`mean`, or the number of a channel",
        "Span" => "`500 steps`, `10 epochs`, or a fraction of the run",
        _ if !value.choices().is_empty() => "one of",
        _ => "a section",
    };
    let many = match value.of {
        "usize" | "u64" | "u32" => "whole numbers",
        "f64" => "numbers",
        "PathBuf" => "paths",
        "String" => "words",
        "Scheduled" => "numbers or schedules",
        _ if !value.choices().is_empty() => "any of",
        _ => "sections",
    };
    match value.form {
        Form::One => one.to_owned(),
        Form::Optional => format!("`null`, or {one}"),
        Form::Auto => format!("`auto`, or {one}"),
        Form::List => format!("a list, `[a, b]`: {many}"),
        Form::Several => format!("{one}, or a list, `[a, b]`: {many}"),
        Form::OptionalList => format!("`null`, or a list, `[a, b]`: {many}"),
        Form::Pair => "two numbers, `[low, high]`".to_owned(),
        Form::OptionalAuto => format!("`auto`, `null`, or {one}"),
        Form::OptionalPair => "`null`, or two numbers, `[low, high]`".to_owned(),
        Form::Named => format!("{many} under names of your own, `{{NAME: ...}}`"),
    }
}

/// As the last word of a name says.
pub(super) fn unit(key: &str) -> Option<&'static str> {
    const UNITS: [(&str, &str); 8] = [
        ("_secs", "seconds"),
        ("_bytes", "bytes"),
        ("_epochs", "epochs"),
        ("_steps", "optimizer steps"),
        ("_db", "decibels"),
        ("_rate", "Hz"),
        ("_fraction", "a share, from 0 to 1"),
        ("_probability", "a share, from 0 to 1"),
    ];
    UNITS.iter().find(|(ending, _)| key.ends_with(ending)).map(|(_, unit)| *unit)
}

/// What another value means for a run that goes on.
pub(super) fn on_resume(role: Role) -> &'static str {
    match role {
        Role::Recipe => "stays: another value is another run",
        Role::Length => "may change where what was done does not depend on the length",
        Role::Location | Role::Upkeep => "may change",
        Role::Start => "of each start by itself",
    }
}

/// `0.05 (sgd), 0.001 (adam, adamw)`.
pub(super) fn defaults(defaults: &[Default]) -> String {
    let shown = defaults.iter().map(|default| match names(default) {
        Some(names) => format!("{} ({names})", default.value),
        None => default.value.clone(),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn names(default: &Default) -> Option<String> {
    (!default.names.is_empty()).then(|| default.names.join(", "))
}

fn fact(name: &str, text: &str) -> String {
    beside(&format!("  {name}"), text, 2 + COLUMN)
}

/// A text behind a name, its further lines below its first.
fn beside(name: &str, text: &str, column: usize) -> String {
    let wrapped = wrapped(text, WIDTH.saturating_sub(column));
    let mut lines = wrapped.iter();
    let first = lines.next().map_or("", String::as_str);
    // A name that is longer than its column has the text behind it all the same.
    let mut all = format!("{name:<width$}{first}\n", width = column.max(name.chars().count() + 2));
    for line in lines {
        all += &format!("{:column$}{line}\n", "");
    }
    all
}

fn paragraphs(text: &str, indent: usize) -> String {
    let lines = text.lines().flat_map(|paragraph| wrapped(paragraph, WIDTH.saturating_sub(indent)));
    lines.map(|line| format!("{:indent$}{line}\n", "")).collect()
}

/// Lines of at most `width` characters, broken between words.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
