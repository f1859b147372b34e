//! What can be typed after `dtrain slurm`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::config_dir::ConfigDir;
use super::time_limit::TimeLimit;

/// `dtrain slurm`.
#[derive(Debug, Subcommand)]
pub enum SlurmTarget {
    /// Write the batch script of an experiment, or submit it
    #[command(after_help = "\
Settings and world are checked at once. The script goes to stdout unless --submit is given.

Examples:
  dtrain slurm train experiment=supcon_fsdd --nodes 2 --gpus-per-node 8 --time 24:00:00 > job.sbatch
  dtrain slurm train experiment=supcon_fsdd --nodes 2 --gpus-per-node 8 --partition gpu --submit
  dtrain slurm train experiment=supcon_fsdd --gpus-per-node 4 --cpus-per-task 16 --setup 'module load openmpi' --submit
  dtrain slurm train experiment=supcon_fsdd --array sweep.txt --at-once 4 --time 4:00:00 --submit

docs/slurm.md says what the script does when it is preempted, requeued or out of time.")]
    Train(Box<SlurmTrainArgs>),
}

/// `dtrain slurm train`.
#[derive(Debug, Clone, Args)]
pub struct SlurmTrainArgs {
    /// Settings, as for `dtrain train`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the script to stdout (the default)
    #[arg(long, conflicts_with = "submit")]
    pub print: bool,
    /// Give the script to sbatch, and print the number of the job to stdout
    #[arg(long)]
    pub submit: bool,
    /// What the job asks SLURM for.
    #[command(flatten)]
    pub resources: Resources,
    /// One run per line of FILE: each line holds settings that come after those typed here
    #[arg(long, value_name = "FILE")]
    pub array: Option<PathBuf>,
    /// Array tasks that may run at the same time [default: all]
    #[arg(long, value_name = "N", requires = "array")]
    pub at_once: Option<NonZeroUsize>,
    /// Shell line that the script runs first, such as --setup "module load openmpi cuda"; may be given several times
    #[arg(long, value_name = "LINE")]
    pub setup: Vec<String>,
    /// Who starts the ranks within the job
    #[arg(long, value_enum, default_value = "auto")]
    pub launcher: Launcher,
    /// Seconds before the time limit at which the run saves and stops
    #[arg(long, value_name = "SECS", default_value_t = 120)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=65_535))]
    pub save_margin_secs: u64,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

/// What the job asks SLURM for. Absent options are left to the cluster's defaults.
#[derive(Debug, Clone, Args)]
pub struct Resources {
    /// Nodes of a run
    #[arg(long, value_name = "N", default_value = "1")]
    pub nodes: NonZeroUsize,
    /// GPUs and tasks on each node: one task per GPU [default: 1; 0 with trainer.device=cpu]
    #[arg(long, value_name = "G", conflicts_with = "tasks_per_node")]
    pub gpus_per_node: Option<usize>,
    /// Tasks on each node of a job without GPUs
    #[arg(long, value_name = "T")]
    pub tasks_per_node: Option<NonZeroUsize>,
    /// CPU cores of a task [default: `trainer.threads` where it is set, else 8 with a GPU and 4 without]
    #[arg(long, value_name = "C")]
    pub cpus_per_task: Option<NonZeroUsize>,
    /// Time limit of a start, as sbatch takes it: minutes, H:MM:SS, D-HH:MM:SS; a run may take many starts
    #[arg(long, value_name = "TIME")]
    pub time: Option<TimeLimit>,
    /// Partition
    #[arg(long, value_name = "NAME")]
    pub partition: Option<String>,
    /// Account that pays
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,
    /// Quality of service
    #[arg(long, value_name = "NAME")]
    pub qos: Option<String>,
    /// Memory of a node, such as 64G; 0 = all of it
    #[arg(long, value_name = "SIZE")]
    pub mem: Option<String>,
    /// Name of the job [default: the experiment]
    #[arg(long, value_name = "NAME")]
    pub job_name: Option<String>,
    /// Any further option of sbatch, such as --sbatch-arg=--constraint=a100; may be given several times
    #[arg(long = "sbatch-arg", value_name = "OPTION", allow_hyphen_values = true)]
    pub sbatch_args: Vec<String>,
}

impl Resources {
    /// An option that was given, whose default leaves it to the cluster.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("--nodes", self.nodes.get() > 1),
            ("--gpus-per-node", self.gpus_per_node.is_some()),
            ("--tasks-per-node", self.tasks_per_node.is_some()),
            ("--cpus-per-task", self.cpus_per_task.is_some()),
            ("--time", self.time.is_some()),
            ("--partition", self.partition.is_some()),
            ("--account", self.account.is_some()),
            ("--qos", self.qos.is_some()),
            ("--mem", self.mem.is_some()),
            ("--job-name", self.job_name.is_some()),
            ("--sbatch-arg", !self.sbatch_args.is_empty()),
        ];
        given.into_iter().find(|(_, is_given)| *is_given).map(|(name, _)| name)
    }
}

/// Who starts the ranks within the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Launcher {
    /// `srun` where SLURM has PMIx, else `mpirun`.
    #[default]
    Auto,
    /// `srun --mpi=pmix`.
    Srun,
    /// `mpirun` inside the allocation.
    Mpirun,
}

impl Launcher {
    /// As `DTRAIN_LAUNCHER` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Srun => "srun",
            Self::Mpirun => "mpirun",
        }
    }
}
