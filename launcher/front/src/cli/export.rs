//! `dtrain export`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ConfigDir;

/// What can be typed after `dtrain export`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  dtrain export runs/first --out backbone.safetensors
  dtrain export runs/first --names timm --out backbone.pth
  dtrain export runs/first --best --part all --out classifier.safetensors

Tensors have torchvision's names (ResNets, which are timm's too) or timm's (vision transformers), and the lines of Python that
load the file are printed; other networks have this program's names. With `--part all` the classifier of a supervised run is
the library's last layer; projectors and heads keep their names. A page beside the file (`FILE.md`) says what the weights are.")]
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
    /// Weights of the trained network or of its teacher; without it those that are evaluated (`eval.encoder`)
    #[arg(long, value_enum)]
    pub encoder: Option<EncoderName>,
    /// Form of the file; without it `.pth`, `.pt`, `.bin` and `.ckpt` are `pth`, and every other ending is `safetensors`
    #[arg(long, value_enum)]
    pub format: Option<WeightFormatName>,
    /// Library whose network takes the file; without it the first that has the network
    #[arg(long, value_enum)]
    pub names: Option<LibraryName>,
    /// File to write
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

/// The trained network and the one that follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EncoderName {
    /// The network that is trained.
    Online,
    /// The moving average of it, of methods that have one.
    Teacher,
}

/// Forms of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum WeightFormatName {
    /// Read by `safetensors.torch.load_file`.
    Safetensors,
    /// Read by `torch.load`.
    Pth,
}

/// Libraries of Python with networks of the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LibraryName {
    /// Has the ResNets.
    Torchvision,
    /// Has the ResNets and the vision transformers.
    Timm,
}

impl ExportArgs {
    /// The form of the file, by the option or the ending of its name.
    pub fn format(&self) -> WeightFormatName {
        let ending = self.out.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
        self.format.unwrap_or(match ending.as_deref() {
            Some("pth" | "pt" | "bin" | "ckpt") => WeightFormatName::Pth,
            _ => WeightFormatName::Safetensors,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Verb};

    #[test]
    fn the_form_follows_the_option_and_then_the_name() {
        for (words, expected) in [
            (&["--out", "a.safetensors"][..], WeightFormatName::Safetensors),
            (&["--out", "a"], WeightFormatName::Safetensors),
            (&["--out", "a.PTH"], WeightFormatName::Pth),
            (&["--out", "pytorch_model.bin"], WeightFormatName::Pth),
            (&["--out", "a.ckpt", "--format", "safetensors"], WeightFormatName::Safetensors),
            (&["--out", "a", "--format", "pth"], WeightFormatName::Pth),
        ] {
            let cli = Cli::try_parse_from([&["dtrain", "export", "runs/a"], words].concat()).unwrap();
            let Verb::Export(args) = cli.verb else { panic!("{words:?}") };
            assert_eq!(args.format(), expected, "{words:?}");
        }
    }
}
