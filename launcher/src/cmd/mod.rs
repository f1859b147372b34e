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

use dtrain_front::cli::{Cli, Verb};
use dtrain_front::{Exit, Printer};

pub use weights::{Wanted, Weights};

use crate::failure::Failure;
use crate::ui::listen;

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
        | Verb::Report(_)
        | Verb::Sweep(_)
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
