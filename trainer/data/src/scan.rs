//! Finds recordings or images below a folder, and reads the headers of recordings.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dtrain_configs::schema::Channel;
use fs_err::File;
use rayon::prelude::*;
use unicode_normalization::UnicodeNormalization;

use crate::decode::{DecodeError, Decoder, RecordingInfo, RecordingNote};
use crate::error::DataError;
use crate::image_files::{IMAGE_ENDINGS, OTHER_IMAGE_ENDINGS};
use crate::passed_over::is_passed_over;
use crate::progress::Work;
use crate::sniff::{FileKind, NUM_FIRST_BYTES, SOUND};

/// Endings of files that are read, without regard to case.
const RECORDING_ENDINGS: [&str; 10] =
    ["wav", "wave", "flac", "ogg", "oga", "mp3", "m4a", "aif", "aiff", "caf"];

/// Endings of audio that is not read; seen in a folder without recordings, they explain why it seems empty.
const OTHER_AUDIO_ENDINGS: [&str; 9] = ["opus", "aac", "wma", "mp4", "m4b", "mov", "avi", "mkv", "webm"];

/// Files that are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Family {
    /// Sound.
    #[default]
    Recordings,
    /// Images.
    Images,
}

impl Family {
    /// What its files are called.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Recordings => "recordings",
            Self::Images => "images",
        }
    }

    /// Endings of files that are read, without regard to case.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Recordings => &RECORDING_ENDINGS,
            Self::Images => &IMAGE_ENDINGS,
        }
    }

    /// Endings of files of the kind that are not read.
    fn other_endings(self) -> &'static [&'static str] {
        match self {
            Self::Recordings => &OTHER_AUDIO_ENDINGS,
            Self::Images => &OTHER_IMAGE_ENDINGS,
        }
    }

    /// What to do about files that are not read, where there are others.
    fn advice(self) -> String {
        match self {
            Self::Recordings => FileKind::Audio("").advice(SOUND),
            Self::Images => self.conversion().to_owned(),
        }
    }

    /// How files that are not read become such that are.
    fn conversion(self) -> &'static str {
        match self {
            Self::Recordings => "convert them, for example with `ffmpeg -i IN -vn OUT.flac`",
            Self::Images => "convert them, for example with ImageMagick's `mogrify -format png FILES`",
        }
    }
}

/// What lies below a folder.
#[derive(Debug, Default)]
pub(super) struct Tree {
    family: Family,
    /// Paths of the files relative to the root, with `/`, sorted.
    pub files: Vec<String>,
    /// Paths of folders relative to the root, with `/`, sorted.
    pub folders: Vec<String>,
    /// Files whose names are not Unicode, as far as they can be printed.
    pub unprintable: Vec<String>,
    /// Number of files of endings that are not read.
    others: BTreeMap<&'static str, usize>,
}

impl Tree {
    /// What was seen and is not read.
    pub fn notes(&self) -> Vec<String> {
        let num_other: usize = self.others.values().sum();
        if num_other == 0 {
            return Vec::new();
        }
        let counts = counts_text(&self.others);
        vec![format!(
            "beside {} {} there are {counts} files, which are not read; {}",
            self.files.len(),
            self.family.noun(),
            self.family.advice()
        )]
    }
}

/// Finds all files of a family below `root`. Names that begin with a dot are skipped, as are folders that hold nothing else and
/// those that systems leave behind; links are followed, and a folder that contains itself through a link is entered
/// once.
///
/// # Errors
/// A missing root, a folder that cannot be listed, and a root without such files.
pub(super) fn find_files(root: &Path, family: Family) -> Result<Tree, DataError> {
    find_files_outside(root, family, &[])
}

