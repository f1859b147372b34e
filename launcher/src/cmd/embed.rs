//! `dtrain embed`.

use dtrain_trainer::run::{open_checkpoint, open_probed};

use super::Failure;
use crate::cli::{EmbedArgs, Part};
use crate::context::with_ranks;
use crate::exit::Exit;
use crate::logging;
use crate::ui::Printer;

/// Writes embeddings with ids and labels.
pub fn run(args: &EmbedArgs, printer: &Printer) -> Result<Exit, Failure> {
    let (run_dir, folder) = open_checkpoint(&args.checkpoint)?;
    let config = dtrain_configs::load_with_overrides(&run_dir.config(), &args.overrides)?;
    if let Some(folder) =
        args.out.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        let message = format!("`--out {}`: there is no folder `{}`", args.out.display(), folder.display());
        return Err(Failure::agreed(Exit::Usage, message, Some("make the folder first".into())));
    }
    logging::install(printer.rank());
    let comm = config.comm.clone();
    let part = match args.part {
        Part::All => None,
        Part::Train => Some("train"),
        Part::Val => Some("val"),
        Part::Test => Some("test"),
    };
    with_ranks(printer, &comm, |ranks| {
        let path = folder.as_deref().unwrap_or(run_dir.path());
        let written = open_probed(config, ranks, path)?.embed_to(part, &args.out)?;
        printer.say(&format!("{written} embeddings written to {}", args.out.display()));
        Ok(Exit::Done)
    })
}
