//! `dtrain data`.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use dtrain_data::synth::{self, ImageReport, ImageSetKind, RecordingSetKind};
use dtrain_front::cli::{DataAction, Generator};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;

/// Makes recordings or images, converts images, or looks at them.
pub fn run(action: DataAction, printer: &Printer) -> Result<Exit, Failure> {
    let text = match action {
        DataAction::Make { kind, out, seed, scale } => make(kind, out, seed, scale)?,
        DataAction::Convert { source, out } => {
            described(&synth::convert_to_vimh(&source, &out).map_err(TrainError::from)?)
        }
        DataAction::Inspect(args) => return crate::inspect::run(&args, printer),
    };
    printer.say(&text);
    Ok(Exit::Done)
}

fn make(kind: Generator, out: Option<PathBuf>, seed: u64, scale: f64) -> Result<String, Failure> {
    let out = |name: &str| out.clone().unwrap_or_else(|| Path::new("data").join(name));
    let recordings = |kind: RecordingSetKind, name: &str| {
        let report = synth::generate(kind, seed, scale, &out(name)).map_err(TrainError::from)?;
        Ok(format!(
            "{} recordings, {:.0} s of sound, in {}{}",
            report.num_recordings,
            report.duration_secs,
            report.root.display(),
            there_already(report.reused)
        ))
    };
    let images = |kind: ImageSetKind| {
        let out = out(&kind.folder_name(scale));
        Ok(described(&synth::generate_images(kind, seed, scale, &out).map_err(TrainError::from)?))
    };
    match kind {
        Generator::Birdsong => recordings(RecordingSetKind::Birdsong, "birdsong"),
        Generator::SpokenDigits => recordings(RecordingSetKind::SpokenDigits, "spoken-digits"),
        Generator::EnvironmentalSounds => {
            recordings(RecordingSetKind::EnvironmentalSounds, "environmental-sounds")
        }
        Generator::MachineSounds => recordings(RecordingSetKind::MachineSounds, "machine-sounds"),
        Generator::Digits => images(ImageSetKind::Digits),
        Generator::Vimh => images(ImageSetKind::Vimh),
        Generator::Cifar10 => images(ImageSetKind::Cifar10),
        Generator::Cifar100mh => images(ImageSetKind::Cifar100mh),
        Generator::Images => images(ImageSetKind::Images),
    }
}

fn described(report: &ImageReport) -> String {
    let ImageReport { root, num_train, num_test, reused } = report;
    format!(
        "{num_train} images to train on and {num_test} to test on, in {}{}",
        root.display(),
        there_already(*reused)
    )
}

fn there_already(reused: bool) -> &'static str {
    if reused { " (there already)" } else { "" }
}
