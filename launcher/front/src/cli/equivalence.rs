//! `dtrain verify equivalence`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain verify equivalence`.
#[derive(Debug, Args)]
pub struct EquivalenceArgs {
    /// Settings, as for `dtrain train`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Numbers of ranks to compare [default: 1,2,3,4]; not under mpirun
    #[arg(long, value_name = "N,N,...", value_delimiter = ',')]
    pub ranks: Option<Vec<usize>>,
    /// Samples of a global batch [default: 16, or `trainer.batch_size` where that is smaller]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Optimizer steps
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: u32,
    /// Write all numbers there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}
