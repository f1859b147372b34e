//! Every path inside a sweep's folder, named once.

use std::path::{Path, PathBuf};

use dtrain_configs::RunDir;

/// A sweep's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SweepDir {
    root: PathBuf,
}

impl SweepDir {
    /// At `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What is to be run: a line for the sweep, then one for each trial.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.jsonl")
    }

    /// The study as it was given.
    pub fn study(&self) -> PathBuf {
        self.root.join("study.yaml")
    }

    /// One file for each trial, whose name says how it stands.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// The run of a trial.
    pub fn run(&self, name: &str) -> RunDir {
        RunDir::new(self.root.join("trials").join(name))
    }

    /// What a trial has printed, over all its starts.
    pub fn output(&self, name: &str) -> PathBuf {
        self.root.join("output").join(format!("{name}.log"))
    }

    /// Why a trial has failed.
    pub fn cause(&self, id: &str) -> PathBuf {
        self.root.join("causes").join(format!("{id}.json"))
    }

    /// What later stages take of a stage.
    pub fn chosen(&self, stage: &str) -> PathBuf {
        self.root.join("chosen").join(format!("{stage}.json"))
    }

    /// Values at a rung, a file for each trial that has reached it.
    pub fn rung(&self, stage: &str, epochs: u64) -> PathBuf {
        self.root.join("rungs").join(stage).join(epochs.to_string())
    }

    /// There while the sweep is asked to stop.
    pub fn stop(&self) -> PathBuf {
        self.root.join("stop")
    }

    /// The table of all trials.
    pub fn table(&self) -> PathBuf {
        self.root.join("table.csv")
    }

    /// Whether a sweep lives here.
    pub fn holds_a_sweep(&self) -> bool {
        self.plan().is_file()
    }
}

/// Writes a file whole or not at all, also when others write it too.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    // Others who see the folder read it too.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(permissions)?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(folder)?.sync_all()
}
