//! `dtrain infer`.

use dtrain_front::cli::{ALL_PARTS, InferArgs};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::run::{Asked, Columns, infer, open_checkpoint};

use crate::context::with_ranks;
use crate::failure::Failure;
use crate::logging;

/// Files that could not be read are named up to this number, and counted beyond.
const MAX_NAMED: usize = 20;

/// Writes what a trained classifier predicts.
pub fn run(args: &InferArgs, printer: &Printer) -> Result<Exit, Failure> {
    let (run_dir, folder) = open_checkpoint(&args.checkpoint)?;
    let (files, settings) = args.files_and_settings();
    let (config, origins) = dtrain_configs::load_with(&run_dir.config(), &settings, &args.config.options())?;
    logging::install(printer.rank());
    let comm = config.comm.clone();
    let asked = match &args.part {
        None => Asked::Files(files),
        Some(part) => Asked::Part((part != ALL_PARTS).then(|| part.clone())),
    };
    let columns = Columns { top: args.top, probabilities: args.probabilities };
    with_ranks(printer, &comm, |ranks| {
        let path = folder.as_deref().unwrap_or(run_dir.path());
        let inferred = infer(config, &origins, ranks, path, &asked, (columns, &args.out))?;
        for file in inferred.failed.iter().take(MAX_NAMED) {
            printer.warn(&format!("left out: {file}"));
        }
        let (rows, failed) = (inferred.rows, inferred.failed.len());
        let mut text = format!("{rows} predictions written to {}", args.out.display());
        if failed > 0 {
            text.push_str(&format!("; {failed} of {} files could not be read", rows + failed));
        }
        printer.say(&text);
        Ok(if failed > 0 { Exit::Usage } else { Exit::Done })
    })
}
