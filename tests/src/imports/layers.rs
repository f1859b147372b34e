//! The rule that imports go one way between crates, and between the layers of one.

use std::path::{Path, PathBuf};

use super::source::{Import, imports_of, module_path, rust_files};

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
