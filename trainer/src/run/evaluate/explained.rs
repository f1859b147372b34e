//! Pictures of what answers depend on.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::eval::{Evaluation, ExplainedSample};
use crate::track::{Color, Matrix, Picture, TrackError};

/// What stands beside each other.
const PLANES: &str = "view, mask, input gradient, integrated gradients, Grad-CAM";

/// Writes `explanations_PART.png` into `folder`, which is made if need be, for each part whose samples were explained, and names the
/// files: a row for each sample, beside each other its view, its mask, and how much each position matters.
///
/// # Errors
/// I/O errors name the file.
pub(super) fn write_explanations(
    evaluations: &[Evaluation],
    folder: &Path,
) -> Result<Vec<PathBuf>, TrainError> {
    let mut written = Vec::new();
    for evaluation in evaluations.iter().filter(|evaluation| !evaluation.explained.is_empty()) {
        fs::create_dir_all(folder)?;
        let path = folder.join(format!("explanations_{}.png", evaluation.part));
        write_atomic(&path, &picture(&evaluation.explained)?.png)?;
        written.push(path);
    }
    Ok(written)
}

fn picture(samples: &[ExplainedSample]) -> Result<Picture, TrackError> {
    let rows = samples.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let captions: Vec<String> = samples.iter().map(|sample| format!("{}: {PLANES}", sample.name)).collect();
    Picture::grid(&rows, &captions, Color::Gray)
}

fn row(
    ExplainedSample { size: [height, width], planes, .. }: &ExplainedSample,
) -> Result<Vec<Matrix<'_>>, TrackError> {
    planes.iter().map(|plane| Matrix::new(plane, 1, *height, *width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_with_masks_has_its_picture() {
        let plane = |value: f32| vec![value, 0.0, 0.0, value, 0.0, 1.0];
        let sample =
            ExplainedSample { name: "test/1".into(), size: [2, 3], planes: vec![plane(0.5), plane(1.0)] };
        let of = |part: &str, explained| Evaluation { part: part.into(), explained, ..Evaluation::default() };
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("new");
        let written =
            write_explanations(&[of("val", Vec::new()), of("test", vec![sample])], &folder).unwrap();
        assert_eq!(written, [folder.join("explanations_test.png")]);
        assert!(fs::metadata(&written[0]).unwrap().len() > 100);
        assert!(write_explanations(&[of("val", Vec::new())], &dir.path().join("none")).unwrap().is_empty());
        assert!(!dir.path().join("none").exists());
    }
}
