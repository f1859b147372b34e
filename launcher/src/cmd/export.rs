//! `dtrain export`.

use dtrain_configs::schema::{Encoder, PythonLibrary};
use dtrain_configs::shell_word;
use dtrain_front::cli::{EncoderName, ExportArgs, ExportPartName, LibraryName, WeightFormatName};
use dtrain_front::{Exit, Printer};
use dtrain_trainer::run::{ExportPart, ExportRequest, WeightFormat, export};

use super::{Failure, Wanted, Weights};

/// Writes weights for other programs; only rank 0 of a world does.
pub fn run(args: &ExportArgs, printer: &Printer) -> Result<Exit, Failure> {
    if !printer.speaks() {
        return Ok(Exit::Done);
    }
    let weights =
        Weights::choose(&args.checkpoint, Wanted::best_or_newest(args.best), &args.overrides, &args.config)?;
    let request = ExportRequest {
        part: match args.part {
            ExportPartName::Backbone => ExportPart::Backbone,
            ExportPartName::All => ExportPart::All,
        },
        encoder: args.encoder.map(|encoder| match encoder {
            EncoderName::Online => Encoder::Online,
            EncoderName::Teacher => Encoder::Teacher,
        }),
        format: match args.format() {
            WeightFormatName::Safetensors => WeightFormat::Safetensors,
            WeightFormatName::Pth => WeightFormat::Pth,
        },
        names: args.names.map(|names| match names {
            LibraryName::Torchvision => PythonLibrary::Torchvision,
            LibraryName::Timm => PythonLibrary::Timm,
        }),
        out: &args.out,
        command: command(std::env::args().skip(1)),
        trained_by: trained_by(&weights),
    };
    let exported = export(&weights.path, &weights.config, &request)?;
    printer.say(&format!(
        "{}; {} tensors written to {}, what they are to {}",
        weights.describe(exported.step),
        exported.num_tensors,
        args.out.display(),
        exported.card.display()
    ));
    match exported.python.is_empty() {
        false => printer.say(&format!("in Python:\n  {}", exported.python.join("\n  "))),
        true => printer.say("no library has this network as it is: names are dtrain's own"),
    }
    Ok(Exit::Done)
}

fn command(words: impl Iterator<Item = String>) -> String {
    let words = words.map(|word| shell_word(&word));
    std::iter::once("dtrain".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// The command of the run, as its folder keeps it.
fn trained_by(weights: &Weights) -> Option<String> {
    let text = std::fs::read_to_string(weights.run_dir.overrides()).ok()?;
    Some(command(text.lines().filter(|line| !line.is_empty()).map(str::to_owned)))
}
