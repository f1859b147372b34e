//! What can be wrong with recordings, labels, splits and batches, each with its next step.

mod cut;
mod hints;

use std::path::PathBuf;

use thiserror::Error;

pub use self::cut::CutError;
use crate::images::FormatError;
use crate::sniff::FileKind;
use crate::texts::{listed, quoted, shortened};

/// A data set that cannot be opened, sampled or generated.
#[derive(Debug, Error)]
pub enum DataError {
    /// `data.root` is not there.
    #[error("folder `{}` does not exist", root.display())]
    RootMissing {
        /// As resolved from `data.root`.
        root: PathBuf,
        /// A folder whose name differs in its form only.
        nearly: Option<PathBuf>,
    },
    /// `data.root` is something else than a folder.
    #[error("`{}` is not a folder", root.display())]
    RootNotFolder {
        /// As resolved from `data.root`.
        root: PathBuf,
        /// The command that unpacks it.
        packed: Option<String>,
    },
    /// The folder holds nothing that can be read.
    #[error("no {noun} found in `{}`; looked for {looked_for}{other}", root.display())]
    NoRecordings {
        /// Folder that was searched.
        root: PathBuf,
        /// Recordings or images.
        noun: &'static str,
        /// File endings that are read.
        looked_for: Box<str>,
        /// Other such files that were seen, as the rest of the sentence; empty if none.
        other: Box<str>,
        /// What to do about those.
        advice: Option<&'static str>,
        /// The command that unpacks an archive in it.
        packed: Option<String>,
    },
    /// The table of labels is not there.
    #[error("table `{}` does not exist", path.display())]
    TableMissing {
        /// The table.
        path: PathBuf,
        /// Tables that are there, relative to the root.
        nearby: Vec<String>,
    },
    /// The table of labels is something else.
    #[error("table `{}` is {}", path.display(), kind.describe())]
    NoTable {
        /// The file.
        path: PathBuf,
        /// What it is, by its first bytes.
        kind: FileKind,
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
        /// The one whose cells look like files.
        guess: Option<String>,
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
        /// Where they are instead, with the setting.
        found: Option<String>,
    },
    /// One recording, or one part of it, has two rows.
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
    /// Samples that cannot be cut from their recordings.
    #[error(transparent)]
    Cut(#[from] CutError),
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
    /// Several paths where images come as one set.
    #[error("{num_paths} paths were given, but images come as a set in one folder")]
    SeveralImageSets {
        /// How many.
        num_paths: usize,
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
        /// Settings for a table that lists the recordings.
        table: Option<String>,
    },
    /// A class that nothing can be learned of.
    #[error("class `{class}` of `{label}` is empty: it has no readable recording")]
    EmptyClass {
        /// The label.
        label: String,
        /// The class.
        class: String,
        /// Settings for a table that lists the recordings.
        table: Option<String>,
    },
    /// More unreadable recordings than allowed.
    #[error("{num_bad} of {num_files} {noun} cannot be read: {}", listed(first, *num_bad))]
    TooManyBadFiles {
        /// Recordings or images.
        noun: &'static str,
        /// How many are unreadable.
        num_bad: usize,
        /// How many there are.
        num_files: usize,
        /// `data.max_bad_files`.
        max_bad_files: usize,
        /// The first ones with their reasons.
        first: Vec<String>,
        /// What to do about most of them.
        advice: Option<String>,
    },
    /// More recordings than sample ids.
    #[error("{num_files} samples are more than the {} that a data set may hold", u32::MAX)]
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
    /// A folder that is to be left out and is not there.
    #[error("`data.labels.leave_out` names `{folder}`, which is no folder of `{}`", root.display())]
    LeftOutMissing {
        /// The root.
        root: PathBuf,
        /// The folder.
        folder: String,
    },
    /// A list of a part that cannot be read.
    #[error("`{key}`: `{}` {reason}", path.display())]
    PartList {
        /// Dotted key.
        key: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What is there instead, as its setting.
        instead: Option<String>,
    },
    /// A recording in the lists of two parts.
    #[error("`{key}.test_list` and `{key}.val_list` both list `{path}`")]
    PartListsOverlap {
        /// Dotted key of the split.
        key: String,
        /// The recording.
        path: String,
    },
    /// A label of numbers with a value that is none.
    #[error("`{label}` = `{value}` is not a whole number from 0 to {most}, as `data.labels.numbered` says")]
    NotNumbered {
        /// The label.
        label: String,
        /// Its value.
        value: String,
        /// Largest number.
        most: u32,
    },
    /// Anomalies of a split that are not there, or nothing else is.
    #[error("`{key}.anomalies`: {problem}")]
    Anomalies {
        /// Dotted key of the split.
        key: String,
        /// What is wrong.
        problem: String,
        /// Values that the label has.
        known: Vec<String>,
    },
    /// A share of a split that is none.
    #[error("`{key}.subset_fraction` = {fraction} must be above 0 and at most 1")]
    SubsetFraction {
        /// Dotted key of the split.
        key: String,
        /// The share.
        fraction: f64,
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
    /// All images are held out.
    #[error(
        "`data.images.val_fraction` = {fraction} holds out all {num_samples} images of the training part"
    )]
    AllHeldOut {
        /// The setting.
        fraction: f64,
        /// Images of the training part.
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
    /// A pool that nothing can be drawn from.
    #[error("no sample of the {part} part is of pool `{pool}`")]
    EmptyPool {
        /// Its name.
        pool: String,
        /// Where it was looked for.
        part: String,
    },
    /// Corrections of images that have no masks.
    #[error("`data.corrections` needs masks, and `{}` has none for its training images", path.display())]
    NoMasks {
        /// The folder.
        path: PathBuf,
    },
    /// A class that a label does not have.
    #[error("`{key}` names `{value}`, which is not a class of `{label}`")]
    UnknownClass {
        /// The setting.
        key: &'static str,
        /// What it names.
        value: String,
        /// The label.
        label: String,
        /// Its classes.
        classes: Vec<String>,
    },
    /// More corrections than there are samples to correct.
    #[error(
        "`data.corrections` takes {wanted} training samples{of}, and {found} of them have a mask that marks anything",
        of = if values.is_empty() { String::new() } else { format!(" of {}", quoted(values)) }
    )]
    FewMasks {
        /// Samples that are wanted.
        wanted: usize,
        /// Samples that there are.
        found: usize,
        /// Their classes; none: all.
        values: Vec<String>,
    },
    /// A sample that two pools have.
    #[error("samples of pool `{pool}` are of another pool too")]
    PoolsOverlap {
        /// The later one.
        pool: String,
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
