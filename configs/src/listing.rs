//! The files of a group as people choose among them: what each is, whose it is, and the words that take it.

use std::path::PathBuf;

use crate::ComposeOptions;
use crate::builtin::{Library, file_text, is_group};
use crate::error::Problem;
use crate::source::printable;
use crate::suggest::choice_hint;

/// A file that can be chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Without `.yaml`.
    pub name: String,
    /// What is typed to choose it: `experiment=NAME`, with more words where the file says so.
    pub words: String,
    /// What it is, from the comment that it begins with.
    pub about: String,
    /// Where it lies, if it is the user's.
    pub own: Option<PathBuf>,
    /// Whether it is the user's and takes the place of one inside the program.
    pub shadows: bool,
}

/// The files of a group, sorted by name. Files that cannot be read are left out; choosing one says why.
///
/// # Errors
/// There is no such group, or no such folder.
pub fn files(group: &str, options: &ComposeOptions) -> Result<Vec<FileInfo>, Problem> {
    let library = Library::open(options)?;
    if !is_group(group) {
        let groups: Vec<&str> = library.groups().iter().map(|group| group.name).collect();
        let problem = Problem::new(format!("there is no group `{}`", printable(group, 60)));
        return Err(problem.hint(choice_hint(group, groups)));
    }
    let mut infos = Vec::new();
    for name in library.options(group) {
        let Ok(source) = library.find(group, &name, None) else { continue };
        let own = library.own_path(group, &name).filter(|path| path.is_file());
        let shadows = own.is_some() && file_text(group, &name).is_some();
        let (words, about) = described(&source.text, &format!("{group}={name}"));
        infos.push(FileInfo { name, words, about, own, shadows });
    }
    Ok(infos)
}

/// The words that choose a file and what it is, from the comment at its beginning. A command in it counts if it is about
/// this file: one that was copied along with another file's text is not. `@package` lines are Hydra's.
fn described(text: &str, choice: &str) -> (String, String) {
    let comment = text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim);
    let (mut words, mut about) = (choice.to_owned(), Vec::new());
    for line in comment.filter(|line| !line.is_empty() && !line.starts_with("@package")) {
        match line.strip_prefix("dtrain ") {
            Some(typed) if typed.split_whitespace().next() == Some(choice) => typed.clone_into(&mut words),
            Some(_) => {}
            None => about.push(line),
        }
    }
    (printable(&words, 200), printable(&about.join(" "), 400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_command_is_not_that_of_the_copy() {
        let text = "# @package _global_\n# dtrain experiment=supcon_fsdd\n# Owls\n#\n# at night.\n\n# more\nseed: 1\n";
        let said = |choice: &str| described(text, choice);
        assert_eq!(said("experiment=mine"), ("experiment=mine".into(), "Owls at night.".into()));
        let with_data = "# dtrain experiment=mine data.root=PATH\n# Owls.\n";
        let (words, about) = described(with_data, "experiment=mine");
        assert_eq!((words.as_str(), about.as_str()), ("experiment=mine data.root=PATH", "Owls."));
        assert_eq!(described("seed: 1", "experiment=x"), ("experiment=x".into(), String::new()));
    }

    #[test]
    fn a_group_that_there_is_not_is_named() {
        let problem = files("optimiser", &ComposeOptions::default()).unwrap_err();
        assert_eq!(problem.message, "there is no group `optimiser`");
        assert!(problem.hint.unwrap().starts_with("did you mean `optimizer`?"));
    }
}
