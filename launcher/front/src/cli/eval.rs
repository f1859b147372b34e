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
  dtrain eval runs/first --part test --part train
  dtrain eval runs/first --audit                               what else than the class the embedding knows
  dtrain eval runs/first --best checkpoint.monitor=val/loss    the best by another metric that was measured")]
pub struct EvalArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `eval.knn.k=50` or `data.root=...`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The run's best checkpoint by `checkpoint.monitor`, whatever `eval.weights` says
    #[arg(long)]
    pub best: bool,
    /// A part to report on, in place of `eval.parts`: train, val, test, or one that the data bring under a name of its own;
    /// may be given several times
    #[arg(long = "part", value_name = "PART")]
    pub parts: Vec<String>,
    /// Ask what else than the class the embedding knows: columns of the table, levels and lengths (`eval.audit`)
    #[arg(long)]
    pub audit: bool,
    /// Draw the embeddings in two dimensions, and write them for TensorBoard's projector (`eval.pictures`)
    #[arg(long)]
    pub pictures: bool,
    /// Print the metrics as JSON to stdout
    #[arg(long)]
    pub json: bool,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}
