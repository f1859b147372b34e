//! Labels of recordings, whatever they come from.

mod csv;
mod filename;
mod folder;
mod look_around;
pub mod map;
mod spans;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dtrain_configs::schema::{LabelSource, LabelsConfig};

use crate::error::DataError;
use crate::scan::Family;

pub(super) use look_around::settings_for_a_table;

/// Largest number of a class that is its own number.
const MAX_NUMBER: u32 = 65_535;

/// One label of all samples.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelColumn {
    /// Name of the label, such as `species`.
    pub name: String,
    /// Names of the classes, sorted; in numerical order where all are numbers.
    pub classes: Vec<String>,
    /// Value of each class in the label's units, where the classes are steps of a scale; else empty.
    pub values: Vec<f64>,
    /// Position in `classes` for each sample; `None` where the sample has no such label. Empty where classes are read
    /// together with samples.
    pub of_sample: Vec<Option<u32>>,
}

impl LabelColumn {
    /// Numbers the values of one label.
    pub(super) fn new(name: String, values: &[Option<&str>]) -> Self {
        let distinct: BTreeSet<&str> = values.iter().copied().flatten().collect();
        let mut classes: Vec<&str> = distinct.into_iter().collect();
        let numbers: Option<Vec<f64>> = classes
            .iter()
            .map(|class| class.parse().ok().filter(|number: &f64| number.is_finite()))
            .collect();
        if let Some(numbers) = numbers {
            let mut numbered: Vec<(f64, &str)> = numbers.into_iter().zip(classes).collect();
            numbered.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
            classes = numbered.into_iter().map(|(_, class)| class).collect();
        }
        let index: BTreeMap<&str, u32> = classes.iter().copied().zip(0u32..).collect();
        let of_sample =
            values.iter().map(|value| value.and_then(|value| index.get(value).copied())).collect();
        let classes = classes.into_iter().map(str::to_owned).collect();
        Self { name, classes, values: Vec::new(), of_sample }
    }

    /// The label whose values are whole numbers and the numbers of their classes. Classes between them have no sample.
    ///
    /// # Errors
    /// A value that is no such number, the first one.
    pub(super) fn numbered(name: String, values: &[Option<&str>]) -> Result<Self, DataError> {
        let of_sample = values.iter().map(|value| match value {
            None => Ok(None),
            Some(value) => match value.parse::<u32>().ok().filter(|number| *number <= MAX_NUMBER) {
                Some(number) => Ok(Some(number)),
                None => Err(DataError::NotNumbered {
                    label: name.clone(),
                    value: (*value).to_owned(),
                    most: MAX_NUMBER,
                }),
            },
        });
        let of_sample: Vec<Option<u32>> = of_sample.collect::<Result<_, _>>()?;
        let num_classes = of_sample.iter().flatten().max().map_or(0, |largest| largest + 1);
        let classes = (0..num_classes).map(|number| number.to_string()).collect();
        Ok(Self { name, classes, values: Vec::new(), of_sample })
    }

    /// Name of a sample's class.
    pub fn class_name(&self, sample: u32) -> Option<&str> {
        let class = (*self.of_sample.get(sample as usize)?)?;
        self.classes.get(class as usize).map(String::as_str)
    }

    /// True where a class has hardly two samples on average: a name of samples rather than of classes.
    pub fn is_like_an_id(&self) -> bool {
        const LEAST_SAMPLES: usize = 8;
        let num_samples = self.of_sample.iter().flatten().count();
        num_samples >= LEAST_SAMPLES && 2 * self.classes.len() > num_samples
    }

    /// Samples of each class among `ids`.
    pub fn counts(&self, ids: &[u32]) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for class in ids.iter().filter_map(|&id| self.of_sample.get(id as usize).copied().flatten()) {
            if let Some(count) = counts.get_mut(class as usize) {
                *count += 1;
            }
        }
        counts
    }
}