/// As [`find_files`], but for those in the folders `left_out`, which are relative to the root.
///
/// # Errors
/// As there; a folder to leave out that is not there.
pub(super) fn find_files_outside(
    root: &Path,
    family: Family,
    left_out: &[String],
) -> Result<Tree, DataError> {
    check_root(root)?;
    let left_out: BTreeSet<&str> = left_out.iter().map(|folder| folder.trim_end_matches('/')).collect();
    if let Some(folder) = left_out.iter().find(|folder| !root.join(folder).is_dir()) {
        return Err(DataError::LeftOutMissing { root: root.to_path_buf(), folder: (*folder).to_owned() });
    }
    let metadata = fs_err::metadata(root)?;
    let mut walk = Walk {
        left_out,
        ancestors: vec![(metadata.dev(), metadata.ino())],
        tree: Tree { family, ..Tree::default() },
        work: Work::begin("listing folders", "entries", None),
    };
    walk.descend(root, "")?;
    let mut tree = walk.tree;
    if tree.files.is_empty() {
        let endings: Vec<String> = family.endings().iter().map(|ending| format!("`.{ending}`")).collect();
        return Err(DataError::NoRecordings {
            root: root.to_path_buf(),
            noun: family.noun(),
            looked_for: match endings.split_last() {
                Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")).into(),
                _ => endings.concat().into(),
            },
            advice: (!tree.others.is_empty()).then(|| family.conversion()),
            other: others_text(&tree.others).into(),
            packed: packed_below(root),
        });
    }
    tree.files.sort_unstable();
    tree.folders.sort_unstable();
    Ok(tree)
}

/// # Errors
/// `root` is missing or no folder.
pub(super) fn check_root(root: &Path) -> Result<(), DataError> {
    match fs_err::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(DataError::RootNotFolder { root: root.to_path_buf(), packed: how_to_unpack(root) }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(DataError::RootMissing { root: root.to_path_buf(), nearly: nearly(root) })
        }
        Err(error) => Err(error.into()),
    }
}

/// A name beside `path` that differs in capital letters or in the Unicode form of accents only.
fn nearly(path: &Path) -> Option<PathBuf> {
    let form = |name: &str| name.nfc().collect::<String>().to_lowercase();
    let wanted = form(path.file_name()?.to_str()?);
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    let entries = fs_err::read_dir(above.unwrap_or(Path::new("."))).ok()?;
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| form(name) == wanted).map(|name| path.with_file_name(name))
}

/// The command that unpacks the first archive directly in a folder.
fn packed_below(folder: &Path) -> Option<String> {
    const MAX_FILES: usize = 1000;
    let mut paths: Vec<PathBuf> =
        fs_err::read_dir(folder).ok()?.take(MAX_FILES).flatten().map(|entry| entry.path()).collect();
    paths.sort_unstable();
    paths.iter().find_map(|path| how_to_unpack(path))
}

/// The command that unpacks a file, where it is packed.
fn how_to_unpack(path: &Path) -> Option<String> {
    if !path.is_file() {
        return None;
    }
    let mut first = Vec::new();
    File::open(path).ok()?.take(NUM_FIRST_BYTES as u64).read_to_end(&mut first).ok()?;
    FileKind::of(&first)?.how_to_unpack(path)
}

/// The way through a tree.
struct Walk<'a> {
    left_out: BTreeSet<&'a str>,
    /// Device and inode of each folder on the way down.
    ancestors: Vec<(u64, u64)>,
    tree: Tree,
    work: Work,
}

