//! What lies where a set of images was looked for: the set a folder further down or beside, a form that is not read, an
//! archive. Each with the next step.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};

use dtrain_configs::shell_path;
use fs_err::File;

use super::error::Instead;
use super::format::ImageFormat;
use crate::passed_over::is_passed_over;
use crate::sniff::{FileKind, NUM_FIRST_BYTES};
use crate::texts::setting;

/// Folders below the one that was given that are looked into.
const MAX_LEVELS: usize = 2;
/// Files and folders that are looked at in all.
const MAX_ENTRIES: usize = 2_000;
/// Place of arrays of other libraries among what a file may say.
const ARRAYS: u8 = 3;
/// Sets that are named.
const MAX_SETS: usize = 3;

/// Looks below `folder`, and then beside it. `None` where there is nothing that would explain anything.
pub(super) fn instead(folder: &Path) -> Option<Instead> {
    let (folders, files) = below(folder);
    sets(&folders).or_else(|| several_sets(folder)).or_else(|| {
        // What says most first: an unread form of the set itself, then what may hold it.
        match files.iter().filter_map(|file| told(file)).min_by_key(|(rank, _)| *rank) {
            // Arrays may have been made of a set that lies beside them.
            Some((ARRAYS, arrays)) => beside(folder).or(Some(arrays)),
            Some((_, instead)) => Some(instead),
            None => beside(folder),
        }
    })
}

/// Folders and files up to two levels down, the upper ones first, each sorted by name.
fn below(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    let mut to_list = VecDeque::from([(folder.to_path_buf(), 0)]);
    while let Some((folder, level)) = to_list.pop_front() {
        // What cannot be listed explains nothing.
        let Ok(entries) = fs_err::read_dir(&folder) else { continue };
        let mut paths: Vec<PathBuf> = entries.take(MAX_ENTRIES).flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| !path.file_name().and_then(|name| name.to_str()).is_none_or(is_passed_over));
        paths.sort_unstable();
        for path in paths {
            if folders.len() + files.len() == MAX_ENTRIES {
                return (folders, files);
            }
            if !path.is_dir() {
                files.push(path);
            } else if level < MAX_LEVELS {
                folders.push(path.clone());
                to_list.push_back((path, level + 1));
            }
        }
    }
    (folders, files)
}

fn sets(folders: &[PathBuf]) -> Option<Instead> {
    let found: Vec<(&PathBuf, ImageFormat)> =
        folders.iter().filter_map(|folder| Some((folder, ImageFormat::known(folder)?))).collect();
    let (first, format) = found.first()?;
    let named: Vec<String> = found
        .iter()
        .take(MAX_SETS)
        .map(|(folder, _)| setting("data.root", &folder.to_string_lossy()))
        .collect();
    let what = match found.len() {
        1 => format!("`{}` holds {}", first.display(), format.of_what()),
        more => {
            format!("{more} folders near it hold sets, first `{}` ({})", first.display(), format.of_what())
        }
    };
    Some(Instead { what, hint: format!("give that folder, for a run as {}", named.join(" or ")) })
}

/// The folder above, and those beside.
fn beside(folder: &Path) -> Option<Instead> {
    let above = std::path::absolute(folder).ok()?.parent()?.to_path_buf();
    let entries = fs_err::read_dir(&above).ok()?.take(MAX_ENTRIES).flatten().map(|entry| entry.path());
    let mut near: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    near.sort_unstable();
    near.insert(0, above);
    sets(&near)
}

