//! What can be wrong with an image file, and what to do about it.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::MAX_PIXELS;

/// A file that gives no image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}`: {problem}", path.display())]
pub struct ImageFileError {
    /// The file.
    pub path: PathBuf,
    /// In which way.
    pub problem: ImageFileProblem,
}

/// Why a file gives no image.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageFileProblem {
    /// It cannot be opened or read.
    #[error("{0}")]
    Unreadable(String),
    /// Nothing is in it.
    #[error("the file is empty")]
    Empty,
    /// Its first bytes are of no image.
    #[error("{0}")]
    NoImage(String),
    /// An image of a format that is not read.
    #[error("a {0} file, which is not read")]
    OtherFormat(&'static str),
    /// Several images in one.
    #[error("an animation, which is no single image")]
    Animated,
    /// Its end is missing.
    #[error("the file is truncated")]
    Truncated,
    /// More pixels than are decoded.
    #[error("{width} x {height} pixels are more than the {MAX_PIXELS} that are decoded")]
    TooLarge {
        /// Columns that its header states.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// What the decoder does not understand.
    #[error("damaged: {0}")]
    Damaged(String),
}

impl ImageFileProblem {
    /// The error of a file.
    pub fn of(self, path: &Path) -> ImageFileError {
        ImageFileError { path: path.to_path_buf(), problem: self }
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<String> {
        let advice = match self {
            Self::OtherFormat(_) => {
                "convert them, for example with ImageMagick's `mogrify -format png FILES`"
            }
            Self::Animated => "take single images of it, for instance with ImageMagick's `convert`",
            Self::Truncated | Self::Empty | Self::Damaged(_) => "get these files again, or remove them",
            Self::TooLarge { .. } => "scale them down, or remove them",
            Self::NoImage(_) | Self::Unreadable(_) => return None,
        };
        Some(advice.to_owned())
    }
}
