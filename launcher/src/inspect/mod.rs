//! `dtrain data inspect`: what a set of images holds, as text, JSON and pictures; or what a network would see of any data.

mod document;
mod histograms;
mod samples;
mod text;
mod views;

use std::path::Path;

use dtrain_data::DataError;
use dtrain_data::images::inspect::LabelCounts;
use dtrain_data::images::{FormatError, Head, ImageFolder, ImageSet, Split};
use dtrain_front::cli::InspectArgs;
use dtrain_front::{Exit, Printer};
use dtrain_trainer::TrainError;
use dtrain_trainer::track::number::short_number;
use dtrain_trainer::track::{Picture, TrackError};

use crate::failure::Failure;

/// A set whose labels have been read.
struct Found<'a> {
    folder: &'a ImageFolder,
    parts: Vec<Part<'a>>,
}

/// One part of it.
struct Part<'a> {
    split: Split,
    set: &'a ImageSet,
    counts: LabelCounts,
}

/// Looks at a set; only rank 0 of a world does.
pub fn run(args: &InspectArgs, printer: &Printer) -> Result<Exit, Failure> {
    if !printer.speaks() {
        return Ok(Exit::Done);
    }
    if let Some(dir) = &args.views {
        return views::run(args, dir, printer);
    }
    if let Some(path) = &args.json {
        check_folder_of(path)?;
    }
    let asked = args.folder().map_err(|(message, hint)| Failure::agreed(Exit::Usage, message, Some(hint)))?;
    let folder = ImageFolder::open_to_inspect(asked).map_err(failed)?;
    let parts = folder.parts().map(|(split, set)| Part { split, set, counts: LabelCounts::of(set) });
    let found = Found { folder: &folder, parts: parts.collect() };
    printer.data(&text::report(&found));
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", document::document(&found));
        fs_err::write(path, text).map_err(TrainError::from)?;
    }
    if let Some(dir) = &args.pictures {
        fs_err::create_dir_all(dir).map_err(TrainError::from)?;
        match samples::picture(&found, args.samples as usize, args.seed)? {
            Some(picture) => write(dir, "samples.png", &picture)?,
            None => printer.warn("no good sample to draw: `samples.png` is not written"),
        }
        match histograms::picture(&found).map_err(TrainError::from)? {
            Some(picture) => write(dir, "histograms.png", &picture)?,
            None => printer.warn("no labels to count: `histograms.png` is not written"),
        }
        printer.say(&format!("pictures are in `{}`", dir.display()));
    }
    match bad_samples(&found) {
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

/// A mistake in an option is found before all labels are read.
fn check_folder_of(path: &Path) -> Result<(), Failure> {
    match path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        None => Ok(()),
        Some(folder) => {
            let message = format!("`--json {}`: there is no folder `{}`", path.display(), folder.display());
            Err(Failure::agreed(Exit::Usage, message, Some("make the folder first".into())))
        }
    }
}

fn failed(error: FormatError) -> Failure {
    TrainError::from(DataError::from(error)).into()
}

fn write(dir: &Path, name: &str, picture: &Picture) -> Result<(), Failure> {
    let written = fs_err::write(dir.join(name), &picture.png).map_err(TrackError::from);
    Ok(written.map_err(TrainError::from)?)
}

/// The first bad samples of each part, if there are any.
fn bad_samples(found: &Found<'_>) -> Option<Failure> {
    let first = found.parts.iter().find_map(|part| part.counts.bad.first())?;
    let sum =
        |count: fn(&LabelCounts) -> usize| found.parts.iter().map(|part| count(&part.counts)).sum::<usize>();
    let (num_bad, num_samples) = (sum(|counts| counts.num_bad), sum(|counts| counts.num_samples));
    let named = found.parts.iter().flat_map(|part| &part.counts.bad);
    let mut lines: Vec<String> = named.map(|error| error.to_string()).collect();
    if num_bad > lines.len() {
        lines.push(format!("and {} more", num_bad - lines.len()));
    }
    let folder = found.folder.root.display();
    let message = format!("{num_bad} of {num_samples} samples of `{folder}` are bad\n\n{}", lines.join("\n"));
    Some(Failure::agreed(Exit::Usage, message, first.hint()))
}

/// What people call a class: its name, its value, or its number.
fn class_text(head: &Head, class: usize) -> String {
    let named = head.class_names.get(class).cloned();
    named.or_else(|| head.class_value(class).map(short_number)).unwrap_or_else(|| class.to_string())
}

/// What [`class_text`] gives of a head's classes.
fn kind_of_classes(head: &Head) -> &'static str {
    if head.class_names.is_empty() && head.class_value(0).is_some() { "value" } else { "class" }
}
