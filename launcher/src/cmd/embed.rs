//! `dtrain embed`.

use dtrain_front::cli::{ALL_PARTS, EmbedArgs};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::run::open_probed;

use super::{Failure, Wanted, Weights};
use crate::context::with_ranks;
use crate::logging;

/// Writes embeddings with ids and labels.
pub fn run(args: &EmbedArgs, printer: &Printer) -> Result<Exit, Failure> {
    let weights =
        Weights::choose(&args.checkpoint, Wanted::best_or_newest(args.best), &args.overrides, &args.config)?;
    logging::install(printer.rank());
    let comm = weights.config.comm.clone();
    let part = (args.part != ALL_PARTS).then_some(args.part.as_str());
    with_ranks(printer, &comm, |ranks| {
        let probed = open_probed(weights.config.clone(), &weights.origins, ranks, &weights.path)?;
        let written = probed.embed_to(part, &args.out)?;
        let which = weights.describe(probed.step);
        printer.say(&format!("{which}; {written} embeddings written to {}", args.out.display()));
        Ok(Exit::Done)
    })
}
