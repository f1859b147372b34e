//! `dtrain verify resume`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain verify resume`.
#[derive(Debug, Args)]
pub struct ResumeProofArgs {
    /// Settings, as for `dtrain train`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Optimizer steps of the run
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(2..))]
    pub steps: u64,
    /// Kills on the way
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub kills: u32,
    /// Ranks; several numbers take turns at each start, and weights are then compared within a tolerance
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub world: Vec<u32>,
    /// The same seed kills at the same shares of the remaining time, and the same ranks
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Write all that was found there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Keep the folder with both runs and what they said
    #[arg(long)]
    pub keep: bool,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}
