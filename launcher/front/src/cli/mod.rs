//! What can be typed.

mod bench;
mod checkpoint;
mod compare;
mod config_dir;
mod data;
mod embed;
mod equivalence;
mod eval;
mod export;
mod help;
mod infer;
mod launch;
mod listing;
mod order;
mod report;
mod resume;
mod resume_proof;
mod sizes;
mod slurm;
mod stop;
mod sweep;
mod time_limit;
mod train;
mod verify;
mod verify_device;

use clap::{Parser, Subcommand};

pub use bench::{BenchSettings, BenchTarget};
pub use checkpoint::CheckpointAction;
pub use compare::CompareArgs;
pub use config_dir::ConfigDir;
pub use data::{Confounder, DataAction, Generator, InspectArgs};
pub use embed::{ALL_PARTS, EmbedArgs};
pub use equivalence::EquivalenceArgs;
pub use eval::EvalArgs;
pub use export::{EncoderName, ExportArgs, ExportPartName, LibraryName, WeightFormatName};
pub use help::{HelpArgs, Page};
pub use infer::InferArgs;
pub use launch::{LaunchArgs, NumRanks};
pub use listing::{LsArgs, ShowArgs};
pub use order::in_order;
pub use report::ReportArgs;
pub use resume::ResumeArgs;
pub use resume_proof::ResumeProofArgs;
pub use sizes::Shape;
pub use slurm::{Launcher, Resources, SlurmTarget, SlurmTrainArgs};
pub use stop::StopArgs;
pub use sweep::{Direction, LocalArgs, NewSweep, PlanArgs, SlurmArgs, SweepAction, SweepArgs};
pub use time_limit::TimeLimit;
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
  dtrain help trainer.batch_size                    what a setting means; `dtrain help` lists the sections

`dtrain train` is the default verb. Options may stand before the verb or after it. Log lines follow RUST_LOG (default: info).")]
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
    /// Write what a trained classifier predicts to a table
    Infer(InferArgs),
    /// Write the weights of a checkpoint under torchvision's names
    Export(ExportArgs),
    /// Run many trials of one plan: grids, searches, studies in stages
    Sweep(Box<SweepArgs>),
    /// What a sweep has found: best settings, what each of them changes
    Report(ReportArgs),
    /// Put runs side by side: settings that differ, metrics, mean and spread over seeds
    Compare(CompareArgs),
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
    /// List the experiments, or the files of another group
    Ls(LsArgs),
    /// Print the file of an experiment, or of a group as GROUP/NAME
    Show(ShowArgs),
    /// Print the number of GPUs that the driver shows
    #[command(hide = true)]
    CountGpus,
    /// Explain a setting, a section of settings, or a verb
    Help(HelpArgs),
    /// Print a completion script
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Cli {
        Cli::try_parse_from(in_order(words.iter().map(OsString::from))).unwrap()
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
