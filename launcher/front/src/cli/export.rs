//! `dtrain export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ConfigDir;

/// What can be typed after `dtrain export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain export runs/first --out backbone.safetensors
  dtrain export runs/first --best --part all --out classifier.safetensors

Tensors have torchvision's names; for ResNets the lines of Python that load the file are printed. With `--part all` the
classifier of a supervised run is torchvision's `fc`; projectors and heads keep their names. Where a method has a teacher,
`eval.encoder=teacher` writes that one.")]
pub struct ExportArgs {
    /// Run directory (its newest checkpoint) or checkpoint folder
    pub checkpoint: PathBuf,
    /// Settings to change, such as `checkpoint.monitor=val/loss` for `--best`
    #[arg(value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// The run's best checkpoint by `checkpoint.monitor` instead of the newest
    #[arg(long)]
    pub best: bool,
    /// Which weights
    #[arg(long, value_enum, default_value = "backbone")]
    pub part: ExportPartName,
    /// File to write, in the safetensors format
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where else settings may live.
    #[command(flatten)]
    pub config: ConfigDir,
}

/// Parts of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportPartName {
    /// What turns a view into an embedding.
    Backbone,
    /// Classifier, projector and heads too.
    All,
}
