//! `dtrain eval`.

use std::path::PathBuf;

use clap::Args;

/// What can be typed after `dtrain eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  mpirun -n 2 dtrain eval runs/first eval.knn.k=50 --json")]
pub struct EvalArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `eval.knn.k=50` or `data.root=...`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the metrics as JSON to stdout
    #[arg(long)]
    pub json: bool,
}
