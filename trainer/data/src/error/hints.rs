//! The next step after each error.

use dtrain_configs::{choice_hint, closest};

use super::DataError;
use crate::sniff::FileKind;
use crate::texts::{NUM_LISTED, quoted, setting, shortened};

impl DataError {
    /// The next step, where one is known.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::RootMissing { nearly: Some(nearly), .. } => {
                format!("`{}` is there: {}", nearly.display(), setting("data.root", &nearly.to_string_lossy()))
            }
            Self::RootNotFolder { packed: Some(command), .. } => {
                format!("unpack it, and give the folder: {command}")
            }
            Self::RootMissing { .. } | Self::RootNotFolder { .. } => {
                "point `data.root=` to the folder with the data, or leave it out to use generated data".into()
            }
            Self::NoRecordings { packed: Some(command), .. } => {
                format!("unpack the archive that is there: {command}")
            }
            Self::NoRecordings { advice: Some(advice), .. } => (*advice).into(),
            Self::NoRecordings { .. } => "check `data.root=`; folders that begin with a dot are skipped".into(),
            Self::TableMissing { nearby, .. } => match nearby.first() {
                None => "`data.labels.csv=` is relative to `data.root`".into(),
                Some(first) => format!(
                    "there are {}: {}",
                    shortened(nearby.iter().take(NUM_LISTED), nearby.len()),
                    setting("data.labels.csv", first)
                ),
            },
            Self::NoTable { kind: FileKind::Zip, .. } => "a spreadsheet has to be saved as CSV first".into(),
            Self::NoTable { kind, .. } => kind.advice("CSV"),
            Self::Table { .. } => "`data.labels.csv` needs a header line and the same number of columns in each line, \
                                   in UTF-8, separated by commas, tabs, semicolons or `|`"
                .into(),
            Self::TableTooLarge { .. } => "check `data.labels.csv=`".into(),
            Self::NoFileColumn { guess: Some(guess), .. } => setting("data.labels.csv_file_column", guess),
            Self::NoFileColumn { .. } => "name the column with `data.labels.csv_file_column=`".into(),
            Self::ListedFilesMissing { found: Some(found), .. } => found.clone(),
            Self::ListedFilesMissing { .. } => "paths in the table are relative to the folder of the table, or to \
                                                `data.root`, or to `data.labels.csv_folder=` below that; remove the rows \
                                                or restore the files"
                .into(),
            Self::ListedTwice { .. } => "keep one row for each recording, or for each part of it where `data.labels.begin` names a \
                                         column; several labels of one are columns"
                .into(),
            Self::Cut(error) => error.hint(),
            Self::DuplicateLabel { .. } => "give each label its own name".into(),
            Self::Pattern { .. } | Self::NoNamedGroups { .. } => {
                r"each named group is a label: `(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.wav$`".into()
            }
            Self::Unmatched { .. } => "the pattern is tried on the path below `data.root`, with `/` between folders; \
                                       fix the pattern or move these files away"
                .into(),
            Self::SeveralImageSets { .. } => {
                "give the folder with the files of one set; docs/formats.md lists the formats".into()
            }
            Self::UnknownLabel { key, labels, .. } if labels.is_empty() => {
                format!("define labels with `data.labels.source=`, or choose another `{key}=`")
            }
            Self::UnknownLabel { key, label, labels } => match closest(label, labels.iter().map(String::as_str)) {
                Some(label) => format!("did you mean `{label}`?"),
                None => format!("choose one of these for `{key}=`"),
            },
            Self::LabelMapLength { of, .. } => format!("give one class for each class of `{of}`, in their order"),
            Self::NoTargetValues { table: Some(table), .. } | Self::EmptyClass { table: Some(table), .. } => table.clone(),
            Self::NoTargetValues { label, .. } => format!(
                "give `{label}` values (for labels from folders: a folder for each class), choose another label with \
                 `data.target=`, or train without labels: `method=simclr 'data.labels.folders=[]'`"
            ),
            Self::EmptyClass { .. } => "remove the class or restore its recordings".into(),
            Self::TooManyBadFiles { max_bad_files, advice, .. } => {
                let advice = advice.as_deref().unwrap_or("restore or remove them");
                format!("{advice}; or raise `data.max_bad_files=` (now {max_bad_files})")
            }
            Self::TooManyRecordings { .. } => "split the data set".into(),
            Self::UnknownSplit { .. } => "choose one of these for `data.split=`".into(),
            Self::UnknownSplitValue { key, .. } => format!("correct `{key}`"),
            Self::LeftOutMissing { .. } => "folders are named relative to `data.root`, with `/` between them".into(),
            Self::PartList { instead: Some(instead), .. } => instead.clone(),
            Self::PartList { .. } => "the file is relative to `data.root`, and has a path relative to `data.root` on \
                                      each line, in UTF-8"
                .into(),
            Self::PartListsOverlap { .. } => "keep each recording in one of the two".into(),
            Self::SplitOverlap { key, .. } => format!("keep it in one of `{key}.test` and `{key}.val`"),
            Self::NotNumbered { label, .. } => {
                format!("leave `{label}` out of `data.labels.numbered`, or let `data.labels.pattern` match its number only")
            }
            Self::Anomalies { known, .. } => format!("the label has {}", quoted(known)),
            Self::SubsetFraction { key, .. } => format!("`{key}.subset_fraction=0.2` keeps a fifth of each class"),
            Self::SplitFraction { key, .. } => format!("for example `{key}.test_fraction=0.2`"),
            Self::EmptyTrain { split, .. } => {
                format!("leave some values out of `data.splits.{split}.test` and `.val`")
            }
            Self::AllHeldOut { .. } => "`data.images.val_fraction=0.1`".into(),
            Self::BatchLargerThanData { num_samples, .. } => format!("set `trainer.batch_size={num_samples}` or less"),
            Self::EmptyPool { .. } => "its samples may all be held out: choose other `values` in `data.pools`, or another split".into(),
            Self::NoMasks { .. } => "masks of `train-images-idx3-ubyte` are in `train-masks-idx3-ubyte`, one of the size of its image \
                                     for each; without corrections: `data.corrections=null`"
                .into(),
            Self::UnknownClass { value, classes, .. } => choice_hint(value, classes.iter().map(String::as_str)),
            Self::FewMasks { found: 0, .. } => "choose other classes with `data.corrections.values=`".into(),
            Self::FewMasks { found, .. } => {
                format!("`data.corrections.size={found}` or less, or other classes with `data.corrections.values=`")
            }
            Self::PoolsOverlap { .. } => "a sample has a place in one pool only: choose `values` of `data.pools` that differ".into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_closed_door() {
        let hint = |kind: std::io::ErrorKind| DataError::from(std::io::Error::from(kind)).hint();
        assert!(hint(std::io::ErrorKind::StorageFull).is_some_and(|h| h.contains("space")));
        assert!(hint(std::io::ErrorKind::PermissionDenied).is_some_and(|h| h.contains("permissions")));
        assert_eq!(hint(std::io::ErrorKind::Other), None);
    }
}
