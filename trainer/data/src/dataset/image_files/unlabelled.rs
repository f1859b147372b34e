//! Image files that are named one by one or by their folders, without labels: what a trained network is asked about.

use std::path::PathBuf;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::Xxh3Default;

use super::super::{Dataset, SkippedFile};
use super::headers::headers;
use super::names::Names;
use super::open::{separate, skipped_file};
use super::source::ImageFiles;
use crate::error::DataError;
use crate::labels::Row;
use crate::scan::{Family, find_files};

/// Opens image files and folders of such. Unreadable ones are skipped, however many.
///
/// # Errors
/// A folder without images.
pub(in crate::dataset) fn open_unlabelled(
    config: &DataConfig,
    paths: &[PathBuf],
) -> Result<Dataset, DataError> {
    let mut named: Vec<PathBuf> = Vec::new();
    let mut skipped: Vec<SkippedFile> = Vec::new();
    for path in paths {
        if !path.is_dir() {
            named.push(path.clone());
            continue;
        }
        let tree = find_files(path, Family::Images)?;
        named.extend(tree.files.iter().map(|relative| path.join(relative)));
        skipped.extend(tree.unprintable.into_iter().map(SkippedFile::unprintable));
    }
    if u32::try_from(named.len()).is_err() {
        return Err(DataError::TooManyRecordings { num_files: named.len() });
    }
    let row = |path: PathBuf| {
        let relative = path.to_string_lossy().into_owned();
        Row { path, relative, values: Vec::new(), span: None }
    };
    let rows: Vec<Row> = named.into_iter().map(row).collect();
    let read = headers(&rows);
    let (readable, unreadable) = separate(rows, read);
    skipped.extend(unreadable.iter().map(skipped_file));
    let mut hash = Xxh3Default::new();
    for (row, header) in &readable {
        hash.update(&(row.relative.len() as u64).to_le_bytes());
        hash.update(row.relative.as_bytes());
        hash.update(&header.map_or(0, |header| header.num_bytes).to_le_bytes());
    }
    let names: Names = readable.iter().map(|(row, _)| row.relative.as_str()).collect();
    let ids: Vec<u32> = (0u32..).take(names.len()).collect();
    Ok(Dataset {
        name: config.name.clone(),
        root: PathBuf::new(),
        source: Arc::new(ImageFiles { root: PathBuf::new(), names, channels: config.images.channels }),
        labels: Vec::new(),
        recordings: ids.clone(),
        train: Vec::new(),
        val: Vec::new(),
        test: ids,
        set_aside: Vec::new(),
        begins: Vec::new(),
        own_parts: Vec::new(),
        anomalies: Vec::new(),
        skipped,
        warnings: Vec::new(),
        fingerprint: hash.digest(),
    })
}
