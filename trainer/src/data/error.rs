//! What can be wrong with recordings, labels, splits and batches, each with its next step.

use std::fmt::Display;
use std::path::PathBuf;

use thiserror::Error;

use super::images::FormatError;

/// How many names a message lists before it only counts.
pub(super) const NUM_LISTED: usize = 5;

/// A data set that cannot be opened, sampled or generated.
#[derive(Debug, Error)]
pub enum DataError {
    /// `data.root` is not there.
    #[error("folder `{}` does not exist", root.display())]
    RootMissing {
        /// As resolved from `data.root`.
        root: PathBuf,
    },
    /// `data.root` is something else than a folder.
    #[error("`{}` is not a folder", root.display())]
    RootNotFolder {
        /// As resolved from `data.root`.
        root: PathBuf,
    },
    /// The folder holds nothing that can be read.
    #[error("no recordings found in `{}`; looked for {looked_for}{other}", root.display())]
    NoRecordings {
        /// Folder that was searched.
        root: PathBuf,
        /// File endings that are read.
        looked_for: String,
        /// Other audio files that were seen, as the rest of the sentence; empty if none.
        other: String,
    },
    /// The table of labels is not there.
    #[error("table `{}` does not exist", path.display())]
    TableMissing {
        /// The table.
        path: PathBuf,
    },
    /// The table of labels cannot be parsed.
    #[error("cannot read the table `{}`: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Parser's message, with its line.
        reason: String,
    },
    /// The table is too long to be one.
    #[error("table `{}` holds {num_bytes} bytes; the limit is {limit_bytes}", path.display())]
    TableTooLarge {
        /// The table.
        path: PathBuf,
        /// Its size.
        num_bytes: u64,
        /// Largest size that is read.
        limit_bytes: u64,
    },
    /// The column with file names is not in the table.
    #[error("table `{}` has no column `{column}`; it has {}", path.display(), quoted(columns))]
    NoFileColumn {
        /// The table.
        path: PathBuf,
        /// `data.labels.csv_file_column`.
        column: String,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// The table names files that are not there.
    #[error(
        "{num_missing} of {num_rows} files listed in `{}` do not exist: {}", path.display(), shortened(first, *num_missing)
    )]
    ListedFilesMissing {
        /// The table.
        path: PathBuf,
        /// How many are missing.
        num_missing: usize,
        /// Rows of the table.
        num_rows: usize,
        /// The first ones with their lines.
        first: Vec<String>,
    },
    /// One recording has two rows.
    #[error("table `{}` lists `{file}` twice, in lines {first_line} and {second_line}", path.display())]
    ListedTwice {
        /// The table.
        path: PathBuf,
        /// The file.
        file: String,
        /// Line of the first row.
        first_line: u64,
        /// Line of the second row.
        second_line: u64,
    },
    /// Two labels of one name.
    #[error("label `{label}` is defined twice in {place}")]
    DuplicateLabel {
        /// The name.
        label: String,
        /// Key or table.
        place: String,
    },
    /// Not a regular expression.
    #[error("`data.labels.pattern` is not a regular expression: {reason}")]
    Pattern {
        /// Parser's message.
        reason: String,
    },
    /// A pattern that yields no label.
    #[error("`data.labels.pattern` = `{pattern}` has no named group, so it gives no label")]
    NoNamedGroups {
        /// The pattern.
        pattern: String,
    },
    /// Files whose names do not fit.
    #[error(
        "{num_unmatched} of {num_files} file names do not match `data.labels.pattern` = `{pattern}`: {}",
        shortened(first, *num_unmatched)
    )]
    Unmatched {
        /// The pattern.
        pattern: String,
        /// How many do not match.
        num_unmatched: usize,
        /// How many were tried.
        num_files: usize,
        /// The first ones.
        first: Vec<String>,
    },
    /// A key names a label that the data set lacks.
    #[error("`{key}` = `{label}` is not a label of this data set; it has {}", quoted(labels))]
    UnknownLabel {
        /// Dotted key.
        key: String,
        /// Its value.
        label: String,
        /// Labels that exist.
        labels: Vec<String>,
    },
    /// A map of another length than the label that it starts from.
    #[error(
        "`data.label_maps.{label}.classes` has {num_entries} entries, but `{of}` has {num_classes} classes"
    )]
    LabelMapLength {
        /// The label that follows.
        label: String,
        /// Entries of its map.
        num_entries: usize,
        /// The label that it starts from.
        of: String,
        /// Classes of that.
        num_classes: usize,
    },
    /// No recording has a value of the target.
    #[error("no recording has a value of `{label}`, the `data.target`")]
    NoTargetValues {
        /// The label.
        label: String,
    },
    /// A class that nothing can be learned of.
    #[error("class `{class}` of `{label}` is empty: it has no readable recording")]
    EmptyClass {
        /// The label.
        label: String,
        /// The class.
        class: String,
    },
    /// More unreadable recordings than allowed.
    #[error("{num_bad} of {num_files} recordings cannot be read: {}", listed(first, *num_bad))]
    TooManyBadFiles {
        /// How many are unreadable.
        num_bad: usize,
        /// How many there are.
        num_files: usize,
        /// `data.max_bad_files`.
        max_bad_files: usize,
        /// The first ones with their reasons.
        first: Vec<String>,
    },
    /// More recordings than sample ids.
    #[error("{num_files} recordings are more than the {} that a data set may hold", u32::MAX)]
    TooManyRecordings {
        /// How many there are.
        num_files: usize,
    },
    /// `data.split` names nothing.
    #[error("`data.split` = `{split}` is not one of `data.splits`; there are {}", quoted(splits))]
    UnknownSplit {
        /// The name.
        split: String,
        /// Names that exist.
        splits: Vec<String>,
    },
    /// A value that would put nothing into a part.
    #[error("`{key}` lists `{value}`, but no recording has this {by}; there are {}", shortened(known, *num_known))]
    UnknownSplitValue {
        /// Dotted key.
        key: String,
        /// The value.
        value: String,
        /// What the values are: a label, or `path`.
        by: String,
        /// The first values that exist.
        known: Vec<String>,
        /// How many exist.
        num_known: usize,
    },
    /// A value in two parts.
    #[error("`{key}.test` and `{key}.val` both list `{value}`")]
    SplitOverlap {
        /// Dotted key of the split.
        key: String,
        /// The value.
        value: String,
    },
    /// Shares that cannot be.
    #[error(
        "`{key}.test_fraction` = {test_fraction} and `{key}.val_fraction` = {val_fraction} must be at least 0, \
         with a sum below 1"
    )]
    SplitFraction {
        /// Dotted key of the split.
        key: String,
        /// Share of the test part.
        test_fraction: f64,
        /// Share of the validation part.
        val_fraction: f64,
    },
    /// Nothing left to train on.
    #[error("the train part of split `{split}` is empty: all {num_samples} recordings are in val or test")]
    EmptyTrain {
        /// Name of the split.
        split: String,
        /// Recordings in all.
        num_samples: usize,
    },
    /// A batch that no data set of this size can fill.
    #[error(
        "`trainer.batch_size` = {batch_size} is larger than the {num_samples} samples of the {part} part"
    )]
    BatchLargerThanData {
        /// Samples per batch.
        batch_size: usize,
        /// Samples to draw from.
        num_samples: usize,
        /// What is drawn from, such as `train`.
        part: String,
    },
    /// A batch that holds nothing, or no pair.
    #[error("`trainer.batch_size` = {batch_size} is too small: {reason}")]
    BatchTooSmall {
        /// Samples per batch.
        batch_size: usize,
        /// Why.
        reason: String,
    },
    /// P x K does not give the batch.
    #[error(
        "`method.samples_per_class` = {samples_per_class} does not fit `trainer.batch_size` = {batch_size} with \
         {num_classes} classes"
    )]
    SamplesPerClass {
        /// K.
        samples_per_class: usize,
        /// P x K.
        batch_size: usize,
        /// Classes with samples.
        num_classes: usize,
        /// Smallest K that fits.
        least: usize,
        /// Largest K that fits.
        most: usize,
    },
    /// Sampling by class without classes.
    #[error("a batch of P classes x K samples needs labels, but no sample of the {part} part has one")]
    NoLabelledSamples {
        /// What is drawn from.
        part: String,
    },
    /// The generator's size is not one.
    #[error("`data.generate.scale` = {scale} is out of range: it must be above 0 and at most {max}")]
    Scale {
        /// The factor.
        scale: f64,
        /// Largest factor.
        max: f64,
    },
    /// Something else stands where generated data should go.
    #[error("`{}` exists and {found}", path.display())]
    OutputExists {
        /// The folder.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// Files of images.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Reading or writing failed.
    #[error(transparent)]
    Io {
        /// With the path in its text.
        #[from]
        source: std::io::Error,
    },
}