impl Walk<'_> {
    /// True where a folder has entries only that are passed over.
    fn descend(&mut self, folder: &Path, prefix: &str) -> Result<bool, DataError> {
        let (mut num_entries, mut num_hidden) = (0, 0);
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            self.work.add(1);
            let name = entry.file_name();
            num_entries += 1;
            let Some(name) = name.to_str() else {
                if has_ending(Path::new(&name), self.tree.family.endings()).is_some() {
                    self.tree.unprintable.push(format!("{prefix}{}", name.to_string_lossy()));
                }
                continue;
            };
            if is_passed_over(name) {
                num_hidden += 1;
                continue;
            }
            let relative = format!("{prefix}{name}");
            if self.left_out.contains(relative.as_str()) {
                num_hidden += 1;
                continue;
            }
            let mut kind = entry.file_type()?;
            let path = entry.path();
            let mut identity = None;
            if kind.is_symlink() || kind.is_dir() {
                match fs_err::metadata(&path) {
                    Ok(metadata) => {
                        kind = metadata.file_type();
                        identity = Some((metadata.dev(), metadata.ino()));
                    }
                    // A dangling link to such a file is an unreadable one; any other link is none of our business.
                    Err(_) if has_ending(&path, self.tree.family.endings()).is_some() => {}
                    Err(_) => continue,
                }
            }
            if kind.is_dir() {
                if let Some(identity) = identity.filter(|identity| !self.ancestors.contains(identity)) {
                    self.ancestors.push(identity);
                    let only_hidden = self.descend(&path, &format!("{relative}/"))?;
                    self.ancestors.pop();
                    if only_hidden {
                        num_hidden += 1;
                    } else {
                        self.tree.folders.push(relative);
                    }
                }
            } else if has_ending(&path, self.tree.family.endings()).is_some() {
                self.tree.files.push(relative);
            } else if let Some(ending) = has_ending(&path, self.tree.family.other_endings()) {
                *self.tree.others.entry(ending).or_default() += 1;
            }
        }
        Ok(num_entries > 0 && num_hidden == num_entries)
    }
}

