//! What can be typed after `dtrain sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use dtrain_configs::schema::MonitorMode;

use super::{ConfigDir, Resources};

/// `dtrain sweep`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "\
Values of a setting:
  optimizer.lr=1e-3,1e-4              these
  'seed=range(5)'                     0 to 4, as Python counts
  'optimizer.lr=log_uniform(1e-4,1)'  drawn evenly by a quasi-random search of --trials points; also uniform, int_uniform

Examples:
  dtrain sweep optimizer.lr=1e-3,1e-4 'seed=range(5)' --optimize val/knn_top1
  dtrain sweep study=learning_rate experiment=supervised_birdsong --dir sweeps/lr
  dtrain sweep my_study.yaml --dry-run
  dtrain sweep status sweeps/lr
  dtrain sweep resume sweeps/lr
  dtrain report sweeps/lr

Every trial is composed and checked before the first one starts. docs/sweeps.md has files with stages, workers on many machines \
and SLURM.")]
pub struct SweepArgs {
    /// What to do with a sweep that is there.
    #[command(subcommand)]
    pub action: Option<SweepAction>,
    /// A new sweep.
    #[command(flatten)]
    pub new: NewSweep,
}

/// A new sweep.
#[derive(Debug, Clone, Args)]
pub struct NewSweep {
    /// A study (`study=NAME`, a file `.yaml`, a file `.txt` with the settings of a run a line), and settings; those with several values vary
    #[arg(value_name = "FILE|KEY=VALUE")]
    pub words: Vec<String>,
    /// Folder of the sweep [default: sweeps/NAME-N]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// What the trials are.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Check all trials, print the plan, and stop; makes no folder
    #[arg(long)]
    pub dry_run: bool,
    /// Write the plan and run nothing: `dtrain sweep worker DIR` does, on any machine
    #[arg(long, conflicts_with = "dry_run")]
    pub no_run: bool,
    /// Where and how many trials run.
    #[command(flatten)]
    pub local: LocalArgs,
    /// Workers as tasks of SLURM arrays.
    #[command(flatten)]
    pub slurm: SlurmArgs,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

/// Workers as tasks of SLURM arrays.
#[derive(Debug, Clone, Args)]
pub struct SlurmArgs {
    /// Submit an array of workers for each stage instead of running trials here; the options below say what a worker gets
    #[arg(long, conflicts_with_all = ["no_run", "at_once", "cores_per_trial"])]
    pub slurm: bool,
    /// Tasks of each array [default: as many as trials, at most 8]
    #[arg(long, value_name = "K", requires = "slurm")]
    pub workers: Option<NonZeroUsize>,
    /// What a worker asks SLURM for.
    #[command(flatten)]
    pub resources: Resources,
    /// Shell line that each task runs first, such as --setup "module load cuda"; may be given several times
    #[arg(long, value_name = "LINE", requires = "slurm")]
    pub setup: Vec<String>,
    /// Seconds before the time limit at which trials save
    #[arg(long, value_name = "SECS", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=65_535))]
    pub save_margin_secs: u64,
}

/// What the trials are.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    /// Metric by which trials are compared [default: that of the study, else `optimized_metric`, else `checkpoint.monitor`]
    #[arg(long, value_name = "METRIC")]
    pub optimize: Option<String>,
    /// Which way it is better [default: by its name]
    #[arg(long, value_enum)]
    pub direction: Option<Direction>,
    /// Points of the search over ranges such as `log_uniform(1e-4,1)` [default: 16]
    #[arg(long, value_name = "N")]
    pub trials: Option<NonZeroUsize>,
    /// Moves the points of the search
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub search_seed: u64,
    /// Names of trials, with settings in braces, such as lr{optimizer.lr}_{seed} [default: numbers]
    #[arg(long, value_name = "TEMPLATE")]
    pub trial_name: Option<String>,
    /// Processes of a trial, started by `dtrain launch`
    #[arg(long, value_name = "N", default_value = "1")]
    pub ranks: NonZeroUsize,
    /// Seconds without a sign of life after which a worker's trials are taken over by others
    #[arg(long, value_name = "SECS", default_value_t = 60.0, value_parser = lease)]
    pub lease_secs: f64,
}

fn lease(text: &str) -> Result<f64, String> {
    let secs: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if (1.0..=86_400.0).contains(&secs) { Ok(secs) } else { Err("give 1 to 86400 seconds".to_owned()) }
}

/// Where and how many trials run.
#[derive(Debug, Clone, Args)]
pub struct LocalArgs {
    /// Trials side by side on this machine [default: one per GPU, else per core, as far as memory goes]
    #[arg(long, value_name = "N")]
    pub at_once: Option<NonZeroUsize>,
    /// Cores of a trial [default: all cores are shared out]
    #[arg(long, value_name = "C")]
    pub cores_per_trial: Option<NonZeroUsize>,
    /// GiB of memory that a trial takes, for how many run side by side
    #[arg(long, value_name = "GIB", default_value_t = 2.0, value_parser = gib)]
    pub memory_per_trial: f64,
}

fn gib(text: &str) -> Result<f64, String> {
    let gib: f64 = text.parse().map_err(|_| "not a number of GiB".to_owned())?;
    if gib > 0.0 && gib < 1e6 { Ok(gib) } else { Err("give more than 0 GiB".to_owned()) }
}

/// Which way a metric is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Direction {
    /// More is better.
    Max,
    /// Less is better.
    Min,
}

impl From<Direction> for MonitorMode {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Max => Self::Max,
            Direction::Min => Self::Min,
        }
    }
}

/// What to do with a sweep that is there.
#[derive(Debug, Subcommand)]
pub enum SweepAction {
    /// How the trials stand
    Status {
        /// Folder of the sweep
        dir: PathBuf,
        /// All trials, not only the best ones
        #[arg(long)]
        all: bool,
        /// For scripts, to stdout
        #[arg(long)]
        json: bool,
    },
    /// Go on with a sweep that was stopped or killed
    Resume {
        /// Folder of the sweep
        dir: PathBuf,
        /// Where and how many trials run.
        #[command(flatten)]
        local: LocalArgs,
    },
    /// Run failed trials once more, from their checkpoints
    Retry {
        /// Folder of the sweep
        dir: PathBuf,
        /// Trials, by name or id [default: all that have failed or whose folder is gone]
        trials: Vec<String>,
        /// Begin them anew; what they have left is kept under another name
        #[arg(long)]
        anew: bool,
        /// Where and how many trials run.
        #[command(flatten)]
        local: LocalArgs,
    },
    /// Let all trials save and all workers end, on every machine
    Stop {
        /// Folder of the sweep
        dir: PathBuf,
    },
    /// Add trials to a sweep, also while it runs, and run those that are new
    Add {
        /// Folder of the sweep
        dir: PathBuf,
        /// As for a new sweep; settings of all its trials are kept
        #[arg(value_name = "FILE|KEY=VALUE", required = true)]
        words: Vec<String>,
        /// Points of the search over ranges
        #[arg(long, value_name = "N")]
        trials: Option<NonZeroUsize>,
        /// Write the plan and run nothing
        #[arg(long)]
        no_run: bool,
        /// Where and how many trials run.
        #[command(flatten)]
        local: LocalArgs,
    },
    /// Take trials of a sweep until none is left; any number of workers, on any machines that see the folder
    Worker {
        /// Folder of the sweep
        dir: PathBuf,
        /// Take trials of this stage and of those before it
        #[arg(long, value_name = "NAME")]
        stage: Option<String>,
        /// Where and how many trials run.
        #[command(flatten)]
        local: LocalArgs,
    },
}
