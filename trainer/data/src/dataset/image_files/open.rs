//! Opens a data set of image files: listed with their labels, looked at, unreadable ones left out, split into parts.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::Xxh3Default;

use super::super::assign::{assign, ids_where, values};
use super::super::by_file::number_recordings;
use super::super::checks::{check_classes, check_folders, check_names, check_num_bad};
use super::super::cut::Cut;
use super::super::recordings::{add_mapped, is_kept};
use super::super::warnings::of_parts;
use super::super::{Dataset, SkippedFile};
use super::headers::{Header, MOST_HEADERS, headers};
use super::names::Names;
use super::source::ImageFiles;
use crate::error::DataError;
use crate::image_files::ImageFileError;
use crate::labels::{LabelColumn, Listing, Row, list};
use crate::scan::{Family, check_root};
use crate::split::Part;

/// What is read of the files, and of those that were looked at their headers.
pub(super) type Readable = Vec<(Row, Option<Header>)>;

/// Opens the image files below `root`.
///
/// # Errors
/// As [`Dataset::open`].
pub(in crate::dataset) fn open(config: &DataConfig, root: &Path) -> Result<Dataset, DataError> {
    check_root(root)?;
    let root = std::path::absolute(root)?;
    let listing = list(&config.labels, &root, Family::Images)?;
    check_names(config, &listing.labels)?;
    check_folders(config, &listing, (&root, Family::Images))?;
    let Listing { labels, rows, unprintable, mut notes, .. } = listing;
    if u32::try_from(rows.len()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: rows.len() });
    }
    let headers = headers(&rows);
    let (readable, unreadable) = separate(rows, headers);
    let skipped: Vec<SkippedFile> = unreadable
        .iter()
        .map(skipped_file)
        .chain(unprintable.into_iter().map(SkippedFile::unprintable))
        .collect();
    check_num_bad(&skipped, (readable.len(), Family::Images), config.max_bad_files)?;

    let mut columns: Vec<LabelColumn> = labels
        .into_iter()
        .enumerate()
        .map(|(at, name)| LabelColumn::new(name, &values(&readable, at)))
        .collect();
    add_mapped(config, &mut columns)?;
    if let Some(target) = columns.iter().position(|column| column.name == config.target)
        && let Some(column) = columns.get(target)
    {
        check_classes(column, &values(&unreadable, target), (&root, Family::Images))?;
        notes.extend(one_class(column));
    }
    let whole: Vec<Cut> = (0..readable.len()).map(|row| Cut { row, frames: None }).collect();
    let (parts, anomalies) = assign(config, (&readable, &whole), &columns, &root, &mut notes)?;
    notes.extend(small(&readable, config));
    let fingerprint = fingerprint(&readable, &columns);
    let recording = columns.iter().find(|column| config.recording.as_ref() == Some(&column.name));
    let files: Vec<u32> = (0u32..).take(readable.len()).collect();
    let recordings = number_recordings(recording, &files);
    let (labels, set_aside) = columns.into_iter().partition(|column| is_kept(config, &column.name));
    let names: Names = readable.iter().map(|(row, _)| row.relative.as_str()).collect();
    let source = Arc::new(ImageFiles { root: root.clone(), names, channels: config.images.channels });
    let ids_of = |part| ids_where(&parts, part);
    let mut dataset = Dataset {
        name: config.name.clone(),
        root,
        train: ids_of(Part::Train),
        val: ids_of(Part::Val),
        test: ids_of(Part::Test),
        begins: Vec::new(),
        own_parts: Vec::new(),
        anomalies,
        source,
        labels,
        set_aside,
        recordings,
        skipped,
        warnings: Vec::new(),
        fingerprint,
    };
    if dataset.train.is_empty() {
        let num_samples = dataset.num_samples();
        return Err(DataError::EmptyTrain { split: config.split.clone(), num_samples });
    }
    dataset.warnings = [of_parts(&dataset, config, Family::Images), notes].concat();
    Ok(dataset)
}

pub(super) fn separate(
    rows: Vec<Row>,
    headers: Vec<Result<Option<Header>, ImageFileError>>,
) -> (Readable, Vec<(Row, ImageFileError)>) {
    let (mut readable, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    for (row, header) in rows.into_iter().zip(headers) {
        match header {
            Ok(header) => readable.push((row, header)),
            Err(error) => unreadable.push((row, error)),
        }
    }
    (readable, unreadable)
}

pub(super) fn skipped_file((row, error): &(Row, ImageFileError)) -> SkippedFile {
    SkippedFile {
        path: row.relative.clone(),
        reason: error.problem.to_string(),
        advice: error.problem.advice(),
    }
}

fn one_class(target: &LabelColumn) -> Option<String> {
    let [class] = target.classes.as_slice() else { return None };
    Some(format!(
        "the target `{}` has one class, `{class}`, so there is nothing to tell apart; `data.labels.folders` says which folder \
         of a path is the class, such as `[part, class]` below `train/` and `val/`",
        target.name
    ))
}

/// Images that have to be enlarged.
fn small(rows: &Readable, config: &DataConfig) -> Option<String> {
    let size = config.images.size?;
    let shorter = |header: &Header| header.size[0].min(header.size[1]) as usize;
    let sides: Vec<usize> = rows.iter().filter_map(|(_, header)| Some(shorter(header.as_ref()?))).collect();
    let num_small = sides.iter().filter(|side| **side < size).count();
    let median = {
        let mut sorted = sides.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or(size)
    };
    (2 * num_small > sides.len()).then(|| {
        format!(
            "{num_small} of {} images have a side below `data.images.size` = {size} and are enlarged; consider \
             `data.images.size={median}`",
            match sides.len() < rows.len() {
                true => format!("{} images that were looked at ({MOST_HEADERS} at most)", sides.len()),
                false => sides.len().to_string(),
            }
        )
    })
}

/// Names, labels, and the sizes of the files that were looked at. Each text is preceded by its length, so that no two data sets
/// write the same bytes.
fn fingerprint(rows: &Readable, columns: &[LabelColumn]) -> u64 {
    fn text(hash: &mut Xxh3Default, text: &str) {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let mut hash = Xxh3Default::new();
    for column in columns {
        text(&mut hash, &column.name);
    }
    for (row, header) in rows {
        text(&mut hash, &row.relative);
        hash.update(&header.map_or(0, |header| header.num_bytes).to_le_bytes());
        for value in &row.values {
            hash.update(&[u8::from(value.is_some())]);
            text(&mut hash, value.as_deref().unwrap_or_default());
        }
    }
    hash.digest()
}
