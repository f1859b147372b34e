//! The YAML files: those inside the program, and a user's folder with the same layout that adds to or shadows them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use crate::ComposeOptions;
use crate::error::Problem;
use crate::moved;
use crate::read::MAX_BYTES;
use crate::source::{Place, Source, SourceKind, printable};
use crate::suggest::choice_hint;

static ROOT: &str = include_str!("../train.yaml");

static GROUPS: [(&str, Dir<'_>); 9] = [
    ("experiment", include_dir!("$CARGO_MANIFEST_DIR/experiment")),
    ("data", include_dir!("$CARGO_MANIFEST_DIR/data")),
    ("augment", include_dir!("$CARGO_MANIFEST_DIR/augment")),
    ("model", include_dir!("$CARGO_MANIFEST_DIR/model")),
    ("method", include_dir!("$CARGO_MANIFEST_DIR/method")),
    ("optimizer", include_dir!("$CARGO_MANIFEST_DIR/optimizer")),
    ("schedule", include_dir!("$CARGO_MANIFEST_DIR/schedule")),
    ("trainer", include_dir!("$CARGO_MANIFEST_DIR/trainer")),
    ("eval", include_dir!("$CARGO_MANIFEST_DIR/eval")),
];

/// A folder of alternatives for one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Section and folder.
    pub name: &'static str,
    /// Names of the files, without `.yaml`, sorted.
    pub options: Vec<String>,
}

/// A recipe that can be run as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentInfo {
    /// For `experiment=NAME`.
    pub name: String,
    /// The command that runs it, from the first line of the file.
    pub command: String,
    /// What it is, from the comment lines after that.
    pub about: String,
}

/// Whether there is a folder of alternatives of that name.
pub(crate) fn is_group(name: &str) -> bool {
    GROUPS.iter().any(|(group, _)| *group == name)
}

/// Names of the groups but `experiment`, which chooses among them.
pub(crate) fn section_groups() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().map(|(group, _)| *group).filter(|group| *group != "experiment")
}

/// The groups inside the program, with their files.
pub fn groups() -> Vec<Group> {
    Library { dir: None }.groups()
}

/// Text of a file inside the program: `file_text("method", "simclr")`.
pub fn file_text(group: &str, name: &str) -> Option<&'static str> {
    let (_, dir) = GROUPS.iter().find(|(known, _)| *known == group)?;
    dir.get_file(format!("{name}.yaml"))?.contents_utf8()
}

/// The experiments inside the program and in the user's folder, sorted by name. Files that cannot be read are left
/// out; choosing one says why.
pub fn experiments(options: &ComposeOptions) -> Vec<ExperimentInfo> {
    let library = Library { dir: options.config_dir.clone() };
    let mut infos = Vec::new();
    for name in library.options("experiment") {
        let Ok(source) = library.find("experiment", &name, None) else { continue };
        let comments: Vec<&str> =
            source.text.lines().map_while(|line| line.strip_prefix('#')).map(str::trim).collect();
        let (command, about) = match comments.split_first() {
            Some((command, about)) => ((*command).to_owned(), about.join(" ")),
            None => (format!("dtrain experiment={name}"), String::new()),
        };
        infos.push(ExperimentInfo { name, command, about });
    }
    infos
}

/// All files that can be chosen.
#[derive(Debug, Clone)]
pub struct Library {
    dir: Option<PathBuf>,
}

impl Library {
    /// The program's files, and the user's folder if there is one.
    ///
    /// # Errors
    /// The folder does not exist.
    pub fn open(options: &ComposeOptions) -> Result<Self, Problem> {
        if let Some(dir) = options.config_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Problem::new(format!("there is no folder `{}`", dir.display())).hint(
                "`--config-dir` names a folder with `data/`, `method/`, `experiment/` and so on in it",
            ));
        }
        Ok(Self { dir: options.config_dir.clone() })
    }

    /// Every group with the names of its files.
    pub fn groups(&self) -> Vec<Group> {
        GROUPS.iter().map(|(name, _)| Group { name, options: self.options(name) }).collect()
    }

    /// Text of a file; the user's folder comes first.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn text(&self, group: &str, name: &str) -> Result<String, Problem> {
        self.find(group, name, None).map(|source| source.text.clone())
    }

    fn options(&self, group: &str) -> Vec<String> {
        let builtin = GROUPS.iter().filter(|(name, _)| *name == group).flat_map(|(_, dir)| dir.files());
        let builtin = builtin.map(|file| file.path().to_path_buf());
        let folder = self.dir.as_ref().and_then(|dir| std::fs::read_dir(dir.join(group)).ok());
        let user = folder.into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let mut names: Vec<String> = builtin
            .chain(user)
            .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
            .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// The text of `train.yaml`.
    pub(crate) fn root(&self) -> Result<Arc<Source>, Problem> {
        if let Some(path) = self.dir.as_ref().map(|dir| dir.join("train.yaml")).filter(|path| path.is_file())
        {
            return read_file(&path);
        }
        Ok(Arc::new(Source { kind: SourceKind::Builtin("train.yaml".into()), text: ROOT.into() }))
    }

    /// The file that `name` stands for in a group: a path if it ends with `.yaml`, else a name. `asked` is where it
    /// was chosen.
    pub(crate) fn find(
        &self,
        group: &str,
        name: &str,
        asked: Option<&Place>,
    ) -> Result<Arc<Source>, Problem> {
        if name.ends_with(".yaml") || name.ends_with(".yml") {
            return read_file(Path::new(name)).map_err(|problem| problem.at(asked));
        }
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if is_name {
            let user = self.dir.as_ref().map(|dir| dir.join(group).join(format!("{name}.yaml")));
            if let Some(path) = user.filter(|path| path.is_file()) {
                return read_file(&path).map_err(|problem| problem.at(asked));
            }
            if let Some(text) = file_text(group, name) {
                let kind = SourceKind::Builtin(format!("{group}/{name}.yaml"));
                return Ok(Arc::new(Source { kind, text: text.into() }));
            }
        }
        let problem = Problem::new(format!("group `{group}` has no `{}`", printable(name, 60))).at(asked);
        if let Some(hint) = moved::file_hint(group, name) {
            return Err(problem.hint(hint));
        }
        let options = self.options(group);
        let hint = choice_hint(name, options.iter().map(String::as_str));
        let path_hint =
            if name.contains('/') { "; a file is chosen by a path that ends with `.yaml`" } else { "" };
        Err(problem.hint(format!("{hint}{path_hint}")))
    }
}

/// A user's file, up to [`MAX_BYTES`].
pub(crate) fn read_file(path: &Path) -> Result<Arc<Source>, Problem> {
    let shown = path.display();
    let failed = |error: std::io::Error| Problem::new(format!("cannot read `{shown}`: {error}"));
    // Not a pipe or a device: those can block, or never end.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Problem::new(format!("`{shown}` is not a file")));
    }
    let mut bytes = Vec::new();
    let limit = MAX_BYTES as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() > MAX_BYTES {
        return Err(Problem::new(format!("`{shown}` is larger than {MAX_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| Problem::new(format!("`{shown}` is not UTF-8 text")))?;
    Ok(Arc::new(Source { kind: SourceKind::File(path.to_owned()), text }))
}
