//! The YAML files: those inside the program, and a user's folder with the same layout that adds to or shadows them.
//! [`crate::files`] lists them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};

use crate::error::Problem;
use crate::literal::hint_of_choice;
use crate::moved;
use crate::read::MAX_BYTES;
use crate::shell::shell_word;
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

/// Studies for `dtrain sweep`.
static STUDIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/study");

/// Text of a study inside the program.
pub fn study_text(name: &str) -> Option<&'static str> {
    STUDIES.get_file(format!("{name}.yaml"))?.contents_utf8()
}

/// Names of the studies inside the program, sorted.
pub fn studies() -> Vec<String> {
    let stem = |file: &include_dir::File<'_>| Some(file.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = STUDIES.files().filter_map(stem).collect();
    names.sort();
    names
}

/// What composition needs besides the overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ComposeOptions {
    /// A folder with the layout of the program's own YAML files, whose files come first.
    pub config_dir: Option<PathBuf>,
}

/// A folder of alternatives for one section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Section and folder.
    pub name: &'static str,
    /// Names of the files, without `.yaml`, sorted.
    pub options: Vec<String>,
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
                "`--config-dir`, or else the variable DTRAIN_CONFIG_DIR, names a folder with `data/`, `method/`, \
                 `experiment/` and so on in it",
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

    /// The user's file of that name, whether or not there is one.
    pub(crate) fn own_path(&self, group: &str, name: &str) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join(group).join(format!("{name}.yaml")))
    }

    /// The file inside the program.
    pub(crate) fn builtin(&self, group: &str, name: &str) -> Option<Arc<Source>> {
        let kind = SourceKind::Builtin(format!("{group}/{name}.yaml"));
        Some(Arc::new(Source { kind, text: file_text(group, name)?.to_owned() }))
    }

    pub(crate) fn options(&self, group: &str) -> Vec<String> {
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

    /// The file that `name` stands for in a group: a path if it ends with `.yaml`, else a name. `asked` is where it was
    /// chosen: a path in a file starts from the folder of that file, one on the command line from the working directory.
    pub(crate) fn find(
        &self,
        group: &str,
        name: &str,
        asked: Option<&Place>,
    ) -> Result<Arc<Source>, Problem> {
        if name.ends_with(".yaml") || name.ends_with(".yml") {
            return read_file(&path_of(name, asked)).map_err(|problem| problem.at(asked));
        }
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        if is_name {
            if let Some(path) = self.own_path(group, name).filter(|path| path.is_file()) {
                return read_file(&path).map_err(|problem| problem.at(asked));
            }
            if let Some(source) = self.builtin(group, name) {
                return Ok(source);
            }
        }
        let problem = Problem::new(format!("group `{group}` has no `{}`", printable(name, 60))).at(asked);
        if let Some(hint) = hint_of_choice(group, name).or_else(|| moved::file_hint(group, name)) {
            return Err(problem.hint(hint));
        }
        let settings = path_of(name, asked).join("config.yaml");
        if group == "experiment" && settings.is_file() {
            let word = shell_word(&format!("experiment={}", settings.display()));
            return Err(problem.hint(format!("`{word}` begins a new run with the settings of that run")));
        }
        let options = self.options(group);
        let is_option = |name: &&str| options.iter().any(|option| option == name);
        if moved::swept(name).is_some_and(|names| names.iter().all(is_option)) {
            return Err(problem.hint(moved::ONE_RUN));
        }
        let hint = choice_hint(name, options.iter().map(String::as_str));
        let path_hint =
            if name.contains('/') { "; a file is chosen by a path that ends with `.yaml`" } else { "" };
        Err(problem.hint(format!("{hint}{path_hint}")))
    }
}

/// The path that `name` means where it was written.
fn path_of(name: &str, asked: Option<&Place>) -> PathBuf {
    let below_home = name.strip_prefix("~/").zip(std::env::home_dir().filter(|home| home.is_absolute()));
    if let Some((below, home)) = below_home {
        return home.join(below.trim_start_matches('/'));
    }
    match asked.map(|place| &place.source.kind) {
        Some(SourceKind::File(file)) => file.parent().unwrap_or(Path::new("")).join(name),
        _ => PathBuf::from(name),
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
    // Editors of Windows begin a file with a mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").map_or_else(|| bytes.clone(), <[u8]>::to_vec);
    let text = String::from_utf8(bytes).map_err(|_| Problem::new(format!("`{shown}` is not UTF-8 text")))?;
    Ok(Arc::new(Source { kind: SourceKind::File(path.to_owned()), text }))
}
