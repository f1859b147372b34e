//! `dtrain data`.

use std::path::Path;

use dtrain_configs::schema::GeneratorKind;
use dtrain_trainer::TrainError;
use dtrain_trainer::data::synth;

use super::Failure;
use crate::cli::{DataAction, Generator};
use crate::exit::Exit;
use crate::ui::Printer;

/// Makes recordings.
pub fn run(action: DataAction, printer: &Printer) -> Result<Exit, Failure> {
    let DataAction::Make { kind, out, seed, scale } = action;
    let (kind, name) = match kind {
        Generator::Birdsong => (GeneratorKind::Birdsong, "birdsong"),
        Generator::SpokenDigits => (GeneratorKind::SpokenDigits, "spoken-digits"),
    };
    let out = out.unwrap_or_else(|| Path::new("data").join(name));
    let report = synth::generate(kind, seed, scale, &out).map_err(TrainError::from)?;
    printer.say(&format!(
        "{} recordings, {:.0} s of sound, in {}{}",
        report.num_recordings,
        report.duration_secs,
        report.root.display(),
        if report.reused { " (there already)" } else { "" }
    ));
    Ok(Exit::Done)
}
