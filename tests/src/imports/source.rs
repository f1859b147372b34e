//! A reader of Rust sources: which paths a file names.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

/// A path that a source file names: `crate::data::Batch` as `["crate", "data", "Batch"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// Line, from 1.
    pub line: usize,
    /// Segments; `super` and `self` are resolved, so that the first one is `crate` or a crate's name.
    pub path: Vec<String>,
}

/// A `use` item.
pub(super) static USE: LazyLock<Regex> = LazyLock::new(|| expression(r"(?s)\buse\s+([^;]+);"));
/// A path that begins with `crate`, `super` or a small letter.
static PATH: LazyLock<Regex> = LazyLock::new(|| {
    expression(r"\b((?:crate|super)(?:::(?:super|[A-Za-z_]\w*))+|[a-z_]\w*(?:::[A-Za-z_]\w*)+)")
});
/// Comments, strings and characters.
static HIDDEN: LazyLock<Regex> = LazyLock::new(|| {
    expression(
        r##"(?s)//[^\n]*|/\*.*?\*/|r#+".*?"#+|\br"[^"]*"|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\[^\n]{1,8}?)'"##,
    )
});

/// A regular expression of this program's own.
pub(super) fn expression(text: &str) -> Regex {
    Regex::new(text).expect("a regular expression")
}

/// All Rust sources below `folder`, sorted, the build script included.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder can be listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.insert(path);
            }
        }
    }
    found.into_iter().collect()
}

/// `src/data/augment/mod.rs` is `["data", "augment"]`; the crate's root, tests and examples are `[]`.
pub(super) fn module_path(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if parts.first().is_none_or(|first| first != "src") {
        return Vec::new();
    }
    parts.remove(0);
    if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        parts.pop();
    }
    parts
}

/// The paths that `text`, the source of module `module`, names: those of `use` items, and any other that begins with
/// `crate::`, `super::` or a crate. Comments, strings and characters are passed over. An inline module's `super` is
/// taken for the file's, which finds no path that is not there: one segment more only leads to a name that is no module.
pub fn imports_of(text: &str, module: &[String]) -> Vec<Import> {
    let code = without_comments_and_strings(text);
    let mut imports = Vec::new();
    for item in USE.captures_iter(&code) {
        let (Some(whole), Some(tree)) = (item.get(0), item.get(1)) else { continue };
        let line = line_of(&code, whole.start());
        let mut names = Vec::new();
        expand(tree.as_str(), &[], &mut names);
        imports.extend(names.into_iter().map(|(_, path)| Import { line, path: resolve(path, module) }));
    }
    for found in PATH.find_iter(&code) {
        let path = found.as_str().split("::").map(str::to_owned).collect();
        imports.push(Import { line: line_of(&code, found.start()), path: resolve(path, module) });
    }
    imports.sort();
    imports.dedup();
    imports
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// `a::{b, c::{d, e as f}}` becomes `a::b`, `a::c::d` and `a::c::e`, each with the name that it goes by here: `b`, `d`, `f`.
pub(super) fn expand(tree: &str, prefix: &[String], names: &mut Vec<(String, Vec<String>)>) {
    let tree = tree.trim().trim_start_matches("::");
    match (tree.find('{'), tree.rfind('}')) {
        (Some(open), Some(close)) => {
            let mut prefix = prefix.to_vec();
            prefix.extend(segments(&tree[..open]));
            for branch in split_at_commas(&tree[open + 1..close]) {
                expand(branch, &prefix, names);
            }
        }
        _ if !tree.is_empty() => {
            let mut path = prefix.to_vec();
            let (told, alias) =
                tree.split_once(" as ").map_or((tree, None), |(told, name)| (told, Some(name)));
            path.extend(segments(told));
            let name = alias.map(|name| name.trim().to_owned()).or_else(|| path.last().cloned());
            names.push((name.unwrap_or_default(), path));
        }
        _ => {}
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split("::").map(|segment| segment.trim().to_owned()).filter(|segment| !segment.is_empty()).collect()
}

/// The branches of a group; commas inside nested groups do not count.
fn split_at_commas(inner: &str) -> Vec<&str> {
    let (mut branches, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, sign) in inner.char_indices() {
        match sign {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                branches.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    branches.push(&inner[start..]);
    branches
}

/// Makes `self` and `super` absolute.
fn resolve(path: Vec<String>, module: &[String]) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = path.as_slice();
    match rest.first().map(String::as_str) {
        Some("self") => rest = &rest[1..],
        Some("super") => {}
        _ => return path,
    }
    while rest.first().is_some_and(|segment| segment == "super") {
        base.pop();
        rest = &rest[1..];
    }
    let mut absolute = vec!["crate".to_owned()];
    absolute.extend(base);
    absolute.extend(rest.iter().cloned());
    absolute
}

/// The same text with comments and the contents of strings and characters blanked; lines stay where they are.
pub(super) fn without_comments_and_strings(text: &str) -> String {
    let lines_only = |found: &regex::Captures<'_>| {
        found.get(0).map_or("", |m| m.as_str()).chars().filter(|c| *c == '\n').collect::<String>() + " "
    };
    HIDDEN.replace_all(text, lines_only).into_owned()
}
