//! The rule that files do not import in a circle. A module and its own children may use each other; apart from that the
//! children of every module, each with all that is below it, have an order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

use super::layers::Layout;
use super::source::{USE, expand, expression, module_path, rust_files, without_comments_and_strings};

/// A module as the segments of its path; the crate is the empty one.
type Module = Vec<String>;

/// What stands before an item that is there for tests.
static TESTS: LazyLock<Regex> = LazyLock::new(|| expression(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*"));
/// A module that is a file.
static FILE: LazyLock<Regex> = LazyLock::new(|| expression(r"^(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;"));
/// A path of two segments at least.
static PATH: LazyLock<Regex> = LazyLock::new(|| expression(r"\b[A-Za-z_]\w*(?:::[A-Za-z_]\w*)+"));

/// Reexports are followed so many times.
const MAX_REEXPORTS: usize = 20;

/// What a file names, apart from its tests.
#[derive(Debug, Default)]
struct Names {
    /// Names that `use` items bring in, with their paths.
    used: BTreeMap<String, Vec<String>>,
    /// All other paths.
    inline: Vec<Vec<String>>,
}

/// One circle at each place of the workspace at `root` where there are some: `crate folder: a -> b -> a`, with one pair of
/// files for each step.
pub fn import_circles(root: &Path, layout: &Layout) -> Vec<String> {
    let mut found = Vec::new();
    for (folder, ..) in layout.crates {
        let files = files_of(&root.join(folder));
        for (parent, steps) in steps_of(&files) {
            let Some(circle) = circle_in(&steps) else { continue };
            let place = if parent.is_empty() { "crate".to_owned() } else { parent.join("::") };
            let mut text = format!("{folder} {place}: {}", circle.join(" -> "));
            for pair in circle.windows(2) {
                let [from, to] = pair else { continue };
                if let Some(told) = steps.get(&(from.clone(), to.clone())) {
                    text.push_str(&format!("\n  {told}"));
                }
            }
            found.push(text);
        }
    }
    found
}

/// The modules of a crate that are not there for tests alone.
fn files_of(folder: &Path) -> BTreeMap<Module, Names> {
    let (mut files, mut of_tests) = (BTreeMap::new(), Vec::new());
    for file in rust_files(&folder.join("src")) {
        let module = module_path(file.strip_prefix(folder).unwrap_or(&file));
        let text = std::fs::read_to_string(&file).expect("the source can be read");
        let (code, tests) = without_tests(&without_comments_and_strings(&text));
        of_tests.extend(tests.into_iter().map(|name| [&module[..], &[name]].concat()));
        files.insert(module, names_of(&code));
    }
    files.retain(|module, _| !of_tests.iter().any(|tests: &Module| module.starts_with(tests)));
    files
}

/// Blanks what `#[cfg(test)]` stands before, and returns the names of such modules that are files.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let (mut kept, mut modules, mut rest) = (String::new(), Vec::new(), code);
    while let Some(found) = TESTS.find(rest) {
        kept.push_str(&rest[..found.start()]);
        let item = &rest[found.end()..];
        modules.extend(FILE.captures(item).and_then(|name| Some(name.get(1)?.as_str().to_owned())));
        rest = &item[length_of_item(item)..];
    }
    kept.push_str(rest);
    (kept, modules)
}

/// Up to the semicolon or the closing brace that ends it.
fn length_of_item(item: &str) -> usize {
    let ends_at_brace = !item.starts_with("use ");
    let mut depth = 0usize;
    for (at, sign) in item.char_indices() {
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 && sign == '}' && ends_at_brace {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

fn names_of(code: &str) -> Names {
    let mut names = Names::default();
    for item in USE.captures_iter(code).filter_map(|item| item.get(1)) {
        let mut used = Vec::new();
        expand(item.as_str(), &[], &mut used);
        for (index, (name, mut path)) in used.into_iter().enumerate() {
            let mut name = name;
            if path.last().is_some_and(|last| last == "self") {
                path.pop();
                name = path.last().cloned().unwrap_or_default();
            } else if name == "*" || name == "_" {
                // Nothing is called by it, but the path is one.
                name = format!("{name}{}{index}", names.used.len());
            }
            names.used.insert(name, path);
        }
    }
    let others = USE.replace_all(code, "");
    names.inline =
        PATH.find_iter(&others).map(|path| path.as_str().split("::").map(str::to_owned).collect()).collect();
    names
}

/// For each module, which of its children use which, through whatever is below them, with one pair of files that does.
fn steps_of(files: &BTreeMap<Module, Names>) -> BTreeMap<Module, BTreeMap<(String, String), String>> {
    let mut steps: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
    for (module, names) in files {
        let roots = ["crate", "super", "self"];
        let is_named = |path: &&Vec<String>| {
            path.first().is_some_and(|first| {
                roots.contains(&first.as_str())
                    || files.contains_key(&[&module[..], std::slice::from_ref(first)].concat())
            })
        };
        for path in names.used.values().chain(names.inline.iter().filter(is_named)) {
            let Some(target) = resolved(files, module, path, MAX_REEXPORTS) else { continue };
            let common = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
            if let (Some(from), Some(to)) = (module.get(common), target.get(common)) {
                let pair = (from.clone(), to.clone());
                let told = format!("{} uses {}", module.join("::"), target.join("::"));
                steps.entry(module[..common].to_vec()).or_default().entry(pair).or_insert(told);
            }
        }
    }
    steps
}

/// The module in which what `path` names in `module` is defined; `None` for what is not of this crate.
fn resolved(
    files: &BTreeMap<Module, Names>,
    module: &[String],
    path: &[String],
    reexports: usize,
) -> Option<Module> {
    let mut at = module.to_vec();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" => (at, rest) = (Vec::new(), &rest[1..]),
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|segment| segment == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
        first => {
            let is_child = files.contains_key(&[module, &[first.to_owned()]].concat());
            let is_used = files.get(module).is_some_and(|names| names.used.contains_key(first));
            if !is_child && !is_used {
                return None;
            }
        }
    }
    while let Some(first) = rest.first() {
        let child = [&at[..], std::slice::from_ref(first)].concat();
        if files.contains_key(&child) {
            (at, rest) = (child, &rest[1..]);
            continue;
        }
        return match files.get(&at).and_then(|names| names.used.get(first)) {
            // A name that stands for itself, such as a crate's.
            Some(used) if used.first() == Some(first) && used.len() == 1 => None,
            Some(used) if reexports > 0 => {
                resolved(files, &at, &[&used[..], &rest[1..]].concat(), reexports - 1)
            }
            _ => Some(at),
        };
    }
    Some(at)
}

/// A circle among `steps`, its first member repeated at its end.
fn circle_in(steps: &BTreeMap<(String, String), String>) -> Option<Vec<String>> {
    let mut left: BTreeSet<&(String, String)> = steps.keys().filter(|(from, to)| from != to).collect();
    loop {
        let before = left.len();
        let users: BTreeSet<&String> = left.iter().map(|(from, _)| from).collect();
        // Who uses nothing, or nothing that is left, is in no circle.
        left.retain(|(_, to)| users.contains(to));
        if left.len() == before {
            break;
        }
    }
    let mut way = vec![&left.first()?.0];
    loop {
        let last = way.last()?;
        let (_, next) = left.iter().find(|(from, _)| from == *last)?;
        if let Some(first) = way.iter().position(|known| *known == next) {
            let circle = way.split_off(first).into_iter().chain([next]);
            return Some(circle.cloned().collect());
        }
        way.push(next);
    }
}
