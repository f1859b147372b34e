//! What can be wrong with a file of images, and the next step.

use std::io;
use std::path::{Path, PathBuf};

use super::shape::{ImpossibleShape, MAX_IMAGE_BYTES, StatedShape};
use crate::pickle::PickleProblem;
use crate::sniff::FileKind;

/// What was found instead of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instead {
    /// What there is, as a sentence.
    pub what: String,
    /// The next step.
    pub hint: String,
}

/// A file or folder of images that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{}`: {problem}", path.display())]
pub struct FormatError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: FormatProblem,
}

/// What is wrong with a file of images. Offsets are bytes from the beginning of the file; of a `.gz`, after inflating.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FormatProblem {
    /// The operating system refused.
    #[error("cannot be used: {0}")]
    Io(String),
    /// The bytes are those of another kind of file.
    #[error("it is {}", .0.describe())]
    Foreign(FileKind),
    /// A file that was changed while it was read.
    #[error("{}", lost(*mapped_bytes, *num_bytes))]
    Lost {
        /// Its length when it was opened.
        mapped_bytes: u64,
        /// Its length now.
        num_bytes: u64,
    },
    /// Nothing, or something else, where a folder should be.
    #[error("there is no folder of this name")]
    NoFolder,
    /// A folder without a file that it needs.
    #[error("found none of {looked_for}{}", instead.as_ref().map_or(String::new(), |it| format!("; {}", it.what)))]
    NotFound {
        /// Names of files.
        looked_for: String,
        /// What is there instead.
        instead: Option<Instead>,
    },
    /// Something else than the format has there.
    #[error("at byte {offset}: expected {expected}, found {found}")]
    Unexpected {
        /// Where.
        offset: u64,
        /// What the format has there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// The file ends too early.
    #[error("truncated: expected {expected_bytes} bytes for {what} at byte {offset}, found {found_bytes}")]
    Truncated {
        /// Where the part begins.
        offset: u64,
        /// What it is.
        what: String,
        /// Its length.
        expected_bytes: u64,
        /// Bytes that are left.
        found_bytes: u64,
    },
    /// The file goes on after its end.
    #[error("expected the end of the file at byte {offset}, found {extra_bytes} more bytes")]
    Trailing {
        /// Where the data end.
        offset: u64,
        /// Bytes that follow; at least so many where a `.gz` is not inflated to its end.
        extra_bytes: u64,
    },
    /// No samples.
    #[error("the file has no samples")]
    Empty,
    /// A size that no image has.
    #[error(
        "images of {height}x{width}x{channels}: expected sides above 0 and at most {MAX_IMAGE_BYTES} bytes an image"
    )]
    Shape {
        /// Rows.
        height: u64,
        /// Columns.
        width: u64,
        /// Planes.
        channels: u64,
    },
    /// Sources that contradict each other.
    #[error(
        "the sources disagree on the shape of an image: the folder's name says {folder}, {json_name} says {json}, {file_name} says {file}"
    )]
    ShapesDisagree {
        /// The folder's name.
        folder: Box<StatedShape>,
        /// Name of the metadata file.
        json_name: String,
        /// The metadata.
        json: Box<StatedShape>,
        /// Name of the file with the samples.
        file_name: String,
        /// The file with the samples.
        file: Box<StatedShape>,
    },
    /// No source has the shape.
    #[error(
        "no source states the shape of an image: neither the folder's name nor the metadata nor the file"
    )]
    ShapeUnknown,
    /// Two files that should have the same number of samples.
    #[error("holds {found} {what}, but `{}` holds {expected} images", other.display())]
    Counts {
        /// What is counted.
        what: String,
        /// How many there are.
        found: u64,
        /// The file with the images.
        other: PathBuf,
        /// How many that holds.
        expected: u64,
    },
    /// A pickle that would call something else than the format needs.
    #[error(
        "at byte {offset}: the pickle asks for `{name}`; only `numpy.ndarray`, `numpy.dtype` and numpy's `_reconstruct` are allowed"
    )]
    Global {
        /// Where.
        offset: u64,
        /// Module and name, shortened.
        name: String,
    },
    /// A pickle of a later protocol or with things that no data set needs.
    #[error("at byte {offset}: the pickle uses opcode {opcode:#04x}, which no data set of this kind needs")]
    Opcode {
        /// Where.
        offset: u64,
        /// The opcode.
        opcode: u8,
    },
    /// A pickle that would blow up.
    #[error("at byte {offset}: the pickle builds more {what} than {limit}, which its size does not justify")]
    Excessive {
        /// Where.
        offset: u64,
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A key with another value than the format has.
    #[error("key `{key}`: expected {expected}, found {found}")]
    Key {
        /// The key.
        key: String,
        /// What the format has.
        expected: String,
        /// What is there.
        found: String,
    },
    /// JSON that is none.
    #[error("cannot be parsed: {0}")]
    Json(String),
    /// A sample of another shape or other heads than the first.
    #[error("sample {sample} at byte {offset} differs from sample 0: expected {expected}, found {found}")]
    SampleDiffers {
        /// Which, from 0 in this file.
        sample: u64,
        /// Where it begins.
        offset: u64,
        /// What sample 0 has.
        expected: String,
        /// What this one has.
        found: String,
    },
    /// A label that the head does not have.
    #[error(
        "sample {sample} at byte {offset}: label {value} of head `{head}` is out of range, it has {num_classes} classes"
    )]
    Label {
        /// Which, from 0 in this file.
        sample: u64,
        /// Where its label stands.
        offset: u64,
        /// Name of the head.
        head: String,
        /// The label.
        value: u64,
        /// Classes of the head.
        num_classes: usize,
    },
    /// A sample that does not exist.
    #[error("has no sample {index}: it holds {num_samples}")]
    NoSuchSample {
        /// What was asked for.
        index: usize,
        /// How many there are.
        num_samples: usize,
    },
}