fn has_ending(path: &Path, endings: &[&'static str]) -> Option<&'static str> {
    let ending = path.extension()?;
    endings.iter().copied().find(|known| ending.eq_ignore_ascii_case(known))
}

fn others_text(counts: &BTreeMap<&'static str, usize>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    format!("; it has {} files, which are not read", counts_text(counts))
}

fn counts_text(counts: &BTreeMap<&'static str, usize>) -> String {
    let counts: Vec<String> = counts.iter().map(|(ending, count)| format!("{count} `.{ending}`")).collect();
    counts.join(", ")
}

/// What the header of a recording says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Sample frames.
    pub num_frames: u64,
    /// In Hz.
    pub sample_rate: u32,
    /// Size of the file.
    pub num_bytes: u64,
    /// What is odd about the file.
    pub notes: Vec<RecordingNote>,
    /// What is heard is silence or a constant.
    pub is_constant: bool,
}

/// Reads all headers in parallel; the results are in the order of `paths`. An error is the reason why a recording
/// cannot be used. `channel` is what is heard.
pub(super) fn read_headers(paths: &[PathBuf], channel: Channel) -> Vec<Result<Header, DecodeError>> {
    let work = Work::begin("reading headers", "files", paths.len() as u64);
    let surveyed = |decoder: &mut Decoder, path: &PathBuf| {
        let surveyed = decoder.survey(path);
        work.add(1);
        let (info, is_constant) = surveyed?;
        let RecordingInfo { num_frames, sample_rate, num_bytes, notes, .. } = info;
        Ok(Header { num_frames, sample_rate, num_bytes, notes, is_constant })
    };
    paths.par_iter().with_min_len(16).map_init(|| Decoder::of_headers(channel), surveyed).collect()
}

/// Folders above a path, outermost first: `a` and `a/b` for `a/b/c.wav`.
pub(super) fn folders_above(relative: &str) -> impl Iterator<Item = &str> {
    relative.match_indices('/').map(|(at, _)| &relative[..at])
}

/// All folders that hold one of `files`, directly or below.
pub(super) fn folders_with(files: &[String]) -> BTreeSet<&str> {
    files.iter().flat_map(|relative| folders_above(relative)).collect()
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
        let tree = find_files(dir.path(), Family::Recordings).unwrap();
        assert_eq!(tree.files, ["a/deep/er/x.wave", "b/10.WAV", "b/2.wav"]);
        assert_eq!(tree.folders, ["a", "a/deep", "a/deep/er", "b"]);
    }

    #[test]
    fn folders_that_systems_leave_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for relative in [
            "a/1.wav",
            "__MACOSX/a/._1.wav",
            "a/@eaDir/1.wav",
            "b/.ipynb_checkpoints/x",
            "c/.DS_Store",
            "d/e/.x",
        ] {
            touch(dir.path(), relative);
        }
        fs_err::create_dir(dir.path().join("empty")).unwrap();
        touch(dir.path(), "a/2.opus");
        let tree = find_files(dir.path(), Family::Recordings).unwrap();
        assert_eq!(tree.files, ["a/1.wav"]);
        assert_eq!(tree.folders, ["a", "empty"], "a folder without any entry is an empty class");
        let [note] = &tree.notes()[..] else { panic!("{:?}", tree.notes()) };
        assert!(
            note.starts_with("beside 1 recordings there are 1 `.opus` files, which are not read;"),
            "{note}"
        );
    }

    #[test]
    fn folders_are_left_out_by_name_and_must_be_there() {
        let dir = tempfile::tempdir().unwrap();
        for relative in ["yes/1.wav", "noise/1.wav", "yes/noise/2.wav"] {
            touch(dir.path(), relative);
        }
        let without = |folders: &[&str]| {
            let folders: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
            find_files_outside(dir.path(), Family::Recordings, &folders)
        };
        assert_eq!(without(&["noise/"]).unwrap().files, ["yes/1.wav", "yes/noise/2.wav"]);
        let tree = without(&["noise", "yes/noise"]).unwrap();
        assert_eq!((tree.files, tree.folders), (vec!["yes/1.wav".to_owned()], vec!["yes".to_owned()]));
        let error = without(&["nose"]).unwrap_err();
        assert!(error.to_string().contains("`data.labels.leave_out` names `nose`"), "{error}");
        assert!(error.hint().is_some());
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
        let tree = find_files(dir.path(), Family::Recordings).unwrap();
        assert_eq!(tree.files, ["a/y.wav", "linked/x.wav"]);
    }

    #[test]
    fn an_empty_folder_says_what_was_looked_for_and_what_was_seen() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "a/1.wma");
        touch(dir.path(), "a/2.WMA");
        let error = find_files(dir.path(), Family::Recordings).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`.wav`") && text.contains("2 `.wma` files"), "{text}");
        assert!(error.hint().unwrap().contains("convert"));
        assert!(matches!(
            find_files(&dir.path().join("no"), Family::Recordings),
            Err(DataError::RootMissing { .. })
        ));
        assert!(matches!(
            find_files(&dir.path().join("a/1.wma"), Family::Recordings),
            Err(DataError::RootNotFolder { .. })
        ));
    }

    #[test]
    fn archives_and_names_that_are_nearly_right_are_told() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::create_dir(dir.path().join("Birds")).unwrap();
        let hint = |name: &str| {
            let hint = find_files(&dir.path().join(name), Family::Recordings).unwrap_err().hint().unwrap();
            hint.replace(&dir.path().display().to_string(), "DIR")
        };
        assert_eq!(hint("birds"), "`DIR/Birds` is there: `data.root=DIR/Birds`");
        fs_err::write(dir.path().join("Birds/all.tar.gz"), b"\x1f\x8b\x08").unwrap();
        assert_eq!(hint("Birds"), "unpack the archive that is there: `tar xf DIR/Birds/all.tar.gz`");
        fs_err::write(dir.path().join("set.zip"), b"PK\x03\x04").unwrap();
        assert_eq!(hint("set.zip"), "unpack it, and give the folder: `unzip DIR/set.zip`");
    }

    #[test]
    fn folders_above_a_path() {
        assert_eq!(folders_above("a/b/c.wav").collect::<Vec<_>>(), ["a", "a/b"]);
        assert_eq!(folders_above("c.wav").count(), 0);
    }
}
