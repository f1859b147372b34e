//! Confusion matrices of an evaluation, as files and for TensorBoard.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{Session, Tracker};
use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::eval::{Evaluation, HeadResult};
use crate::track::{Confusion, Picture, TrackError};

/// Draws what a head took for what.
fn confusion(head: &HeadResult) -> Result<Picture, TrackError> {
    Confusion { head: &head.name, counts: &head.confusion, class_names: &head.classes }.picture()
}

/// `confusion_test_digit.png`; what a file name may not hold becomes `_`.
fn file_name(part: &str, head: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    format!("confusion_{part}_{}.png", head.chars().map(plain).collect::<String>())
}

/// Writes the confusion matrices of an evaluation into `folder`, which is made if need be, and names them.
///
/// # Errors
/// I/O errors name the file.
pub fn write_confusions(evaluation: &Evaluation, folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    if !evaluation.heads.is_empty() {
        fs::create_dir_all(folder)?;
    }
    let write = |head: &HeadResult| {
        let path = folder.join(file_name(&evaluation.part, &head.name));
        write_atomic(&path, &confusion(head)?.png)?;
        Ok(path)
    };
    evaluation.heads.iter().map(write).collect()
}

impl Tracker {
    /// The confusion matrices of an evaluation.
    pub(super) fn confusions(&mut self, step: u64, evaluation: &Evaluation) -> Result<(), TrackError> {
        for head in &evaluation.heads {
            self.image(step, &format!("confusion/{}_{}", evaluation.part, head.name), || confusion(head))?;
        }
        Ok(())
    }
}

impl Session<'_> {
    /// Rank 0 draws what heads confuse: for TensorBoard after each evaluation, and as files at the end.
    pub(super) fn picture_heads(&mut self, evaluation: &Evaluation, step: u64, last: bool) {
        let drawn = self.tracker.confusions(step, evaluation).map_err(TrainError::from);
        let folder = self.run_dir.as_ref().filter(|_| last && self.is_rank_0()).map(|run| run.pictures());
        let written = folder.map_or(Ok(()), |folder| write_confusions(evaluation, &folder).map(|_| ()));
        if let Err(error) = drawn.and(written) {
            self.fail_with(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_heads_never_leave_the_folder() {
        assert_eq!(file_name("test", "digit"), "confusion_test_digit.png");
        assert_eq!(file_name("val", "../a b/c"), "confusion_val_.._a_b_c.png");
    }
}
