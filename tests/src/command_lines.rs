//! Command lines of dtrain as people find them: in documentation, in comments of YAML files and scripts, in what `--help`
//! prints and in messages, which stand in the sources. A test gives each to the program.

use std::path::{Path, PathBuf};

use regex::Regex;

/// A command line and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandLine {
    /// The file, relative to the workspace, or the command that printed it.
    pub place: String,
    /// Line, from 1.
    pub line: usize,
    /// The words behind `dtrain`, as written.
    pub text: String,
    /// Whether it stands within a sentence, where the name of a verb is enough.
    pub is_mention: bool,
}

/// All command lines of the workspace at `root`, but for those that only `--help` prints.
pub fn command_lines(root: &Path) -> Vec<CommandLine> {
    let mut found = Vec::new();
    for file in files(root) {
        let text = std::fs::read_to_string(root.join(&file)).expect("the file is text");
        let place = file.display().to_string();
        let kind = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let text = match kind {
            // Behind it are tests, which hold what is wrong on purpose.
            "rs" => joined(text.split("#[cfg(test)]").next().unwrap_or_default()),
            _ => text,
        };
        found.extend(command_lines_of(&text, &place, kind));
    }
    found.sort();
    found.dedup();
    found
}

/// The command lines in a text; `kind` is the ending of its file, `help` what a program prints.
pub fn command_lines_of(text: &str, place: &str, kind: &str) -> Vec<CommandLine> {
    let span = Regex::new(r"`([^`\n]+)`").expect("a regular expression");
    let mut found = Vec::new();
    let mut in_block = false;
    for (index, line) in text.lines().enumerate() {
        let mut add = |text: &str, is_mention| {
            if let Some(text) = behind_program(text) {
                found.push(CommandLine { place: place.to_owned(), line: index + 1, text, is_mention });
            }
        };
        if kind == "md" && line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let shown = match kind {
            "md" if in_block => Some(line),
            "md" => line.strip_prefix("    "),
            "help" => line.strip_prefix("  "),
            "yaml" | "sh" | "sbatch" | "txt" => line.trim_start().strip_prefix('#'),
            _ => None,
        };
        if let Some(shown) = shown.map(|shown| shown.trim().trim_start_matches("$ ")) {
            // A comment of a YAML file may name the command at its end.
            let shown = match (kind, shown.rsplit_once(": dtrain ")) {
                ("yaml", Some((_, words))) => format!("dtrain {words}"),
                _ => shown.to_owned(),
            };
            if starts_program(&shown) {
                add(&shown, false);
                continue;
            }
        }
        let plain = line.replace("\\`", "`");
        for span in span.captures_iter(&plain).filter_map(|span| span.get(1)) {
            if starts_program(span.as_str()) {
                add(span.as_str(), true);
            }
        }
    }
    found
}

/// Whether the text is a command that starts dtrain, by itself or through another program.
fn starts_program(text: &str) -> bool {
    let mut words = text.split_whitespace();
    match words.next() {
        Some("dtrain") => true,
        Some("mpirun" | "mpiexec" | "srun" | "RUST_LOG=debug") => words.any(|word| word == "dtrain"),
        _ => false,
    }
}

/// The words behind the program's name, up to what is the shell's, or a description set apart by blanks.
fn behind_program(text: &str) -> Option<String> {
    let at = text.find("dtrain")?;
    let rest = text.get(at + "dtrain".len()..)?;
    if !rest.is_empty() && !rest.starts_with(' ') {
        return None;
    }
    let ends = [" # ", "  ", " > ", " | ", " >> "].into_iter().filter_map(|end| rest.find(end));
    let end = ends.filter(|at| *at > 0).min().unwrap_or(rest.len());
    // A description right behind the name.
    let words = if rest.starts_with("  ") { "" } else { rest.get(..end)? };
    Some(words.trim().to_owned())
}

/// String literals that go on in the next line, in one; lines are counted in what is left.
fn joined(source: &str) -> String {
    let continued = Regex::new(r"\\\n\s*").expect("a regular expression");
    continued.replace_all(source, "").into_owned()
}

/// What is read, relative to `root`.
fn files(root: &Path) -> Vec<PathBuf> {
    const FOLDERS: [&str; 10] = [
        "docs",
        "configs",
        "scripts",
        "slurm",
        "bench",
        "comm/src",
        "trainer/src",
        "trainer/data/src",
        "launcher",
        "tests/src",
    ];
    const ENDINGS: [&str; 6] = ["md", "yaml", "sh", "sbatch", "txt", "rs"];
    let mut found = vec![PathBuf::from("README.md")];
    let mut folders: Vec<PathBuf> = FOLDERS.map(PathBuf::from).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root.join(&folder)).expect("the folder can be listed").flatten() {
            let path = folder.join(entry.file_name());
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if entry.path().is_dir() {
                if name != "results" && name != "samples" {
                    folders.push(path);
                }
            } else if ENDINGS.contains(&ending) && !["tests.rs", "command_lines.rs"].contains(&name) {
                found.push(path);
            }
        }
    }
    found
}