impl DataError {
    /// The next step, where one is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::RootMissing { .. } | Self::RootNotFolder { .. } => {
                "point `data.root=` to the folder with the data, or leave it out to use generated data".into()
            }
            Self::NoRecordings { other, .. } if !other.is_empty() => {
                "convert them, for example with `ffmpeg -i IN -ac 1 OUT.wav`".into()
            }
            Self::NoRecordings { .. } => "check `data.root=`; folders that begin with a dot are skipped".into(),
            Self::TableMissing { .. } => "`data.labels.csv=` is relative to `data.root`".into(),
            Self::Table { .. } => "`data.labels.csv` needs a header line and the same number of columns in each line, \
                                   in UTF-8, separated by commas (tabs in a `.tsv`)"
                .into(),
            Self::TableTooLarge { .. } => "check `data.labels.csv=`".into(),
            Self::NoFileColumn { columns, .. } => match columns.as_slice() {
                [only] if only.contains([';', '\t']) => "separate the columns by commas".into(),
                _ => "name the column with `data.labels.csv_file_column=`".into(),
            },
            Self::ListedFilesMissing { .. } => {
                "paths in the table are relative to the folder of the table; remove the rows or restore the files".into()
            }
            Self::ListedTwice { .. } => "keep one row for each recording".into(),
            Self::DuplicateLabel { .. } => "give each label its own name".into(),
            Self::Pattern { .. } | Self::NoNamedGroups { .. } => {
                r"each named group is a label: `(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav$`".into()
            }
            Self::Unmatched { .. } => "the pattern is tried on the path below `data.root`, with `/` between folders; \
                                       mend the pattern or move these files away"
                .into(),
            Self::UnknownLabel { key, labels, .. } if labels.is_empty() => {
                format!("define labels with `data.labels.source=`, or choose another `{key}=`")
            }
            Self::UnknownLabel { key, .. } => format!("choose one of these for `{key}=`"),
            Self::LabelMapLength { of, .. } => format!("give one class for each class of `{of}`, in their order"),
            Self::NoTargetValues { label } => {
                format!("fill in `{label}`, or choose another label with `data.target=`")
            }
            Self::EmptyClass { .. } => "remove the class or restore its recordings".into(),
            Self::TooManyBadFiles { max_bad_files, .. } => {
                format!("restore or remove them, or raise `data.max_bad_files=` (now {max_bad_files})")
            }
            Self::TooManyRecordings { .. } => "split the data set".into(),
            Self::UnknownSplit { .. } => "choose one of these for `data.split=`".into(),
            Self::UnknownSplitValue { key, .. } => format!("correct `{key}`"),
            Self::SplitOverlap { key, .. } => format!("keep it in one of `{key}.test` and `{key}.val`"),
            Self::SplitFraction { key, .. } => format!("for example `{key}.test_fraction=0.2`"),
            Self::EmptyTrain { split, .. } => {
                format!("leave some values out of `data.splits.{split}.test` and `.val`")
            }
            Self::BatchLargerThanData { num_samples, .. } => format!("set `trainer.batch_size={num_samples}` or less"),
            Self::BatchTooSmall { .. } => "raise `trainer.batch_size=`".into(),
            Self::SamplesPerClass { least, most, .. } => {
                format!("set `method.samples_per_class=auto`, or a value from {least} to {most}")
            }
            Self::NoLabelledSamples { .. } => "choose another label with `data.target=`, or a method without labels \
                                               such as `method=simclr`"
                .into(),
            Self::Scale { .. } => "1 gives the generator's own size".into(),
            Self::OutputExists { path, .. } => {
                format!("choose another folder, or remove `{}` first", path.display())
            }
            Self::Format(error) => return error.hint(),
            Self::Io { source } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "free some space or choose a folder on another disk".into()
                }
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    "change the permissions or choose a folder that you may use".into()
                }
                _ => return None,
            },
        };
        Some(hint)
    }
}