/// Recordings with their labels, before any was opened.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names of the labels.
    pub labels: Vec<String>,
    /// One row for each recording, or several where a table has parts of it; sorted by relative path, then by time.
    pub rows: Vec<Row>,
    /// Classes that stand there without any recording, as (label, class).
    pub empty_classes: Vec<(String, String)>,
    /// Recordings that cannot be named.
    pub unprintable: Vec<String>,
    /// Things worth knowing, each with what fixes it.
    pub notes: Vec<String>,
}

/// One recording, or one part of it.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    /// Where it is.
    pub path: PathBuf,
    /// The same below the root, with `/`.
    pub relative: String,
    /// A value for each label of the listing.
    pub values: Vec<Option<String>>,
    /// The part of the file, where a table has one.
    pub span: Option<Span>,
}

/// A part of a file as a table has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    /// From the beginning of the file.
    pub begin_secs: f64,
    /// The same; `None`: the end of the file.
    pub end_secs: Option<f64>,
    /// Line of the table.
    pub line: u64,
}

/// Lists the files of a family below `root` and their labels.
///
/// # Errors
/// See the three sources.
pub(super) fn list(config: &LabelsConfig, root: &Path, family: Family) -> Result<Listing, DataError> {
    match config.source {
        LabelSource::Folder => folder::list(&config.folders, &config.leave_out, root, family),
        LabelSource::Csv => csv::list(config, root, family),
        LabelSource::Filename => filename::list(&config.pattern, &config.leave_out, root, family),
    }
}

/// The labels of a table beside which there are no other files: what fuzzers call.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn columns_of_table(table: &Path) -> Result<Vec<LabelColumn>, DataError> {
    let (root, name) = (table.parent().unwrap_or(table), table.file_name().unwrap_or_default());
    let config = LabelsConfig { csv: name.into(), csv_file_column: "file".into(), ..LabelsConfig::default() };
    let listing = csv::list(&config, root, Family::Recordings)?;
    let column = |(at, name): (usize, String)| {
        let values: Vec<Option<&str>> =
            listing.rows.iter().map(|row| row.values.get(at).and_then(Option::as_deref)).collect();
        LabelColumn::new(name, &values)
    };
    Ok(listing.labels.iter().cloned().enumerate().map(column).collect())
}

/// The first name that occurs twice.
fn first_duplicate(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers_and_words_as_words() {
        let column = LabelColumn::new("n".into(), &[Some("10"), Some("9"), None, Some("010"), Some("9")]);
        assert_eq!(column.classes, ["9", "010", "10"]);
        assert_eq!(column.of_sample, [Some(2), Some(0), None, Some(1), Some(0)]);
        let column = LabelColumn::new("n".into(), &[Some("10"), Some("9"), Some("nine")]);
        assert_eq!(column.classes, ["10", "9", "nine"]);
        let column = LabelColumn::new("n".into(), &[Some("inf"), Some("2")]);
        assert_eq!(column.classes, ["2", "inf"]);
    }

    #[test]
    fn a_numbered_label_keeps_its_numbers_and_refuses_words() {
        let values = [Some("00"), Some("06"), None, Some("2")];
        let column = LabelColumn::numbered("machine_id".into(), &values).unwrap();
        assert_eq!(column.classes, ["0", "1", "2", "3", "4", "5", "6"]);
        assert_eq!(column.of_sample, [Some(0), Some(6), None, Some(2)]);
        for value in ["a", "-1", "1.5", "65536"] {
            let error = LabelColumn::numbered("machine_id".into(), &[Some(value)]).unwrap_err();
            let expected = format!(
                "`machine_id` = `{value}` is not a whole number from 0 to 65535, as `data.labels.numbered` says"
            );
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn classes_are_counted_and_named() {
        let column = LabelColumn::new("n".into(), &[Some("a"), Some("b"), None, Some("b")]);
        assert_eq!(column.counts(&[1, 2, 3]), [0, 2]);
        assert_eq!(column.class_name(3), Some("b"));
        assert_eq!(column.class_name(2), None);
        assert_eq!(column.class_name(99), None);
    }
}
