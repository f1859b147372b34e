//! Lists of the recordings of a part, as data sets bring them: a path on each line.

use std::collections::BTreeMap;
use std::path::Path;

use dtrain_configs::schema::SplitConfig;

use crate::error::DataError;
use crate::split::Part;
use crate::texts::{NUM_LISTED, setting, shortened};

/// Largest list that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Names under which published sets bring their lists: of the test part, of the validation part. The first is Google's
/// Speech Commands'.
const PUBLISHED: [(&str, Part); 4] = [
    ("testing_list.txt", Part::Test),
    ("validation_list.txt", Part::Val),
    ("test_list.txt", Part::Test),
    ("val_list.txt", Part::Val),
];

/// The part of each of `paths`, which are sorted, that the lists of the split `key` name; empty without lists. Equal paths have the same part. What a list
/// names and is not there is counted in `notes`.
///
/// # Errors
/// A list that cannot be read, of whose paths none is there, or that names what the other one does.
pub(super) fn parts_of_lists(
    config: &SplitConfig,
    key: &str,
    root: &Path,
    paths: &[&str],
    notes: &mut Vec<String>,
) -> Result<Vec<Option<Part>>, DataError> {
    if config.test_list.is_none() && config.val_list.is_none() {
        return Ok(Vec::new());
    }
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    for (sample, path) in paths.iter().enumerate() {
        at.entry(path).or_insert(sample);
    }
    let mut parts = vec![None; paths.len()];
    let lists = [("test_list", &config.test_list, Part::Test), ("val_list", &config.val_list, Part::Val)];
    for (name, list, part) in lists {
        let Some(list) = list else { continue };
        let list_key = format!("{key}.{name}");
        let wrong = |reason: String| DataError::PartList {
            key: list_key.clone(),
            path: list.clone(),
            reason,
            instead: published(root, key, part).filter(|_| !root.join(list).is_file()),
        };
        let text = read(&root.join(list)).map_err(wrong)?;
        let mut missing = Vec::new();
        let mut num_listed = 0;
        for path in entries(&text) {
            num_listed += 1;
            let Some(&sample) = at.get(path.as_str()).or_else(|| at.get(format!("{path}.wav").as_str()))
            else {
                missing.push(path);
                continue;
            };
            match parts.get_mut(sample) {
                Some(Some(other)) if *other != part => {
                    return Err(DataError::PartListsOverlap { key: key.to_owned(), path });
                }
                Some(of_sample) => *of_sample = Some(part),
                None => {}
            }
        }
        if missing.len() == num_listed {
            let first = missing.first().map_or_else(|| "nothing".to_owned(), |path| format!("`{path}`"));
            return Err(wrong(format!("lists no recording of this data set; it begins with {first}")));
        }
        if !missing.is_empty() {
            notes.push(format!(
                "{} of {num_listed} lines of `{}` name no readable recording: {}; restore the recordings if they \
                 should be there",
                missing.len(),
                list.display(),
                shortened(missing.iter().take(NUM_LISTED), missing.len())
            ));
        }
    }
    let of_path = |path| at.get(path).and_then(|&first| parts.get(first).copied().flatten());
    Ok(paths.iter().copied().map(of_path).collect())
}

/// The settings for lists that lie in `root` and that the split does not use.
pub(super) fn unused_lists(config: &SplitConfig, key: &str, root: &Path) -> Option<String> {
    let is_used = |part| match part {
        Part::Test => config.test_list.is_some() || !config.test.is_empty(),
        _ => config.val_list.is_some() || !config.val.is_empty(),
    };
    let settings: Vec<String> = [Part::Test, Part::Val]
        .into_iter()
        .filter(|part| !is_used(*part))
        .filter_map(|part| published(root, key, part))
        .collect();
    (!settings.is_empty()).then(|| {
        format!("the data bring lists of their parts, which this split does not use: {}", settings.join(" "))
    })
}

