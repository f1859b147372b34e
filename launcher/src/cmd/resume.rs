//! `dtrain resume`.

use dtrain_trainer::run::{Extent, RunDir};

use super::{Failure, train};
use crate::cli::ResumeArgs;
use crate::exit::Exit;
use crate::ui::Printer;

/// Goes on with the settings that the run was started with.
pub fn run(args: &ResumeArgs, printer: &Printer) -> Result<Exit, Failure> {
    let run_dir = RunDir::new(&args.run);
    if !run_dir.holds_a_run() {
        let message = format!("`{}` is not a run directory: it has no config.yaml", args.run.display());
        let hint = "give the folder that the run printed, such as `runs/<experiment>/<date_time>`".to_owned();
        return Err(Failure::agreed(Exit::Usage, message, Some(hint)));
    }
    let mut config = dtrain_configs::load(&run_dir.config())?;
    config.run.dir = Some(args.run.clone());
    config.run.resume = dtrain_configs::schema::ResumeMode::Auto;
    train::launch(config, Vec::new(), Extent::Full, printer)
}
