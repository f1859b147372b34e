//! `dtrain embed`.

use std::path::PathBuf;

use clap::Args;

use super::ConfigDir;

/// What can be typed after `dtrain embed`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain embed runs/first --part test --out embeddings.safetensors
  dtrain embed runs/first --best --out best.safetensors

The file holds `embeddings` [n, D] (f32), `ids` [n] and one `label.<name>` [n] per label (i64; -1 without label);
names of files and classes are in its metadata.")]
pub struct EmbedArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `data.root=...`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The run's best checkpoint by `checkpoint.monitor` instead of the newest
    #[arg(long)]
    pub best: bool,
    /// Which samples: train, val, test, a part that the data bring under a name of its own, or all
    #[arg(long, value_name = "PART", default_value = ALL_PARTS)]
    pub part: String,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

/// Stands for every sample where a part is asked for.
pub const ALL_PARTS: &str = "all";
