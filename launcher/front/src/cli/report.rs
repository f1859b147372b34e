//! What can be typed after `dtrain report`.

use std::path::PathBuf;

use clap::Args;

/// `dtrain report`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain report sweeps/lr
  dtrain report sweeps/lr --metric test/acc --where optimizer.lr=1e-3
  dtrain report sweeps/lr --pareto perf/samples_per_s
  dtrain report sweeps/lr --csv > lr.csv

Settings that differ by the seed alone are one line: mean \u{b1} standard deviation (n - 1). The effect of a setting is the mean \
difference between trials that are alike but for it, with its 95 % interval (Student's t over pairs; no correction for looking \
at many). Trials that have not run to their end are left out. Runs that are no sweep: `dtrain compare`.")]
pub struct ReportArgs {
    /// Folder of the sweep
    pub dir: PathBuf,
    /// Metric to compare by [default: that of the sweep]
    #[arg(long, value_name = "METRIC")]
    pub metric: Option<String>,
    /// Only trials with this value of a setting that varies; may be given several times
    #[arg(long = "where", value_name = "KEY=VALUE")]
    pub filters: Vec<String>,
    /// Only trials with this tag; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Settings that nothing beats in both the metric and this one
    #[arg(long, value_name = "METRIC")]
    pub pareto: Option<String>,
    /// All settings, not only the best ones
    #[arg(long)]
    pub all: bool,
    /// Every trial with all metrics and digits as comma-separated values, to stdout
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Settings, effects and trials, to stdout
    #[arg(long)]
    pub json: bool,
}