impl FormatError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let hint = match &self.problem {
            FormatProblem::Io(_) | FormatProblem::NoSuchSample { .. } => return None,
            FormatProblem::Foreign(kind) => kind.advice("binary"),
            FormatProblem::Lost { .. } => "restore it, and leave files alone while a run reads them".into(),
            FormatProblem::NoFolder => "give the folder that holds the files of the set".into(),
            FormatProblem::NotFound { instead: Some(instead), .. } => instead.hint.clone(),
            FormatProblem::NotFound { .. } => "give the folder that holds these files, as `data.root=` where a run is to use it".into(),
            FormatProblem::Global { .. } => {
                "it could run any program, so it is not loaded; write the set again with the format's own program".into()
            }
            FormatProblem::Opcode { .. } => {
                "write it with `pickle.dump(data, file, protocol=4)`, with arrays of numpy, lists, integers and texts".into()
            }
            FormatProblem::ShapesDisagree { .. } => {
                "rename the folder or fix the metadata, whichever is wrong; the file's own numbers are what it was written with".into()
            }
            FormatProblem::ShapeUnknown => "state `height`, `width` and `channels` in the metadata".into(),
            FormatProblem::Key { key, .. } => format!("fix `{key}`, or write the set again"),
            FormatProblem::Label { head, value, .. } => self.hint_for_label(head, *value),
            FormatProblem::Json(_) => "correct the file where the message points to; it is JSON".into(),
            _ => "restore the file from its source".into(),
        };
        Some(hint)
    }
}

fn lost(mapped_bytes: u64, num_bytes: u64) -> String {
    if num_bytes < mapped_bytes {
        return format!("was shortened while it was in use: it had {mapped_bytes} bytes, now {num_bytes}");
    }
    "cannot be read any more: its disk or server does not answer".into()
}

impl FormatError {
    /// Where a format states the number of classes, if it does.
    fn hint_for_label(&self, head: &str, value: u64) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        if name.contains("idx1") {
            let classes = value + 1;
            return format!(
                "fix the label, or state the classes in a file `heads.json` beside it: \
                 `{{\"{head}\": {{\"num_classes\": {classes}}}}}`"
            );
        }
        if name.ends_with(".bin") {
            return "restore the file from its source; CIFAR has no other classes".into();
        }
        format!("fix the label, or state the true number of classes of `{head}` in the metadata")
    }
}

impl From<ImpossibleShape> for FormatProblem {
    fn from(ImpossibleShape { height, width, channels }: ImpossibleShape) -> Self {
        Self::Shape { height, width, channels }
    }
}

impl FormatProblem {
    /// With the file that it is about.
    pub(crate) fn of(self, path: &Path) -> FormatError {
        FormatError { path: path.to_path_buf(), problem: self }
    }

    /// What a sentence about a byte range needs.
    pub(super) fn truncated(
        offset: u64,
        what: impl Into<String>,
        expected_bytes: u64,
        found_bytes: u64,
    ) -> Self {
        Self::Truncated { offset, what: what.into(), expected_bytes, found_bytes }
    }

    /// Something else than the format has.
    pub(super) fn unexpected(offset: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { offset, expected: expected.into(), found: found.into() }
    }

    /// A wrong value of a key.
    pub(crate) fn key(key: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Key { key: key.into(), expected: expected.into(), found: found.into() }
    }
}

impl From<PickleProblem> for FormatProblem {
    fn from(problem: PickleProblem) -> Self {
        match problem {
            PickleProblem::Unexpected { offset, expected, found } => {
                Self::Unexpected { offset, expected, found }
            }
            PickleProblem::Truncated { offset, what, expected_bytes, found_bytes } => {
                Self::Truncated { offset, what, expected_bytes, found_bytes }
            }
            PickleProblem::Global { offset, name } => Self::Global { offset, name },
            PickleProblem::Opcode { offset, opcode } => Self::Opcode { offset, opcode },
            PickleProblem::Excessive { offset, what, limit } => Self::Excessive { offset, what, limit },
        }
    }
}

impl From<io::Error> for FormatProblem {
    fn from(error: io::Error) -> Self {
        // fs-err's messages name the file, as the error around this one does.
        Self::Io(match error.kind() {
            io::ErrorKind::NotFound => "it does not exist".into(),
            io::ErrorKind::PermissionDenied => "permission denied".into(),
            _ => error.to_string(),
        })
    }
}
