//! Every path inside a run directory, named once, and what `dtrain stop` leaves there.

use std::path::{Path, PathBuf};

/// A run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    root: PathBuf,
}

impl RunDir {
    /// At `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Resolved settings.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.yaml")
    }

    /// What was typed.
    pub fn overrides(&self) -> PathBuf {
        self.root.join("overrides.txt")
    }

    /// One object per start: what was typed and what changed.
    pub fn history(&self) -> PathBuf {
        self.root.join("history.jsonl")
    }

    /// How the run has gone back, where it has.
    pub fn rollback(&self) -> PathBuf {
        self.root.join("rollback.json")
    }

    /// What the run had done before it went back.
    pub fn rolled_back(&self) -> PathBuf {
        self.root.join("rolled_back")
    }

    /// Identity of the run.
    pub fn run_id(&self) -> PathBuf {
        self.root.join("run_id")
    }

    /// Machine, versions, command line.
    pub fn environment(&self) -> PathBuf {
        self.root.join("environment.json")
    }

    /// One object per line.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The end of the run.
    pub fn result(&self) -> PathBuf {
        self.root.join("result.json")
    }

    /// What the last evaluation says of each class: `classes.csv`, and confusion matrices as pictures.
    pub fn reports(&self) -> PathBuf {
        self.path().join("reports")
    }

    /// What `dtrain eval` writes of the weights after `step`.
    pub fn evaluation(&self, step: u64) -> PathBuf {
        self.path().join("eval").join(format!("step-{step:08}"))
    }

    /// TensorBoard events.
    pub fn tensorboard(&self) -> PathBuf {
        self.root.join("tb")
    }

    /// Checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// What `dtrain stop` leaves until the run has heard it.
    pub fn stop(&self) -> PathBuf {
        self.root.join("stop")
    }

    /// One file per rank.
    pub fn log(&self, rank: usize) -> PathBuf {
        self.root.join("logs").join(format!("rank_{rank:03}.log"))
    }

    /// Locked by the process that trains here.
    pub fn lock(&self) -> PathBuf {
        self.root.join(".lock")
    }

    /// What the launcher files about the ranks that it starts for the `attempt`th time.
    pub fn launch_log(&self, attempt: u32) -> PathBuf {
        self.launch_logs().join(format!("attempt_{attempt}"))
    }

    /// Folder of all such attempts.
    pub fn launch_logs(&self) -> PathBuf {
        self.root.join("logs").join("launch")
    }

    /// One object per attempt of the launcher.
    pub fn restarts(&self) -> PathBuf {
        self.root.join("restarts.jsonl")
    }

    /// Whether a run has begun here.
    pub fn holds_a_run(&self) -> bool {
        self.config().exists()
    }
}

/// What the file that `dtrain stop` leaves asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopRequest {
    /// Save and end.
    User,
    /// Save and end, to be started again by whoever started the run.
    Requeue,
}

impl StopRequest {
    /// What the file holds.
    pub fn text(self) -> &'static str {
        match self {
            Self::User => "user\n",
            Self::Requeue => "requeue\n",
        }
    }

    /// What a file asks for. Text that is not known is a user's: someone wanted the run to stop.
    pub fn read(text: &str) -> Self {
        if text.trim() == "requeue" { Self::Requeue } else { Self::User }
    }
}
