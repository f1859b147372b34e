//! `dtrain resume`.

use std::path::PathBuf;

use clap::Args;

/// What can be typed after `dtrain resume`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mpirun -n 2 dtrain resume runs/supcon_birdsong/2026-11-21_10-00-00

To start a new run from the weights of another one, use `init_from=RUN` with `dtrain train`.")]
pub struct ResumeArgs {
    /// Run directory
    pub run: PathBuf,
}
