//! `dtrain stop`.

use std::path::PathBuf;

use clap::Args;

/// What can be typed after `dtrain stop`.
#[derive(Debug, Args)]
#[command(after_help = "\
The run hears of it within a second, on whatever machine it runs, finishes the step, evaluation or checkpoint at hand,
saves and ends with 130, or with 75 after --requeue.

Example:
  dtrain stop runs/supcon_birdsong/2026-11-21_10-00-00")]
pub struct StopArgs {
    /// Run directory
    pub run: PathBuf,
    /// Let whoever started the run start it again
    #[arg(long)]
    pub requeue: bool,
}
