//! The part of each recording, as the settings of a split say.

use std::path::Path;

use dtrain_configs::schema::DataConfig;

use super::cut::Cut;
use crate::error::DataError;
use crate::labels::{LabelColumn, Row};
use crate::part_list::{parts_of_lists, unused_lists};
use crate::split::{Part, SplitInput, split};

/// A part for each sample, which is cut from a row; what is worth knowing about it goes to `notes`.
///
/// # Errors
/// Settings that do not fit the data.
pub(super) fn assign<T>(
    config: &DataConfig,
    (rows, cuts): (&[(Row, T)], &[Cut]),
    columns: &[LabelColumn],
    root: &Path,
    notes: &mut Vec<String>,
) -> Result<Vec<Part>, DataError> {
    let Some(split_config) = config.splits.get(&config.split) else { return Ok(Vec::new()) };
    let key = format!("data.splits.{}", config.split);
    let position = |label: &String| columns.iter().position(|column| column.name == *label);
    let by = split_config.by.as_ref().or(config.recording.as_ref());
    let path = |cut: &Cut| rows.get(cut.row).map_or("", |(row, _)| row.relative.as_str());
    let paths: Vec<&str> = cuts.iter().map(path).collect();
    let groups = match by.and_then(position) {
        Some(label) => of_samples(&values(rows, label), cuts),
        None => paths.iter().copied().map(Some).collect(),
    };
    let classes = match position(&config.target).and_then(|at| columns.get(at)) {
        Some(column) => column.of_sample.clone(),
        None => vec![None; cuts.len()],
    };
    let of_list = parts_of_lists(split_config, &key, root, &paths, notes)?;
    notes.extend(unused_lists(split_config, &key, root));
    let input = SplitInput {
        key: &key,
        by: by.map_or("path", String::as_str),
        groups: &groups,
        paths: &paths,
        classes: &classes,
        of_list: &of_list,
    };
    split(split_config, &input)
}

/// The samples of a part.
pub(super) fn ids_where(parts: &[Part], part: Part) -> Vec<u32> {
    parts.iter().zip(0u32..).filter(|(of_sample, _)| **of_sample == part).map(|(_, id)| id).collect()
}

/// What holds of the row of each sample.
pub(super) fn of_samples<T: Copy>(of_rows: &[Option<T>], cuts: &[Cut]) -> Vec<Option<T>> {
    cuts.iter().map(|cut| of_rows.get(cut.row).copied().flatten()).collect()
}

/// What `rows` say of a label.
pub(super) fn values<T>(rows: &[(Row, T)], label: usize) -> Vec<Option<&str>> {
    rows.iter().map(|(row, _)| row.values.get(label).and_then(Option::as_deref)).collect()
}
