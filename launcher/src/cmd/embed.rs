//! `dtrain embed`.

use dtrain_front::cli::{EmbedArgs, Part};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::run::open_probed;

use super::{Failure, Weights};
use crate::context::with_ranks;
use crate::logging;

/// Writes embeddings with ids and labels.
pub fn run(args: &EmbedArgs, printer: &Printer) -> Result<Exit, Failure> {
    let weights = Weights::choose(&args.checkpoint, args.best, &args.overrides, &args.config)?;
    logging::install(printer.rank());
    let comm = weights.config.comm.clone();
    let part = match args.part {
        Part::All => None,
        Part::Train => Some("train"),
        Part::Val => Some("val"),
        Part::Test => Some("test"),
    };
    with_ranks(printer, &comm, |ranks| {
        let probed = open_probed(weights.config.clone(), &weights.origins, ranks, &weights.path)?;
        let written = probed.embed_to(part, &args.out)?;
        let which = weights.describe(probed.step);
        printer.say(&format!("{which}; {written} embeddings written to {}", args.out.display()));
        Ok(Exit::Done)
    })
}
