//! `dtrain eval`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  mpirun -n 2 dtrain eval runs/first eval.knn.k=50 --json
  dtrain eval runs/first --best
  dtrain eval runs/first --best checkpoint.monitor=val/loss    the best by another metric that was measured")]
pub struct EvalArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `eval.knn.k=50` or `data.root=...`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The run's best checkpoint by `checkpoint.monitor` instead of the newest
    #[arg(long)]
    pub best: bool,
    /// Print the metrics as JSON to stdout
    #[arg(long)]
    pub json: bool,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}
