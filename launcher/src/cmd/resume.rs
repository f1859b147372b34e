//! `dtrain resume`.

use dtrain_front::cli::ResumeArgs;
use dtrain_front::{Exit, Printer, stored_for_resuming};
use dtrain_trainer::run::Extent;

use super::{Failure, train};

/// Goes on with the settings that the run was started with, but for those that are typed.
pub fn run(args: &ResumeArgs, printer: &Printer) -> Result<Exit, Failure> {
    let (config, origins) = stored_for_resuming(args)?;
    train::launch(config, origins, args.overrides.clone(), Extent::Full, printer)
}
