//! What can be typed.

mod bench;
mod checkpoint;
mod data;
mod embed;
mod equivalence;
mod eval;
mod resume;
mod resume_proof;
mod sizes;
mod stop;
mod train;
mod verify;
mod verify_device;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::launch::LaunchArgs;
use crate::slurm::args::SlurmTarget;
pub use bench::{BenchSettings, BenchTarget};
pub use checkpoint::CheckpointAction;
pub use data::{DataAction, Generator, InspectArgs};
pub use embed::{EmbedArgs, Part};
pub use equivalence::EquivalenceArgs;
pub use eval::EvalArgs;
pub use resume::ResumeArgs;
pub use resume_proof::ResumeProofArgs;
pub use stop::StopArgs;
pub use train::TrainArgs;
pub use verify::VerifyTarget;
pub use verify_device::{DeviceName, PrecisionName, VerifyDeviceArgs};

/// Distributed multi-GPU trainer for representation learning on sound and images.
#[derive(Debug, Parser)]
#[command(name = "dtrain", version, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "\
Examples:
  dtrain                                            train the default experiment on generated bird song
  dtrain launch -n 2 experiment=simclr_birdsong     the same batch over two processes
  dtrain experiment=supcon_fsdd data.root=fsdd/recordings trainer.max_epochs=5
  dtrain ls                                         the experiments

`dtrain train` is the default verb. Log lines follow RUST_LOG (default: info).")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Train a model (the default verb)
    Train(TrainArgs),
    /// Start one process per GPU, watch them, and start them again when they die
    Launch(LaunchArgs),
    /// Go on with a run exactly where it stopped
    Resume(ResumeArgs),
    /// Ask a run to save and end, and wait until it has
    Stop(StopArgs),
    /// Probe a checkpoint: kNN, linear, classifier
    Eval(EvalArgs),
    /// Write the embeddings of a checkpoint to a safetensors file
    Embed(EmbedArgs),
    /// Make data, or look at them
    Data {
        /// What to do with data.
        #[command(subcommand)]
        action: DataAction,
    },
    /// Look at the checkpoints of a run
    Checkpoint {
        /// What to do with them.
        #[command(subcommand)]
        action: CheckpointAction,
    },
    /// Prove a promise of this program on this machine
    Verify {
        /// What to prove.
        #[command(subcommand)]
        what: VerifyTarget,
    },
    /// Measure this machine
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: BenchTarget,
    },
    /// Write or submit a SLURM job
    Slurm {
        /// What the job does.
        #[command(subcommand)]
        what: SlurmTarget,
    },
    /// List the experiments
    Ls(ConfigDir),
    /// Print the file of an experiment, or of a group as GROUP/NAME
    Show {
        /// Such as `supcon_fsdd` or `model/resnet18`.
        name: String,
        #[command(flatten)]
        config: ConfigDir,
    },
    /// Print the number of GPUs that the driver shows
    #[command(hide = true)]
    CountGpus,
    /// Print a completion script
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where else settings may live.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigDir {
    /// Folder with more YAML groups and experiments; its files come before the built-in ones
    #[arg(long, value_name = "DIR")]
    pub config_dir: Option<PathBuf>,
}

/// Puts `train` in front where no verb was typed.
pub fn with_default_verb(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let command = Cli::command();
    let is_verb = |word: &OsString| command.get_subcommands().any(|verb| word == verb.get_name());
    let is_global = |word: &OsString| ["-h", "--help", "-V", "--version"].iter().any(|flag| word == flag);
    let typed = args.get(1);
    if !typed.is_some_and(|word| is_verb(word) || is_global(word)) {
        args.insert(1.min(args.len()), "train".into());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Cli {
        Cli::try_parse_from(with_default_verb(words.iter().map(OsString::from))).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn train_is_the_default_verb() {
        for words in [vec!["dtrain"], vec!["dtrain", "seed=1"], vec!["dtrain", "--fast-dev-run=3", "seed=1"]]
        {
            assert!(matches!(parse(&words).verb, Verb::Train(_)), "{words:?}");
        }
        assert!(matches!(parse(&["dtrain", "ls"]).verb, Verb::Ls(_)));
    }
}