/// A folder that holds the files of several sets under names of their own, as EMNIST comes.
fn several_sets(folder: &Path) -> Option<Instead> {
    let prefixes = super::idx::prefixes(folder);
    let first = prefixes.first().filter(|_| prefixes.len() > 1)?;
    let own = folder.join(first);
    let files = folder.join(format!("{first}-"));
    Some(Instead {
        what: format!("it holds {} sets of IDX files: {}", prefixes.len(), quoted(&prefixes)),
        hint: format!(
            "give one of them a folder of its own, such as `mkdir {0} && ln {1}* {0}/`, and {2}",
            shell_path(&own),
            shell_path(&files),
            setting("data.root", &own.to_string_lossy())
        ),
    })
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// What a file says about its folder, with its place among other such findings.
fn told(file: &Path) -> Option<(u8, Instead)> {
    let name = file.file_name()?.to_str()?;
    let first = first_bytes(file);
    let lower = name.to_lowercase();
    let what = |text: &str| format!("`{}` is {text}", file.display());
    let is_pickle = first.starts_with(b"\x80");
    let python = |classes: u32| {
        let text = format!("of CIFAR-{classes}'s Python version, which is not read");
        let hint = format!(
            "get the binary version, `cifar-{classes}-binary.tar.gz`, from the same page, and unpack it"
        );
        Some((0, Instead { what: what(&text), hint }))
    };
    match FileKind::of(&first) {
        _ if is_pickle && (name.starts_with("data_batch_") || name == "test_batch" || name == "batches.meta") => {
            python(10)
        }
        _ if is_pickle && ["train", "test", "meta"].contains(&name) => python(100),
        Some(FileKind::LfsPointer) => {
            let kind = FileKind::LfsPointer;
            Some((1, Instead { what: what(kind.describe()), hint: kind.advice("binary") }))
        }
        Some(kind @ FileKind::Packed(text, _)) => {
            let hint = format!("unpack it: {}", kind.how_to_unpack(file)?);
            Some((2, Instead { what: what(text), hint }))
        }
        Some(FileKind::Zip) if lower.ends_with(".npz") => {
            arrays(what("arrays of numpy (.npz), which are not read"))
        }
        Some(FileKind::Zip) if lower.ends_with(".pt") || lower.ends_with(".pth") => {
            arrays(what("a file of `torch.save`, which is not read"))
        }
        Some(kind @ FileKind::Zip) => {
            let hint = format!("unpack it: {}", kind.how_to_unpack(file)?);
            Some((2, Instead { what: what("a zip archive"), hint }))
        }
        Some(FileKind::Arrays(text)) => arrays(what(&format!("{text}, which is not read"))),
        Some(FileKind::Picture(_)) => Some((
            4,
            Instead {
                what: "it holds images in files of their own, and `data.images.size` is not set".into(),
                hint: "`data=imagefolder` reads `train/CLASS` and `val/CLASS`, `data=image_classes` one folder a class".into(),
            },
        )),
        _ if first.starts_with(b"RIFF") => Some((
            5,
            Instead {
                what: "it holds recordings, and `data.kind` is `images`".into(),
                hint: "choose `data=audio_folder`, or another data set of recordings".into(),
            },
        )),
        _ => None,
    }
}

fn arrays(what: String) -> Option<(u8, Instead)> {
    let hint =
        "write it as one of the formats of docs/formats.md, such as IDX or CIFAR's binary records".into();
    Some((ARRAYS, Instead { what, hint }))
}

/// Nothing of a file that cannot be read.
fn first_bytes(file: &Path) -> Vec<u8> {
    let mut first = Vec::new();
    if file.is_file() {
        let read =
            File::open(file).and_then(|file| file.take(NUM_FIRST_BYTES as u64).read_to_end(&mut first));
        if read.is_err() {
            first.clear();
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::super::idx::{write_images, write_labels};
    use super::super::{FormatProblem, ImageFolder};
    use super::*;

    fn idx(folder: &Path, prefix: &str, labels: &[u8]) {
        fs_err::create_dir_all(folder).unwrap();
        write_images(&folder.join(format!("{prefix}-images-idx3-ubyte")), 1, 1, &vec![0; labels.len()])
            .unwrap();
        write_labels(&folder.join(format!("{prefix}-labels-idx1-ubyte")), labels).unwrap();
    }

    fn file(root: &Path, name: &str, bytes: &[u8]) {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }

    /// Text and hint of the error about `root`, with `root` written as `ROOT`.
    fn said(root: &Path) -> (String, String) {
        let error = ImageFolder::open(root).unwrap_err();
        assert!(matches!(error.problem, FormatProblem::NotFound { .. }));
        let short = |text: String| text.replace(&root.display().to_string(), "ROOT");
        (short(error.to_string()), short(error.hint().unwrap()))
    }

    #[test]
    fn a_set_further_down_or_beside_is_named_with_its_setting() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        idx(&root.join("MNIST/raw"), "train", &[1, 2]);
        idx(&root.join("__MACOSX/raw"), "train", &[1, 2]);
        let (text, hint) = said(root);
        assert!(text.ends_with("; `ROOT/MNIST/raw` holds IDX files, as MNIST's"), "{text}");
        assert_eq!(hint, "give that folder, for a run as `data.root=ROOT/MNIST/raw`");
        fs_err::create_dir_all(root.join("MNIST/processed")).unwrap();
        let error = ImageFolder::open(&root.join("MNIST/processed")).unwrap_err();
        let setting = format!("`data.root={}`", root.join("MNIST/raw").display());
        assert!(error.hint().unwrap().ends_with(&setting), "{:?}", error.hint());
        file(root, "c/cifar-10-batches-bin/data_batch_1.bin", &[0; 3073]);
        let both = "`data.root=ROOT/MNIST/raw` or `data.root=ROOT/c/cifar-10-batches-bin`";
        assert!(said(root).1.ends_with(both), "{}", said(root).1);
    }

    #[test]
    fn what_is_not_read_is_named_with_what_to_do() {
        for (name, bytes, text, hint) in [
            (
                "py/data_batch_1",
                &b"\x80\x02}q\0"[..],
                "CIFAR-10's Python version",
                "`cifar-10-binary.tar.gz`",
            ),
            ("py/train", b"\x80\x02}q\0", "CIFAR-100's Python version", "`cifar-100-binary.tar.gz`"),
            ("cifar-10-binary.tar.gz", b"\x1f\x8b", "is a gzip file", "`tar xf ROOT/cifar-10-binary.tar.gz`"),
            ("my set.zip", b"PK\x03\x04", "is a zip archive", "`unzip 'ROOT/my set.zip'`"),
            ("train/cat/1.png", b"\x89PNG\r\n", "images in files of their own", "data=imagefolder"),
            ("train.parquet", b"PAR1", "a Parquet file, which is not read", "docs/formats.md"),
            ("mnist.npz", b"PK\x03\x04", "arrays of numpy (.npz)", "docs/formats.md"),
            ("a/1.wav", b"RIFF\0\0\0\0WAVE", "holds recordings", "`data=audio_folder`"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            file(dir.path(), &format!("set/{name}"), bytes);
            file(dir.path(), "set/readme.md", b"words");
            let (found, next) = said(&dir.path().join("set"));
            assert!(found.contains(text), "{name}: {found}");
            let next = next.replace(&dir.path().display().to_string(), "DIR");
            assert!(next.contains(hint), "{name}: {next}");
        }
    }

    #[test]
    fn names_of_other_programs_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        idx(root, "train", &[1, 2]);
        idx(root, "test", &[3]);
        assert_eq!(ImageFolder::open(root).unwrap().test.unwrap().num_samples(), 1);

        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        idx(root, "emnist-letters-train", &[1, 26]);
        idx(root, "emnist-letters-test", &[3]);
        let set = ImageFolder::open(root).unwrap();
        assert_eq!((set.train.num_samples(), set.test.as_ref().unwrap().num_samples()), (2, 1));
        assert_eq!(set.train.heads()[0].num_classes, 27, "as many as the labels of both parts need");
        assert!(set.notes().any(|note| note.contains("rows and columns exchanged")));

        idx(root, "emnist-digits-train", &[1, 2]);
        let (text, hint) = said(root);
        assert!(text.contains("it holds 2 sets of IDX files: `emnist-digits`, `emnist-letters`"), "{text}");
        let command = "`mkdir ROOT/emnist-digits && ln ROOT/emnist-digits-* ROOT/emnist-digits/`";
        assert!(hint.contains(command) && hint.ends_with("`data.root=ROOT/emnist-digits`"), "{hint}");
    }

    #[test]
    fn first_bytes_tell_and_not_names() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        idx(root, "train", &[1, 2]);
        // A browser has inflated one and left its name; the other lost its ending.
        let images = root.join("train-images-idx3-ubyte");
        fs_err::rename(&images, root.join("train-images-idx3-ubyte.gz")).unwrap();
        write_labels(&root.join("l.gz"), &[1, 2]).unwrap();
        fs_err::rename(root.join("l.gz"), root.join("train-labels-idx1-ubyte")).unwrap();
        assert_eq!(ImageFolder::open(root).unwrap().train.num_samples(), 2);
        for (bytes, text, hint) in [
            (&b"<!DOCTYPE html><html>"[..], "it is a web page", "download"),
            (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer", "`git lfs pull`"),
            (b"PK\x03\x04data.pkl", "it is a zip archive, which `torch.save` writes", "PyTorch"),
        ] {
            for name in ["train-labels-idx1-ubyte", "data_batch_1.bin"] {
                let dir = tempfile::tempdir().unwrap();
                idx(dir.path(), if name.starts_with("train") { "train" } else { "other" }, &[1]);
                file(dir.path(), name, bytes);
                let error = ImageFolder::open(dir.path()).unwrap_err();
                assert!(error.to_string().contains(text) && error.path.ends_with(name), "{error}");
                assert!(error.hint().unwrap().contains(hint), "{:?}", error.hint());
            }
        }
        let packed = tempfile::tempdir().unwrap();
        file(packed.path(), "data_batch_1.bin", b"\x1f\x8b\x08\0");
        let error = ImageFolder::open(packed.path()).unwrap_err();
        assert!(error.to_string().ends_with("it is a gzip file"), "{error}");
    }
}
