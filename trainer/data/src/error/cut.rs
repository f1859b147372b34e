//! What can be wrong with samples that are cut from recordings.

use std::path::PathBuf;

use dtrain_configs::closest;
use thiserror::Error;

use crate::texts::quoted;

/// Rows that are no part of their file, and offsets that are no time.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CutError {
    /// A column that the table does not have.
    #[error("table `{}` has no column `{column}`, which `{key}` names; it has {}", path.display(), quoted(columns))]
    NoColumn {
        /// The table.
        path: PathBuf,
        /// Dotted key.
        key: &'static str,
        /// Its value.
        column: String,
        /// Columns of the table.
        columns: Vec<String>,
    },
    /// A cell that is no number of seconds.
    #[error("table `{}` says `{value}` in column `{column}` of line {line}, which is no number of seconds", path.display())]
    NoSeconds {
        /// The table.
        path: PathBuf,
        /// The column.
        column: String,
        /// The line.
        line: u64,
        /// The cell.
        value: String,
    },
    /// A row that ends before it begins.
    #[error(
        "table `{}` has a sample of `{file}` that begins at {begin_secs} s and ends at {end_secs} s, in line {line}",
        path.display()
    )]
    EndsBeforeBegin {
        /// The table.
        path: PathBuf,
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Where it begins.
        begin_secs: f64,
        /// Where it ends.
        end_secs: f64,
    },
    /// A row that lies after its file.
    #[error(
        "a sample of `{file}` begins at {begin_secs} s (line {line} of the table), but the file is {length_secs:.3} s long"
    )]
    BeginsBeyondEnd {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// Where it begins.
        begin_secs: f64,
        /// Length of the file.
        length_secs: f64,
    },
    /// A value of `data.offset` that is no time.
    #[error("`data.offset` = `{label}` is `{value}` of `{file}`, which is no number of seconds")]
    Offset {
        /// The label.
        label: String,
        /// Its value.
        value: String,
        /// A file that has it.
        file: String,
    },
}

impl CutError {
    /// The next step.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::NoColumn { key, column, columns, .. } => match closest(column, columns.iter().map(String::as_str)) {
                Some(column) => format!("did you mean `{column}`?"),
                None => format!("name the column with seconds with `{key}=`"),
            },
            Self::NoSeconds { column, .. } => format!(
                "`{column}` must hold seconds from the beginning of the file, such as `12.5`, or nothing; minutes and clock times \
                 have to be converted"
            ),
            Self::EndsBeforeBegin { .. } => {
                "correct the row, or `data.labels.begin=` and `data.labels.end=`, if they name the wrong columns".into()
            }
            Self::BeginsBeyondEnd { .. } => {
                "restore the whole file, or remove the row; seconds are counted from the beginning of each file".into()
            }
            Self::Offset { .. } => "the label must be a number of seconds of at least 0, such as `12.5`".into(),
        }
    }
}
