//! `dtrain compare`.

use std::path::PathBuf;

use clap::Args;

/// What can be typed after `dtrain compare`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain compare runs/a runs/b runs/c
  dtrain compare runs/supcon_fsdd --metric test/linear_top1 --metric val/loss
  dtrain compare runs/supcon_fsdd --csv > runs.csv

Each line is a run, or all runs that differ by the seed alone: then numbers are mean \u{b1} standard deviation (n - 1). \
Columns are the settings that differ, and metrics of the last and of the best weights. Runs that have not ended, or have seen \
other data than the first, are left out and named.")]
pub struct CompareArgs {
    /// Run directories, or folders that hold some
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
    /// Metric to show, such as `test/acc`; may be given several times [default: what the runs are judged by, and the
    /// usual ones]
    #[arg(long = "metric", value_name = "NAME")]
    pub metrics: Vec<String>,
    /// Comma-separated values with all digits, to stdout
    #[arg(long, conflicts_with = "md")]
    pub csv: bool,
    /// A Markdown table, to stdout
    #[arg(long)]
    pub md: bool,
}
