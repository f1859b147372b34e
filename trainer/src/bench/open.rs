//! Opening a set of images: its headers, its length, and the first and last sample of each part.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use dtrain_data::DataError;
use dtrain_data::images::{FormatError, ImageFolder, ImageSet};
use serde::Serialize;

use super::median;
use super::process::{memory, reset_peak};
use crate::error::TrainError;

/// What opening a set costs.
#[derive(Debug, Clone, Serialize)]
pub struct OpenFigures {
    /// Median seconds from the folder's name to the first and last sample of each part, pixels and labels.
    pub open_s: f64,
    /// Longest.
    pub longest_s: f64,
    /// Seconds of the first time, with files that may not have been read before.
    pub first_s: f64,
    /// Times that the set was opened.
    pub rounds: u32,
    /// Memory that the process had more at its peak than before the first time, pages of mapped files included.
    pub memory_bytes: u64,
    /// Samples over all parts.
    pub samples: usize,
    /// Bytes of the files of samples.
    pub file_bytes: u64,
    /// Name of the format.
    pub format: &'static str,
}

/// Opens the set in `root` over and over.
///
/// # Errors
/// As [`ImageFolder::open`], and the first and last samples must be readable.
pub fn open(root: &Path, rounds: u32) -> Result<OpenFigures, TrainError> {
    reset_peak();
    let before = memory("VmRSS:");
    let (mut folder, mut secs) = opened(root)?;
    let first_s = secs;
    let mut all = vec![secs];
    for _ in 1..rounds {
        drop(folder);
        (folder, secs) = opened(root)?;
        all.push(secs);
    }
    let sets = || folder.parts().map(|(_, set)| set);
    let sizes = sets().flat_map(ImageSet::files).filter_map(|path| fs_err::metadata(path).ok());
    Ok(OpenFigures {
        longest_s: all.iter().copied().fold(first_s, f64::max),
        open_s: median(&mut all),
        first_s,
        rounds: rounds.max(1),
        memory_bytes: memory("VmHWM:").saturating_sub(before),
        samples: sets().map(ImageSet::num_samples).sum(),
        file_bytes: sizes.map(|found| found.len()).sum(),
        format: folder.format.name(),
    })
}

/// An open set whose ends have been read, and the seconds that it took.
fn opened(root: &Path) -> Result<(ImageFolder, f64), TrainError> {
    let begin = Instant::now();
    let folder = ImageFolder::open(root).map_err(DataError::from)?;
    for (_, set) in folder.parts() {
        black_box(ends(set).map_err(DataError::from)?);
    }
    Ok((folder, begin.elapsed().as_secs_f64()))
}

/// Pixels and labels of the first and the last sample.
fn ends(set: &ImageSet) -> Result<(Vec<u8>, Vec<u32>), FormatError> {
    let (mut pixels, mut labels) = (vec![0; set.shape().num_bytes()], vec![0; set.heads().len()]);
    for index in [0, set.num_samples().saturating_sub(1)] {
        set.pixels(index, &mut pixels)?;
        set.labels(index, &mut labels)?;
    }
    Ok((pixels, labels))
}
