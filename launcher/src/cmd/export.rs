//! `dtrain export`.

use dtrain_front::cli::{ExportArgs, ExportPartName};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::run::{ExportPart, export};

use super::{Failure, Wanted, Weights};

/// Writes weights for other programs; only rank 0 of a world does.
pub fn run(args: &ExportArgs, printer: &Printer) -> Result<Exit, Failure> {
    if !printer.speaks() {
        return Ok(Exit::Done);
    }
    let weights =
        Weights::choose(&args.checkpoint, Wanted::best_or_newest(args.best), &args.overrides, &args.config)?;
    let part = match args.part {
        ExportPartName::Backbone => ExportPart::Backbone,
        ExportPartName::All => ExportPart::All,
    };
    let exported = export(&weights.path, &weights.config, part, &args.out)?;
    printer.say(&format!(
        "{}; {} tensors written to {}",
        weights.describe(exported.step),
        exported.num_tensors,
        args.out.display()
    ));
    if !exported.python.is_empty() {
        printer.say(&format!("in Python:\n  {}", exported.python.join("\n  ")));
    }
    Ok(Exit::Done)
}