/// `` `a`, `b` and `c` ``, at most twenty of them.
fn quoted(names: &[String]) -> String {
    const MAX: usize = 20;
    let quote = |name: &String| format!("`{name}`");
    match names {
        [] => "none".into(),
        [only] => quote(only),
        [first @ .., last] if names.len() <= MAX => {
            format!("{} and {}", first.iter().map(quote).collect::<Vec<_>>().join(", "), quote(last))
        }
        many => shortened(many.iter().take(MAX), many.len()),
    }
}

/// `` `a`, `b` and 7 more ``
pub(super) fn shortened<T: Display>(first: impl IntoIterator<Item = T>, total: usize) -> String {
    listed(first.into_iter().map(|name| format!("`{name}`")), total)
}

/// As [`shortened`], for texts that hold their own quotes.
pub(super) fn listed<T: Display>(first: impl IntoIterator<Item = T>, total: usize) -> String {
    let first: Vec<String> = first.into_iter().map(|text| text.to_string()).collect();
    let text = first.join(", ");
    match total.saturating_sub(first.len()) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        assert_eq!(quoted(&names[..3]), "`0`, `1` and `2`");
        assert!(quoted(&names).ends_with("`19` and 10 more"));
        assert_eq!(shortened(&names[..2], 2), "`0`, `1`");
    }

    #[test]
    fn a_full_disk_is_told_from_a_closed_door() {
        let hint = |kind: std::io::ErrorKind| DataError::from(std::io::Error::from(kind)).hint();
        assert!(hint(std::io::ErrorKind::StorageFull).is_some_and(|h| h.contains("space")));
        assert!(hint(std::io::ErrorKind::PermissionDenied).is_some_and(|h| h.contains("permissions")));
        assert_eq!(hint(std::io::ErrorKind::Other), None);
    }
}