/// The setting for the list of a part that lies in `root`.
fn published(root: &Path, key: &str, part: Part) -> Option<String> {
    let name = if part == Part::Test { "test_list" } else { "val_list" };
    let mut files = PUBLISHED.iter().filter(|(_, of)| *of == part).map(|(file, _)| *file);
    let file = files.find(|file| root.join(file).is_file())?;
    Some(setting(&format!("{key}.{name}"), file))
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?.len();
    if size > MAX_BYTES {
        return Err(format!("has {size} bytes, and at most {MAX_BYTES} are read"));
    }
    let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    String::from_utf8(bytes).map_err(|_| "is no text in UTF-8".to_owned())
}

/// The paths in a list as the scan names recordings: without a byte order mark, line ends of Windows and its separators,
/// and without `./` before them.
fn entries(text: &str) -> impl Iterator<Item = String> + '_ {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.replace('\\', "/").trim_start_matches("./").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "data.splits.default";

    fn lists(dir: &Path) -> SplitConfig {
        let list = |name: &str| dir.join(name).is_file().then(|| name.into());
        SplitConfig { test_list: list("t.txt"), val_list: list("v.txt"), ..SplitConfig::default() }
    }

    fn parts(dir: &Path, notes: &mut Vec<String>) -> Result<Vec<Option<Part>>, DataError> {
        parts_of_lists(&lists(dir), KEY, dir, &["a/1.wav", "a/2.wav", "b/1.wav"], notes)
    }

    #[test]
    fn lists_are_read_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = Vec::new();
        assert_eq!(parts(dir.path(), &mut notes).unwrap(), []);
        fs_err::write(dir.path().join("t.txt"), "\u{feff}./a/2.wav\r\n\r\nc/9.wav\r\n").unwrap();
        fs_err::write(dir.path().join("v.txt"), "b\\1").unwrap();
        assert_eq!(parts(dir.path(), &mut notes).unwrap(), [None, Some(Part::Test), Some(Part::Val)]);
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(note.starts_with("1 of 2 lines of `t.txt` name no readable recording: `c/9.wav`;"), "{note}");
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = || {
            let error = parts(dir.path(), &mut Vec::new()).unwrap_err();
            assert!(error.hint().is_some());
            error.to_string()
        };
        let write = |name: &str, bytes: &[u8]| fs_err::write(dir.path().join(name), bytes).unwrap();
        write("t.txt", b"x/1.wav\nx/2.wav\n");
        let none =
            "`data.splits.default.test_list`: `t.txt` lists no recording of this data set; it begins with ";
        assert_eq!(refused(), format!("{none}`x/1.wav`"));
        write("t.txt", b"");
        assert_eq!(refused(), format!("{none}nothing"));
        write("t.txt", b"\xff\xfe");
        assert!(refused().ends_with("is no text in UTF-8"));
        write("t.txt", b"a/1.wav");
        write("v.txt", b"a/1.wav");
        assert_eq!(
            refused(),
            "`data.splits.default.test_list` and `data.splits.default.val_list` both list `a/1.wav`"
        );
    }

    #[test]
    fn published_lists_are_told_where_they_are_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let told = |config: &SplitConfig| unused_lists(config, KEY, dir.path());
        assert_eq!(told(&SplitConfig::default()), None);
        fs_err::write(dir.path().join("testing_list.txt"), "a/1.wav").unwrap();
        fs_err::write(dir.path().join("validation_list.txt"), "a/2.wav").unwrap();
        let val = "`data.splits.default.val_list=validation_list.txt`";
        let both = format!("`data.splits.default.test_list=testing_list.txt` {val}");
        assert!(told(&SplitConfig::default()).unwrap().ends_with(&both));
        let half = SplitConfig { test_list: Some("testing_list.txt".into()), ..SplitConfig::default() };
        assert!(told(&half).unwrap().ends_with(&format!("does not use: {val}")));
        let wrong = SplitConfig { val_list: Some("val.txt".into()), ..half };
        let error = parts_of_lists(&wrong, KEY, dir.path(), &["a/1.wav"], &mut Vec::new()).unwrap_err();
        assert_eq!(error.hint().as_deref(), Some(val));
    }
}
