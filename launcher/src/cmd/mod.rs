//! One file per verb.

mod bench;
mod checkpoint;
mod data;
mod embed;
mod eval;
mod listing;
mod resume;
mod slurm;
mod stop;
mod train;
mod verify;
mod verify_device;
mod verify_resume;

pub use resume::stored_for_resuming;
pub use train::composed_for_training;

use dtrain_configs::ConfigErrors;
use dtrain_trainer::TrainError;

use crate::cli::{Cli, Verb};
use crate::exit::Exit;
use crate::ui::Printer;

/// Why a verb ended without success.
#[derive(Debug)]
pub struct Failure {
    /// What, in words.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
    /// Exit code.
    pub exit: Exit,
    /// Whether all ranks know and end together.
    pub agreed: bool,
}

impl Failure {
    /// A failure that every rank meets alike.
    pub fn agreed(exit: Exit, message: impl std::fmt::Display, hint: Option<String>) -> Self {
        Self { message: message.to_string(), hint, exit, agreed: true }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Failure::agreed(Exit::Usage, errors, None)
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
            exit: error.class().into(),
            agreed: error.is_agreed(),
        }
    }
}

/// Does what was asked.
pub fn run(cli: Cli, printer: &Printer) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Train(args) => train::run(args, printer),
        Verb::Launch(args) => crate::launch::run(&args, printer),
        Verb::CountGpus => {
            crate::launch::print_num_gpus(printer);
            Ok(Exit::Done)
        }
        Verb::Resume(args) => resume::run(&args, printer),
        Verb::Stop(args) => stop::run(&args, printer),
        Verb::Eval(args) => eval::run(&args, printer),
        Verb::Embed(args) => embed::run(&args, printer),
        Verb::Data { action } => data::run(action, printer),
        Verb::Checkpoint { action } => checkpoint::run(&action, printer),
        Verb::Verify { what } => verify::run(what, printer),
        Verb::Bench { what } => bench::run(what, printer),
        Verb::Slurm { what } => slurm::run(what, printer),
        Verb::Ls(config) => listing::experiments(&config, printer),
        Verb::Show { name, config } => listing::show(&name, &config, printer),
        Verb::Completions { shell } => listing::completions(shell, printer),
    }
}
