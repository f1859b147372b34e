//! `dtrain resume`.

use dtrain_configs::RunConfig;
use dtrain_trainer::run::{Extent, RunDir};

use super::{Failure, train};
use crate::cli::ResumeArgs;
use crate::exit::Exit;
use crate::ui::Printer;

/// Goes on with the settings that the run was started with.
pub fn run(args: &ResumeArgs, printer: &Printer) -> Result<Exit, Failure> {
    train::launch(stored_for_resuming(args)?, Vec::new(), Extent::Full, printer)
}

/// The settings that the run was started with, which lives where it is now.
pub fn stored_for_resuming(args: &ResumeArgs) -> Result<RunConfig, Failure> {
    let run_dir = RunDir::new(&args.run);
    if !run_dir.holds_a_run() {
        let message = format!("`{}` is not a run directory: it has no config.yaml", args.run.display());
        let hint = "give the folder that the run printed, such as `runs/<experiment>/<date_time>`".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let mut config = dtrain_configs::load(&run_dir.config())?;
    config.run.dir = Some(args.run.clone());
    config.run.resume = dtrain_configs::schema::ResumeMode::Auto;
    Ok(config)
}
