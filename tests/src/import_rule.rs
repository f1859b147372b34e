//! The rule that imports go one way, and a reader of Rust sources that checks it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use regex::Regex;

/// A path that a source file names: `crate::data::Batch` as `["crate", "data", "Batch"]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// Line, from 1.
    pub line: usize,
    /// Segments; `super` and `self` are resolved, so that the first one is `crate` or a crate's name.
    pub path: Vec<String>,
}

/// Which way imports go in the workspace.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    /// Crates (folder, name in Rust) with the workspace crates that each may use.
    pub crates: &'static [(&'static str, &'static str, &'static [&'static str])],
    /// The crate (by folder) whose modules have an order.
    pub layered: &'static str,
    /// Its modules; later ones may use earlier ones.
    pub layers: &'static [&'static str],
    /// Modules that use no layer, with the ones among them that each may use.
    pub beside: &'static [(&'static str, &'static [&'static str])],
    /// The crates (in Rust's spelling) that only the layered crate may use.
    pub reserved: &'static [&'static str],
}

/// A breach of the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file, relative to the workspace.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
    /// Who uses what.
    pub message: String,
}

/// Reads every Rust source of the workspace at `root` and returns the breaches, with the number of files read.
pub fn check_imports(root: &Path, layout: &Layout) -> (Vec<Violation>, usize) {
    let mut violations = Vec::new();
    let mut num_files = 0;
    for (folder, own_name, allowed) in layout.crates {
        // A crate within the folder of another one is a crate of its own.
        let inner: Vec<PathBuf> = layout
            .crates
            .iter()
            .filter(|(other, ..)| other.starts_with(&format!("{folder}/")))
            .map(|(other, ..)| root.join(other))
            .collect();
        for file in rust_files(&root.join(folder)) {
            if inner.iter().any(|inner| file.starts_with(inner)) {
                continue;
            }
            num_files += 1;
            let relative = file.strip_prefix(root).unwrap_or(&file).to_owned();
            let module = module_path(file.strip_prefix(root.join(folder)).unwrap_or(&file));
            let text = std::fs::read_to_string(&file).expect("the source can be read");
            let mut fail =
                |line, message| violations.push(Violation { file: relative.clone(), line, message });
            for import in imports_of(&text, &module) {
                let Some(first) = import.path.first() else { continue };
                if layout.reserved.contains(&first.as_str()) && *folder != layout.layered {
                    fail(
                        import.line,
                        format!("`{folder}` uses `{first}`, which only `{}` may", layout.layered),
                    );
                }
                let other = layout.crates.iter().find(|(_, name, _)| name == first);
                if let Some((other, ..)) = other
                    && first != own_name
                    && !allowed.contains(other)
                {
                    fail(import.line, format!("crate `{folder}` uses crate `{other}`"));
                }
                if let Some(message) =
                    (*folder == layout.layered).then(|| breach(layout, &module, &import)).flatten()
                {
                    fail(import.line, message);
                }
            }
        }
    }
    (violations, num_files)
}

/// Whether an import inside the layered crate goes the wrong way.
fn breach(layout: &Layout, module: &[String], import: &Import) -> Option<String> {
    let [root, target, ..] = import.path.as_slice() else { return None };
    let (own, target) = (module.first()?.as_str(), target.as_str());
    if root != "crate" || own == target {
        return None;
    }
    let height = |name: &str| layout.layers.iter().position(|layer| *layer == name);
    let beside = |name: &str| layout.beside.iter().find(|(module, _)| *module == name);
    let wrong = match (beside(own), height(own)) {
        (Some((_, friends)), _) => {
            height(target).is_some() || (beside(target).is_some() && !friends.contains(&target))
        }
        (None, Some(own)) => height(target).is_some_and(|target| target > own),
        (None, None) => false,
    };
    wrong.then(|| format!("module `{own}` uses module `{target}`"))
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
fn module_path(file: &Path) -> Vec<String> {
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
    let items = Regex::new(r"(?s)\buse\s+([^;]+);").expect("a regular expression");
    for item in items.captures_iter(&code) {
        let (Some(whole), Some(tree)) = (item.get(0), item.get(1)) else { continue };
        let line = line_of(&code, whole.start());
        let mut paths = Vec::new();
        expand(tree.as_str(), &[], &mut paths);
        imports.extend(paths.into_iter().map(|path| Import { line, path: resolve(path, module) }));
    }
    let inline = Regex::new(r"\b((?:crate|super)(?:::(?:super|[A-Za-z_]\w*))+|[a-z_]\w*(?:::[A-Za-z_]\w*)+)")
        .expect("a regular expression");
    for found in inline.find_iter(&code) {
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

/// `a::{b, c::{d, e as f}}` becomes `a::b`, `a::c::d` and `a::c::e`.
fn expand(tree: &str, prefix: &[String], paths: &mut Vec<Vec<String>>) {
    let tree = tree.trim().trim_start_matches("::");
    match (tree.find('{'), tree.rfind('}')) {
        (Some(open), Some(close)) => {
            let mut prefix = prefix.to_vec();
            prefix.extend(segments(&tree[..open]));
            for branch in split_at_commas(&tree[open + 1..close]) {
                expand(branch, &prefix, paths);
            }
        }
        _ if !tree.is_empty() => {
            let mut path = prefix.to_vec();
            path.extend(segments(tree.split(" as ").next().unwrap_or(tree)));
            paths.push(path);
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
fn without_comments_and_strings(text: &str) -> String {
    let blank = Regex::new(
        r##"(?s)//[^\n]*|/\*.*?\*/|r#+".*?"#+|\br"[^"]*"|"(?:[^"\\]|\\.)*"|'(?:[^'\\\n]|\\[^\n]{1,8}?)'"##,
    )
    .expect("a regular expression");
    let lines_only = |found: &regex::Captures<'_>| {
        found.get(0).map_or("", |m| m.as_str()).chars().filter(|c| *c == '\n').collect::<String>() + " "
    };
    blank.replace_all(text, lines_only).into_owned()
}
