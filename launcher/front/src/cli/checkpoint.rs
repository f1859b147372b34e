//! `dtrain checkpoint`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Subcommand;

/// What can be typed after `dtrain checkpoint`.
#[derive(Debug, Subcommand)]
pub enum CheckpointAction {
    /// All checkpoints of a run, on both tiers: step, size, which one a resume takes, which is the best
    Ls {
        /// Run directory.
        run: PathBuf,
        /// Print JSON to stdout
        #[arg(long)]
        json: bool,
    },
    /// Read every file and compare it with its checksum; exit code 1: something is damaged
    #[command(after_help = "\
Examples:
  dtrain checkpoint verify runs/first
  dtrain checkpoint verify runs/first/checkpoints/step-00001200 --json")]
    Verify {
        /// Run directory (all of its checkpoints) or checkpoint folder.
        #[arg(value_name = "RUN|CHECKPOINT")]
        path: PathBuf,
        /// Print JSON to stdout
        #[arg(long)]
        json: bool,
    },
    /// Delete old checkpoints; the best one and the newest valid one stay
    #[command(after_help = "\
Example:
  dtrain checkpoint prune runs/first --keep-last 1 --dry-run")]
    Prune {
        /// Run directory.
        run: PathBuf,
        /// Newest valid checkpoints that stay
        #[arg(long, value_name = "N")]
        keep_last: NonZeroUsize,
        /// Say what would be deleted, and delete nothing
        #[arg(long)]
        dry_run: bool,
        /// Print JSON to stdout
        #[arg(long)]
        json: bool,
    },
}
