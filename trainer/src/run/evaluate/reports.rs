//! What evaluations leave behind as files, beside their figures.

use std::path::{Path, PathBuf};

use super::audit_report::write_audit;
use super::explained::write_explanations;
use super::head_reports::write_head_reports;
use super::pictures::write_pictures;
use crate::error::TrainError;
use crate::eval::Evaluation;

/// Writes what there is to tell into `folder`, which is made if need be, and names the files.
///
/// # Errors
/// I/O errors name the file.
pub fn write_reports(evaluations: &[Evaluation], folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut written = write_head_reports(evaluations, folder)?;
    written.extend(write_audit(evaluations, folder)?);
    written.extend(write_explanations(evaluations, folder)?);
    written.extend(write_pictures(evaluations, folder)?);
    Ok(written)
}
