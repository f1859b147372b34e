//! One file per verb of the worker.

mod bench;
mod checkpoint;
mod data;
mod embed;
mod eval;
mod export;
mod infer;
mod resume;
mod train;
mod verify;
mod verify_device;
mod verify_resume;
mod weights;

use std::ops::Deref;

use dtrain_configs::ConfigErrors;
use dtrain_front::cli::{Cli, Verb};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;

pub use weights::Weights;

use crate::exit::of_error;
use crate::ui::listen;

/// Why a verb ended without success: what both programs say, made of the errors that this one alone knows.
#[derive(Debug)]
pub struct Failure(dtrain_front::Failure);

impl Failure {
    /// A failure that every rank meets alike.
    pub fn agreed(exit: Exit, message: impl std::fmt::Display, hint: Option<String>) -> Self {
        Self(dtrain_front::Failure::agreed(exit, message, hint))
    }
}

impl Deref for Failure {
    type Target = dtrain_front::Failure;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<dtrain_front::Failure> for Failure {
    fn from(failure: dtrain_front::Failure) -> Self {
        Self(failure)
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Self(errors.into())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        Self(dtrain_front::Failure {
            message: error.to_string(),
            hint: error.hint(),
            exit: of_error(error.class()),
            agreed: error.is_agreed(),
        })
    }
}

/// Does what was asked.
pub fn run(cli: Cli, printer: &Printer) -> Result<Exit, Failure> {
    listen(printer);
    match cli.verb {
        Verb::Train(args) => train::run(args, printer),
        Verb::Launch(args) => crate::launch::run(&args, printer),
        Verb::CountGpus => {
            crate::launch::print_num_gpus(printer);
            Ok(Exit::Done)
        }
        Verb::Resume(args) => resume::run(&args, printer),
        Verb::Eval(args) => eval::run(&args, printer),
        Verb::Embed(args) => embed::run(&args, printer),
        Verb::Infer(args) => infer::run(&args, printer),
        Verb::Export(args) => export::run(&args, printer),
        Verb::Data { action } => data::run(action, printer),
        Verb::Checkpoint { action } => checkpoint::run(&action, printer),
        Verb::Verify { what } => verify::run(what, printer),
        Verb::Bench { what } => bench::run(what, printer),
        Verb::Stop(_)
        | Verb::Compare(_)
        | Verb::Slurm { .. }
        | Verb::Ls(_)
        | Verb::Show(_)
        | Verb::Help(_)
        | Verb::Completions { .. } => {
            let hint = "start `dtrain` with these words".to_owned();
            Err(Failure::agreed(Exit::Usage, "`dtrain` does this by itself", Some(hint)))
        }
    }
}
