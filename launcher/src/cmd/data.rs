//! `dtrain data`.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use dtrain_data::synth::{self, Confounder, ImageReport, ImageSetKind, RecordingSetKind};
use dtrain_front::cli::{Confounder as Variant, DataAction, Generator};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;

/// Makes recordings or images, converts images, or looks at them.
pub fn run(action: DataAction, printer: &Printer) -> Result<Exit, Failure> {
    let text = match action {
        DataAction::Make { kind: Generator::ConfoundedMnist, out, seed, scale, variant, from } => {
            confounded(variant.unwrap_or(Variant::Dots08), from, out, (seed, scale))?
        }
        DataAction::Make { kind, out, seed, scale, variant, from } => {
            of_confounded_only([("--variant", variant.is_some()), ("--from", from.is_some())])?;
            make(kind, out, seed, scale)?
        }
        DataAction::Convert { source, out } => {
            described(&synth::convert_to_vimh(&source, &out).map_err(TrainError::from)?)
        }
        DataAction::Inspect(args) => return crate::inspect::run(&args, printer),
    };
    printer.say(&text);
    Ok(Exit::Done)
}

/// Options that say something of confounded digits alone.
fn of_confounded_only(options: [(&str, bool); 2]) -> Result<(), Failure> {
    match options.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => Err(Failure::agreed(
            Exit::Usage,
            format!("`{option}` is of `dtrain data make confounded-mnist`"),
            Some("leave it out".to_owned()),
        )),
    }
}

/// Digits with a confounder, of MNIST's files or drawn.
fn confounded(
    variant: Variant,
    from: Option<PathBuf>,
    out: Option<PathBuf>,
    (seed, scale): (u64, f64),
) -> Result<String, Failure> {
    let (kind, confounder) = match variant {
        Variant::Dots08 => (ImageSetKind::Confounded08, Confounder::Dots08),
        Variant::Decoy => (ImageSetKind::ConfoundedDecoy, Confounder::Decoy),
        Variant::Dots => (ImageSetKind::ConfoundedDots, Confounder::Dots),
    };
    let out = out.unwrap_or_else(|| Path::new("data").join(kind.folder_name(scale)));
    let report = match &from {
        Some(from) if scale == 1.0 => synth::confound(confounder, from, seed, &out),
        Some(_) => {
            return Err(Failure::agreed(
                Exit::Usage,
                "`--scale` is of drawn digits, and `--from` takes all that are there".to_owned(),
                Some("leave `--scale` out".to_owned()),
            ));
        }
        None => synth::generate_images(kind, seed, scale, &out),
    };
    Ok(described(&report.map_err(TrainError::from)?))
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
        Generator::ConfoundedMnist => images(ImageSetKind::Confounded08),
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
