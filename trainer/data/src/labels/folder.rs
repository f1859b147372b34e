//! Labels from folders: `<class>/<file>.wav`.

use std::path::Path;

use super::{Listing, Row, first_duplicate};
use crate::error::DataError;
use crate::scan::{Family, find_files_outside, folders_with};

/// Lists the files of a family below `root`; the label `folders[i]` is the name of the `i`-th folder on the way down. Deeper
/// folders carry no label, and a recording that lies higher lacks the labels of the folders it is not in. Without
/// any `folders` the recordings have no labels.
///
/// # Errors
/// Those of the scan, and a label named twice.
pub(super) fn list(
    folders: &[String],
    left_out: &[String],
    root: &Path,
    family: Family,
) -> Result<Listing, DataError> {
    if let Some(label) = first_duplicate(folders) {
        return Err(DataError::DuplicateLabel {
            label: label.clone(),
            place: "`data.labels.folders`".into(),
        });
    }
    let tree = find_files_outside(root, family, left_out)?;
    let notes = tree.notes();
    let filled = folders_with(&tree.files);
    let empty_classes = tree
        .folders
        .iter()
        .filter(|folder| !filled.contains(folder.as_str()))
        .filter_map(|folder| {
            let label = folders.get(folder.matches('/').count())?;
            Some((label.clone(), folder.rsplit('/').next()?.to_owned()))
        })
        .collect();
    let rows = tree
        .files
        .into_iter()
        .map(|relative| {
            let above: Vec<&str> = relative.split('/').collect();
            let num_above = above.len().saturating_sub(1);
            let values = (0..folders.len())
                .map(|i| above.get(i).filter(|_| i < num_above).map(|s| (*s).to_owned()))
                .collect();
            Row { path: root.join(&relative), values, relative, span: None }
        })
        .collect();
    let unprintable = tree.unprintable;
    Ok(Listing { labels: folders.to_vec(), rows, empty_classes, unprintable, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_way_down_are_labels() {
        let dir = tempfile::tempdir().unwrap();
        for relative in ["fan/id_00/deep/1.wav", "fan/2.wav", "3.wav"] {
            let path = dir.path().join(relative);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"").unwrap();
        }
        fs_err::create_dir_all(dir.path().join("pump/id_02")).unwrap();
        fs_err::create_dir_all(dir.path().join("fan/id_00/empty")).unwrap();
        let listing = list(&["machine".into(), "id".into()], &[], dir.path(), Family::Recordings).unwrap();
        let values: Vec<_> = listing.rows.iter().map(|row| row.values.clone()).collect();
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(values, [vec![None, None], vec![some("fan"), None], vec![some("fan"), some("id_00")]]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(listing.empty_classes, [pair("machine", "pump"), pair("id", "id_02")]);
    }

    #[test]
    fn a_label_has_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let error = list(&["a".into(), "a".into()], &[], dir.path(), Family::Recordings).unwrap_err();
        assert_eq!(error.to_string(), "label `a` is defined twice in `data.labels.folders`");
    }
}
