//! The part of each recording, as the settings of a split say.

use std::collections::BTreeSet;
use std::path::Path;

use dtrain_configs::schema::{AnomaliesConfig, DataConfig};

use super::cut::Cut;
use crate::error::DataError;
use crate::labels::{LabelColumn, Row};
use crate::part_list::{parts_of_lists, unused_lists};
use crate::split::{Part, SplitInput, split};
use crate::texts::NUM_LISTED;

/// A part for each sample, which is cut from a row, and which are anomalies, if the split has any; what is worth knowing about it goes
/// to `notes`.
///
/// # Errors
/// Settings that do not fit the data.
pub(super) fn assign<T>(
    config: &DataConfig,
    (rows, cuts): (&[(Row, T)], &[Cut]),
    columns: &[LabelColumn],
    root: &Path,
    notes: &mut Vec<String>,
) -> Result<(Vec<Part>, Vec<bool>), DataError> {
    let Some(split_config) = config.splits.get(&config.split) else { return Ok(Default::default()) };
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
    let mut of_list = parts_of_lists(split_config, &key, root, &paths, notes)?;
    let anomalies = match &split_config.anomalies {
        None => Vec::new(),
        Some(anomalies) => {
            let values = position(&anomalies.label).map(|label| of_samples(&values(rows, label), cuts));
            which_are_anomalies(anomalies, &key, &values.unwrap_or_default())?
        }
    };
    if !anomalies.is_empty() {
        of_list.resize(cuts.len(), None);
        for (of_sample, _) in of_list.iter_mut().zip(&anomalies).filter(|(_, is_one)| **is_one) {
            *of_sample = Some(Part::Test);
        }
    }
    notes.extend(unused_lists(split_config, &key, root));
    let input = SplitInput {
        key: &key,
        by: by.map_or("path", String::as_str),
        groups: &groups,
        paths: &paths,
        classes: &classes,
        of_list: &of_list,
        anomalies: &anomalies,
    };
    Ok((split(split_config, &input)?, anomalies))
}

/// Which samples are anomalies, of which a label says `values`.
///
/// # Errors
/// None is one, or all are.
fn which_are_anomalies(
    config: &AnomaliesConfig,
    key: &str,
    values: &[Option<&str>],
) -> Result<Vec<bool>, DataError> {
    let is_one =
        |value: &Option<&str>| value.is_some_and(|value| config.values.iter().any(|one| one == value));
    let which: Vec<bool> = values.iter().map(is_one).collect();
    let problem = match (which.contains(&true), which.contains(&false)) {
        (true, true) => return Ok(which),
        (false, _) => {
            format!("no recording has one of `values` = {:?} as its `{}`", config.values, config.label)
        }
        (true, false) => "every recording is an anomaly, and there is nothing to learn from".into(),
    };
    let known: BTreeSet<&str> = values.iter().copied().flatten().collect();
    let known = known.into_iter().take(NUM_LISTED).map(str::to_owned).collect();
    Err(DataError::Anomalies { key: key.to_owned(), problem, known })
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
