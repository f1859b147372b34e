//! Finds recordings below a folder and reads their headers.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::decode::probe;
use super::error::DataError;

/// Endings of files that are read, without regard to case.
pub(super) const RECORDING_ENDINGS: [&str; 2] = ["wav", "wave"];

/// Endings of audio that is not read; seen in a folder without recordings, they explain why it seems empty.
const OTHER_AUDIO_ENDINGS: [&str; 9] = ["flac", "ogg", "opus", "mp3", "m4a", "aac", "aif", "aiff", "wma"];

/// What lies below a folder.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// Paths of recordings relative to the root, with `/`, sorted.
    pub recordings: Vec<String>,
    /// Paths of folders relative to the root, with `/`, sorted.
    pub folders: Vec<String>,
    /// Recordings whose names are not Unicode, as far as they can be printed.
    pub unprintable: Vec<String>,
    /// Number of audio files of endings that are not read.
    other_audio: BTreeMap<&'static str, usize>,
}

/// Finds all recordings below `root`. Names that begin with a dot are skipped, links are followed, and a folder that
/// contains itself through a link is entered once.
///
/// # Errors
/// A missing root, a folder that cannot be listed, and a root without recordings.
pub(super) fn find_recordings(root: &Path) -> Result<Tree, DataError> {
    check_root(root)?;
    let mut tree = Tree::default();
    let metadata = fs_err::metadata(root)?;
    descend(root, "", &mut vec![(metadata.dev(), metadata.ino())], &mut tree)?;
    if tree.recordings.is_empty() {
        return Err(DataError::NoRecordings {
            root: root.to_path_buf(),
            looked_for: RECORDING_ENDINGS.map(|ending| format!("`.{ending}`")).join(" and "),
            other: other_audio_text(&tree.other_audio),
        });
    }
    tree.recordings.sort_unstable();
    tree.folders.sort_unstable();
    Ok(tree)
}

/// # Errors
/// `root` is missing or no folder.
pub(super) fn check_root(root: &Path) -> Result<(), DataError> {
    match fs_err::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::RootNotFolder { root: root.to_path_buf() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::RootMissing { root: root.to_path_buf() })
        }
        Err(error) => Err(error.into()),
    }
}

/// `ancestors` holds device and inode of each folder on the way down.
fn descend(
    folder: &Path,
    prefix: &str,
    ancestors: &mut Vec<(u64, u64)>,
    tree: &mut Tree,
) -> Result<(), DataError> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            if has_ending(Path::new(&name), &RECORDING_ENDINGS).is_some() {
                tree.unprintable.push(format!("{prefix}{}", name.to_string_lossy()));
            }
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let relative = format!("{prefix}{name}");
        let mut kind = entry.file_type()?;
        let path = entry.path();
        let mut identity = None;
        if kind.is_symlink() || kind.is_dir() {
            match fs_err::metadata(&path) {
                Ok(metadata) => {
                    kind = metadata.file_type();
                    identity = Some((metadata.dev(), metadata.ino()));
                }
                // A dangling link to a recording is an unreadable recording; any other one is none of our business.
                Err(_) if has_ending(&path, &RECORDING_ENDINGS).is_some() => {}
                Err(_) => continue,
            }
        }
        if kind.is_dir() {
            if let Some(identity) = identity.filter(|identity| !ancestors.contains(identity)) {
                ancestors.push(identity);
                descend(&path, &format!("{relative}/"), ancestors, tree)?;
                ancestors.pop();
                tree.folders.push(relative);
            }
        } else if has_ending(&path, &RECORDING_ENDINGS).is_some() {
            tree.recordings.push(relative);
        } else if let Some(ending) = has_ending(&path, &OTHER_AUDIO_ENDINGS) {
            *tree.other_audio.entry(ending).or_default() += 1;
        }
    }
    Ok(())
}

fn has_ending(path: &Path, endings: &[&'static str]) -> Option<&'static str> {
    let ending = path.extension()?;
    endings.iter().copied().find(|known| ending.eq_ignore_ascii_case(known))
}

fn other_audio_text(counts: &BTreeMap<&'static str, usize>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let counts: Vec<String> = counts.iter().map(|(ending, count)| format!("{count} `.{ending}`")).collect();
    format!("; it has {} files, which are not read", counts.join(", "))
}

/// What the header of a recording says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Sample frames.
    pub num_frames: u64,
    /// In Hz.
    pub sample_rate: u32,
    /// Size of the file.
    pub num_bytes: u64,
}

/// Reads all headers in parallel; the results are in the order of `paths`. An error is the reason why a recording
/// cannot be used.
pub(super) fn read_headers(paths: &[PathBuf]) -> Vec<Result<Header, String>> {
    paths.par_iter().with_min_len(16).map(|path| read_header(path)).collect()
}

fn read_header(path: &Path) -> Result<Header, String> {
    let num_bytes = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    let info = probe(path).map_err(|error| error.problem.to_string())?;
    Ok(Header { num_frames: info.num_frames, sample_rate: info.sample_rate, num_bytes })
}

/// Folders above a path, outermost first: `a` and `a/b` for `a/b/c.wav`.
pub(super) fn folders_above(relative: &str) -> impl Iterator<Item = &str> {
    relative.match_indices('/').map(|(at, _)| &relative[..at])
}

/// All folders that hold one of `recordings`, directly or below.
pub(super) fn folders_with_recordings(recordings: &[String]) -> BTreeSet<&str> {
    recordings.iter().flat_map(|relative| folders_above(relative)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, relative: &str) {
        let path = root.join(relative);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, b"").unwrap();
    }

    #[test]
    fn finds_sorted_recordings_and_skips_hidden_ones() {
        let dir = tempfile::tempdir().unwrap();
        for relative in
            ["b/2.wav", "b/10.WAV", "a/deep/er/x.wave", "a/.hidden/y.wav", ".z.wav", "a/readme.md"]
        {
            touch(dir.path(), relative);
        }
        let tree = find_recordings(dir.path()).unwrap();
        assert_eq!(tree.recordings, ["a/deep/er/x.wave", "b/10.WAV", "b/2.wav"]);
        assert_eq!(tree.folders, ["a", "a/deep", "a/deep/er", "b"]);
    }

    #[test]
    fn follows_links_but_not_in_circles() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        touch(elsewhere.path(), "x.wav");
        touch(dir.path(), "a/y.wav");
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("linked")).unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("a/circle")).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", dir.path().join("dangling")).unwrap();
        let tree = find_recordings(dir.path()).unwrap();
        assert_eq!(tree.recordings, ["a/y.wav", "linked/x.wav"]);
    }

    #[test]
    fn an_empty_folder_says_what_was_looked_for_and_what_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "a/1.ogg");
        touch(dir.path(), "a/2.OGG");
        let error = find_recordings(dir.path()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`.wav`") && text.contains("2 `.ogg` files"), "{text}");
        assert!(error.hint().unwrap().contains("convert"));
        assert!(matches!(find_recordings(&dir.path().join("no")), Err(DataError::RootMissing { .. })));
        assert!(matches!(find_recordings(&dir.path().join("a/1.ogg")), Err(DataError::RootNotFolder { .. })));
    }

    #[test]
    fn folders_above_a_path() {
        assert_eq!(folders_above("a/b/c.wav").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(folders_above("c.wav").count(), 0);
    }
}
