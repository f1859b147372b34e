//! Labels from file names: `7_jackson_32.wav`.

use std::path::Path;

use regex::Regex;

use super::{Listing, Row};
use crate::error::DataError;
use crate::scan::{Family, find_files_outside};
use crate::texts::NUM_LISTED;

/// Lists the files of a family below `root`; each named group of `pattern` that takes part in the match of the relative path is
/// a label, and a group that does not, or matches nothing, gives none.
///
/// # Errors
/// Those of the scan, no regular expression, no named group, names that do not match.
pub(super) fn list(
    pattern: &str,
    left_out: &[String],
    root: &Path,
    family: Family,
) -> Result<Listing, DataError> {
    let regex = Regex::new(pattern).map_err(|error| DataError::Pattern { reason: error.to_string() })?;
    let labels: Vec<String> = regex.capture_names().flatten().map(str::to_owned).collect();
    if labels.is_empty() {
        return Err(DataError::NoNamedGroups { pattern: pattern.to_owned() });
    }
    let tree = find_files_outside(root, family, left_out)?;
    let num_files = tree.files.len();
    let notes = tree.notes();
    let mut rows = Vec::with_capacity(num_files);
    let mut unmatched = Vec::new();
    for relative in tree.files {
        let values: Option<Vec<Option<String>>> = regex.captures(&relative).map(|groups| {
            let value =
                |label| groups.name(label).map(|found| found.as_str()).filter(|found| !found.is_empty());
            labels.iter().map(|label| value(label).map(str::to_owned)).collect()
        });
        match values {
            Some(values) => rows.push(Row { path: root.join(&relative), relative, values, span: None }),
            None => unmatched.push(relative),
        }
    }
    if !unmatched.is_empty() {
        return Err(DataError::Unmatched {
            pattern: pattern.to_owned(),
            num_unmatched: unmatched.len(),
            num_files,
            first: unmatched.into_iter().take(NUM_LISTED).collect(),
        });
    }
    Ok(Listing { labels, rows, notes, unprintable: tree.unprintable, ..Listing::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_of(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, b"").unwrap();
        }
        dir
    }

    #[test]
    fn named_groups_are_labels() {
        let dir =
            folder_of(&["recordings/7_jackson_32.wav", "recordings/0_theo_4.wav", "recordings/1__5.wav"]);
        let listing =
            list(r"(?P<digit>\d)_(?P<speaker>[a-z]*)_(\d+)\.wav$", &[], dir.path(), Family::Recordings)
                .unwrap();
        assert_eq!(listing.labels, ["digit", "speaker"]);
        let rows: Vec<_> =
            listing.rows.iter().map(|row| (row.relative.as_str(), row.values.clone())).collect();
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(
            rows,
            [
                ("recordings/0_theo_4.wav", vec![some("0"), some("theo")]),
                ("recordings/1__5.wav", vec![some("1"), None]),
                ("recordings/7_jackson_32.wav", vec![some("7"), some("jackson")]),
            ]
        );
    }

    #[test]
    fn names_that_do_not_match_are_counted_and_listed() {
        let files: Vec<String> = (0..8).map(|i| format!("x{i}.wav")).chain(["1_a.wav".into()]).collect();
        let dir = folder_of(&files.iter().map(String::as_str).collect::<Vec<_>>());
        let text = list(r"(?P<n>\d)_a", &[], dir.path(), Family::Recordings).unwrap_err().to_string();
        assert!(text.starts_with("8 of 9 file names do not match"), "{text}");
        assert!(text.ends_with("`x0.wav`, `x1.wav`, `x2.wav`, `x3.wav`, `x4.wav` and 3 more"), "{text}");
    }

    #[test]
    fn a_pattern_must_give_labels() {
        let dir = folder_of(&["a.wav"]);
        assert!(matches!(
            list("", &[], dir.path(), Family::Recordings),
            Err(DataError::NoNamedGroups { .. })
        ));
        assert!(matches!(
            list("(unclosed", &[], dir.path(), Family::Recordings),
            Err(DataError::Pattern { .. })
        ));
    }
}
