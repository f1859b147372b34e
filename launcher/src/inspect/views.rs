//! Views as a network would see them in training, as pictures.

use std::path::Path;

use dtrain_configs::compose;
use dtrain_front::cli::InspectArgs;
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;
use dtrain_trainer::run::seen_views;

use super::write;
use crate::context::with_ranks;
use crate::failure::Failure;
use crate::logging;

/// Writes `views.png` into `dir`, and `views_1.png` where there are small views.
pub(super) fn run(args: &InspectArgs, dir: &Path, printer: &Printer) -> Result<Exit, Failure> {
    logging::install(printer.rank());
    let config = compose(&args.words, &args.config.options())?.config;
    let comm = config.comm.clone();
    with_ranks(printer, &comm, |ranks| {
        let pictures = seen_views(config, ranks, args.samples as usize)?;
        fs_err::create_dir_all(dir).map_err(TrainError::from)?;
        for (number, picture) in &pictures {
            let name = match number {
                0 => "views.png".to_owned(),
                number => format!("views_{number}.png"),
            };
            write(dir, &name, picture)?;
            printer.say(&format!("`{}`", dir.join(name).display()));
        }
        if pictures.is_empty() {
            printer.warn("no sample could be read: no picture is written");
        }
        Ok(Exit::Done)
    })
}
