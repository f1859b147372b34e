//! What must hold of a data set before anything is learned from it.

use std::path::Path;

use dtrain_configs::schema::{DataConfig, LabelSource};

use super::SkippedFile;
use super::warnings::{described, frequent_advice};
use crate::error::DataError;
use crate::labels::{LabelColumn, Listing, settings_for_a_table};
use crate::scan::Family;
use crate::texts::NUM_LISTED;

/// # Errors
/// A key names a label or split that does not exist.
pub(super) fn check_names(config: &DataConfig, labels: &[String]) -> Result<(), DataError> {
    let Some(split) = config.splits.get(&config.split) else {
        return Err(DataError::UnknownSplit {
            split: config.split.clone(),
            splits: config.splits.keys().cloned().collect(),
        });
    };
    let unlabelled = config.labels.source == LabelSource::Folder && labels.is_empty();
    let named = [
        ("data.target".to_owned(), Some(&config.target).filter(|_| !unlabelled)),
        ("data.recording".to_owned(), config.recording.as_ref()),
        ("data.offset".to_owned(), config.offset.as_ref()),
        (format!("data.splits.{}.by", config.split), split.by.as_ref()),
        (
            format!("data.splits.{}.anomalies.label", config.split),
            split.anomalies.as_ref().map(|anomalies| &anomalies.label),
        ),
    ];
    let columns = config.labels.columns.iter().flatten();
    let chosen = columns.map(|column| ("data.labels.columns".to_owned(), Some(column)));
    let numbered =
        config.labels.numbered.iter().map(|label| ("data.labels.numbered".to_owned(), Some(label)));
    for (key, label) in named.into_iter().chain(chosen).chain(numbered) {
        if let Some(label) = label.filter(|label| !labels.contains(label)) {
            return Err(DataError::UnknownLabel { key, label: label.clone(), labels: labels.to_vec() });
        }
    }
    Ok(())
}

/// # Errors
/// A folder of a class has no files.
pub(super) fn check_folders(
    config: &DataConfig,
    listing: &Listing,
    (root, family): (&Path, Family),
) -> Result<(), DataError> {
    match listing.empty_classes.iter().find(|(label, _)| *label == config.target) {
        Some((label, class)) => Err(DataError::EmptyClass {
            label: label.clone(),
            class: class.clone(),
            table: settings_for_a_table(root, family),
        }),
        None => Ok(()),
    }
}

/// # Errors
/// More recordings are unreadable than allowed, or all.
pub(super) fn check_num_bad(
    skipped: &[SkippedFile],
    (num_readable, family): (usize, Family),
    max_bad_files: usize,
) -> Result<(), DataError> {
    if skipped.len() <= max_bad_files && num_readable > 0 {
        return Ok(());
    }
    Err(DataError::TooManyBadFiles {
        noun: family.noun(),
        num_bad: skipped.len(),
        num_files: skipped.len() + num_readable,
        max_bad_files,
        first: skipped.iter().take(NUM_LISTED).map(described).collect(),
        advice: frequent_advice(skipped),
    })
}

/// # Errors
/// A class that has unreadable files only.
pub(super) fn check_classes(
    column: &LabelColumn,
    values_lost: &[Option<&str>],
    (root, family): (&Path, Family),
) -> Result<(), DataError> {
    let lost = values_lost.iter().flatten().find(|lost| !column.classes.iter().any(|class| class == *lost));
    match lost {
        Some(class) => {
            let (label, class) = (column.name.clone(), (*class).to_owned());
            Err(DataError::EmptyClass { label, class, table: None })
        }
        None if column.classes.is_empty() => Err(DataError::NoTargetValues {
            label: column.name.clone(),
            table: settings_for_a_table(root, family),
        }),
        None => Ok(()),
    }
}
