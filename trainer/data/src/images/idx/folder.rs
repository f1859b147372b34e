//! A folder of IDX files: images, their labels, and labels of further heads beside them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::super::bytes::Column;
use super::super::error::{FormatError, FormatProblem};
use super::super::head::Head;
use super::super::json::read_json;
use super::super::set::{ImageSet, Shard};
use super::super::split::Split;
use super::super::strictness::Strictness;
use super::{IdxImages, IdxLabels, read_images, read_labels};

const IMAGES: &str = "-images-idx3-ubyte";
const MASKS: &str = "-masks-idx3-ubyte";

/// Names the classes of heads.
const HEADS_FILE: &str = "heads.json";
/// Head of the labels file that every such set has.
const MAIN_HEAD: &str = "digit";
/// Classes of [`MAIN_HEAD`], which MNIST and Fashion-MNIST have.
const MAIN_CLASSES: usize = 10;

/// What `heads.json` says about a head.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HeadInfo {
    num_classes: Option<usize>,
    class_names: Vec<String>,
    /// What the labels of both parts need, where the file says nothing.
    #[serde(skip)]
    needed: Option<usize>,
}

/// What files of a split may begin with.
fn names_of(split: Split) -> &'static [&'static str] {
    match split {
        Split::Train => &["train"],
        Split::Test => &["t10k", "test"],
    }
}

/// The beginning of the names of a split's files, and its images, plain before gzipped.
fn part(folder: &Path, split: Split) -> Option<(String, PathBuf)> {
    let part_of = |set: &str| {
        names_of(split).iter().find_map(|name| {
            let part = format!("{set}{name}");
            let images =
                find(folder, &[format!("{part}-images-idx3-ubyte"), format!("{part}-images.idx3-ubyte")])?;
            Some((part, images))
        })
    };
    part_of("").or_else(|| match prefixes(folder).as_slice() {
        [only] => part_of(&format!("{only}-")),
        _ => None,
    })
}

/// Names of the sets whose training images lie in a folder as `NAME-train-images-idx3-ubyte`, sorted.
pub fn prefixes(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let prefix = |name: String| {
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let part =
            name.strip_suffix("-images-idx3-ubyte").or_else(|| name.strip_suffix("-images.idx3-ubyte"))?;
        part.strip_suffix("-train").map(str::to_owned)
    };
    names.filter_map(prefix).collect::<BTreeSet<String>>().into_iter().collect()
}

fn find(folder: &Path, names: &[String]) -> Option<PathBuf> {
    let candidates = names.iter().flat_map(|name| [name.clone(), format!("{name}.gz")]);
    candidates.map(|name| folder.join(name)).find(|path| path.is_file())
}

/// True where a folder has images of this format.
pub fn has_images(folder: &Path) -> bool {
    part(folder, Split::Train).is_some()
}

/// Opens one part of a folder; nothing where it has none.
pub fn open_split(
    folder: &Path,
    split: Split,
    strictness: Strictness,
) -> Result<Option<ImageSet>, FormatError> {
    let Some((part, images)) = part(folder, split) else { return Ok(None) };
    let is_named = !names_of(split).contains(&part.as_str());
    open_part(folder, (&part, &images), is_named, strictness).map(Some)
}

/// Names of parts beside those of MNIST, as the files of their images have them: `val` of `val-images-idx3-ubyte`. Sorted; none in
/// a folder whose files have the name of a set.
pub fn own_parts(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let part = |name: String| {
        let part = name.strip_suffix(".gz").unwrap_or(&name).strip_suffix(IMAGES)?;
        let mut known = Split::ALL.into_iter().flat_map(names_of);
        let is_known =
            known.any(|own| part == *own || part.strip_suffix(own).is_some_and(|set| set.ends_with('-')));
        (!is_known).then(|| part.to_owned())
    };
    names.filter_map(part).collect::<BTreeSet<String>>().into_iter().collect()
}

/// Opens a part by its name, one of [`own_parts`].
pub fn open_own_part(folder: &Path, part: &str, strictness: Strictness) -> Result<ImageSet, FormatError> {
    let looked_for = format!("{part}{IMAGES}");
    let images = find(folder, std::slice::from_ref(&looked_for))
        .ok_or_else(|| FormatProblem::NotFound { looked_for, instead: None }.of(folder))?;
    open_part(folder, (part, &images), false, strictness)
}

/// Opens the files of a part that begin with this name; `is_named` where that holds the name of the set.
fn open_part(
    folder: &Path,
    (part, images): (&str, &Path),
    is_named: bool,
    strictness: Strictness,
) -> Result<ImageSet, FormatError> {
    let labels = labels_path(folder, part)?;
    let infos: BTreeMap<String, HeadInfo> = match folder.join(HEADS_FILE) {
        path if path.is_file() => read_json(&path)?,
        _ => BTreeMap::new(),
    };
    check_names(folder, &infos)?;
    let mut columns = vec![(MAIN_HEAD.to_owned(), read_labels(&labels)?)];
    for (name, path) in further_heads(folder, part)? {
        columns.push((name, read_labels(&path)?));
    }
    let (mut infos, mut notes) = (infos, Vec::new());
    if is_named {
        let info = infos.entry(MAIN_HEAD.to_owned()).or_default();
        if info.num_classes.is_none() && info.class_names.is_empty() {
            info.needed = Some(classes_of_both_parts(folder)?);
        }
        if part.starts_with("emnist") {
            notes.push(format!(
                "`{part}`: EMNIST's files have rows and columns exchanged, so its images lie on their side; they are read \
                 as they are"
            ));
        }
    }
    let images = read_images(images)?;
    let masks = masks(folder, part, &images)?;
    let set = join(images, columns, infos, notes, strictness)?;
    Ok(match masks {
        Some(masks) => set.with_masks(masks),
        None => set,
    })
}

/// The masks of a part, one of the size of its image for each sample, where there is a file of them.
fn masks(folder: &Path, part: &str, images: &IdxImages) -> Result<Option<Column>, FormatError> {
    let Some(path) = find(folder, &[format!("{part}{MASKS}")]) else { return Ok(None) };
    let masks = read_images(&path)?;
    if masks.num_images != images.num_images {
        return Err(FormatProblem::Counts {
            what: "masks".into(),
            found: masks.num_images,
            other: images.pixels.bytes.path().to_path_buf(),
            expected: images.num_images,
        }
        .of(&path));
    }
    if masks.shape != images.shape {
        let expected = format!("masks of {}, as the images", images.shape);
        return Err(FormatProblem::key("masks", expected, masks.shape.to_string()).of(&path));
    }
    Ok(Some(masks.pixels))
}

/// Each head that `heads.json` speaks of has labels in one of the parts.
fn check_names(folder: &Path, infos: &BTreeMap<String, HeadInfo>) -> Result<(), FormatError> {
    let mut heads = BTreeSet::from([MAIN_HEAD.to_owned()]);
    for (part, _) in Split::ALL.into_iter().filter_map(|split| part(folder, split)) {
        heads.extend(further_heads(folder, &part)?.into_keys());
    }
    let Some(key) = infos.keys().find(|name| !heads.contains(*name)) else { return Ok(()) };
    let heads: Vec<String> = heads.iter().map(|head| format!("`{head}`")).collect();
    let expected = format!("a head that has labels here ({})", heads.join(", "));
    let found = "no file of labels".to_owned();
    Err(FormatProblem::Key { key: key.clone(), expected, found }.of(&folder.join(HEADS_FILE)))
}

fn labels_path(folder: &Path, part: &str) -> Result<PathBuf, FormatError> {
    let name = format!("{part}-labels-idx1-ubyte");
    find(folder, &[name.clone(), format!("{part}-labels.idx1-ubyte")]).ok_or_else(|| {
        FormatProblem::NotFound { looked_for: format!("`{name}` and `{name}.gz`"), instead: None }.of(folder)
    })
}

/// Classes of the main head of a set with a name of its own: as many as the labels of both parts need.
fn classes_of_both_parts(folder: &Path) -> Result<usize, FormatError> {
    let mut parts = Split::ALL.into_iter().filter_map(|split| part(folder, split));
    parts.try_fold(0, |most, (part, _)| {
        Ok(classes_needed(&read_labels(&labels_path(folder, &part)?)?).max(most))
    })
}

fn classes_needed(column: &IdxLabels) -> usize {
    let labels = column.labels.of(0, column.num_labels as usize, "labels").unwrap_or_default();
    labels.iter().max().map_or(0, |&largest| usize::from(largest) + 1)
}

/// Opens an images file with its labels, as one head of ten classes.
///
/// # Errors
/// A file that is not of the format, different numbers of images and labels.
pub fn open(images: &Path, labels: &Path) -> Result<ImageSet, FormatError> {
    let column = (MAIN_HEAD.to_owned(), read_labels(labels)?);
    join(read_images(images)?, vec![column], BTreeMap::new(), Vec::new(), Strictness::Strict)
}

/// Label files of further heads, `train-NAME-idx1-ubyte`, by name.
fn further_heads(folder: &Path, part: &str) -> Result<BTreeMap<String, PathBuf>, FormatError> {
    let failed = |error: std::io::Error| FormatProblem::from(error).of(folder);
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_gzip = name.ends_with(".gz");
        let head = name.trim_end_matches(".gz").strip_suffix("-idx1-ubyte");
        let head = head.and_then(|stem| stem.strip_prefix(part)).and_then(|stem| stem.strip_prefix('-'));
        match head {
            None | Some("" | "labels") => {}
            // A plain file goes before its gzipped double.
            Some(head) if is_gzip && found.contains_key(head) => {}
            Some(head) => {
                found.insert(head.to_owned(), path);
            }
        }
    }
    Ok(found)
}

fn join(
    images: IdxImages,
    columns: Vec<(String, IdxLabels)>,
    mut infos: BTreeMap<String, HeadInfo>,
    notes: Vec<String>,
    strictness: Strictness,
) -> Result<ImageSet, FormatError> {
    let path = images.pixels.bytes.path().to_path_buf();
    let mut heads = Vec::with_capacity(columns.len());
    let mut labels = Vec::with_capacity(columns.len());
    for (name, column) in columns {
        if column.num_labels != images.num_images {
            return Err(FormatProblem::Counts {
                what: "labels".into(),
                found: column.num_labels,
                other: path,
                expected: images.num_images,
            }
            .of(column.labels.bytes.path()));
        }
        let info = infos.remove(&name).unwrap_or_default();
        heads.push(head(name, &column, info));
        labels.push(column.labels);
    }
    let shard = Shard {
        first: 0,
        num_samples: images.num_images as usize,
        pixels: images.pixels,
        labels,
        fixed: None,
    };
    ImageSet::new(&path, images.shape, heads, vec![shard], notes, strictness)
}

fn head(name: String, column: &IdxLabels, info: HeadInfo) -> Head {
    let HeadInfo { num_classes, class_names, needed } = info;
    let (num_classes, source) = match num_classes {
        Some(num_classes) => (num_classes, HEADS_FILE),
        None if !class_names.is_empty() => (class_names.len(), HEADS_FILE),
        None if needed.is_some() => (needed.unwrap_or_default(), "the largest label"),
        None if name == MAIN_HEAD => (MAIN_CLASSES, "the format"),
        None => (classes_needed(column), "the largest label"),
    };
    let mut head = Head::classes(name, num_classes, source);
    if class_names.len() == num_classes {
        head.class_names = class_names;
    }
    head
}

#[cfg(test)]
mod tests {
    use super::super::{write_images, write_labels};
    use super::*;

    fn folder(ending: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(format!("{name}{ending}"));
        let pixels: Vec<u8> = (0..5 * 6).collect();
        write_images(&at("train-images-idx3-ubyte"), 2, 3, &pixels).unwrap();
        write_labels(&at("train-labels-idx1-ubyte"), &[0, 9, 3, 1, 2]).unwrap();
        write_labels(&at("train-thickness-idx1-ubyte"), &[0, 1, 2, 1, 0]).unwrap();
        dir
    }

    fn opened(dir: &tempfile::TempDir) -> Result<ImageSet, FormatError> {
        open_split(dir.path(), Split::Train, Strictness::Strict).map(Option::unwrap)
    }

    #[test]
    fn what_is_written_is_read_plain_and_gzipped() {
        for ending in ["", ".gz"] {
            let dir = folder(ending);
            let set = opened(&dir).unwrap();
            assert_eq!((set.num_samples(), set.shape().to_string()), (5, "2x3x1".into()));
            let (mut pixels, mut labels) = ([0; 6], [0; 2]);
            set.pixels(2, &mut pixels).unwrap();
            set.labels(2, &mut labels).unwrap();
            assert_eq!((pixels, labels), ([12, 13, 14, 15, 16, 17], [3, 2]));
            let lines: Vec<String> = set.heads().iter().map(ToString::to_string).collect();
            assert_eq!(lines[0], "digit: 10 classes from the format; a label is the class");
            assert_eq!(lines[1], "thickness: 3 classes from the largest label; a label is the class");
            assert!(open_split(dir.path(), Split::Test, Strictness::Strict).unwrap().is_none());
            assert!(
                set.pixels(5, &mut pixels).unwrap_err().to_string().ends_with("has no sample 5: it holds 5")
            );
            assert!(set.pixels(0, &mut pixels[..5]).is_err());
        }
    }

    #[test]
    fn heads_json_states_classes() {
        let dir = folder("");
        let json = r#"{"digit": {"num_classes": 26}, "thickness": {"class_names": ["thin", "mid", "thick", "fat"]}}"#;
        fs_err::write(dir.path().join(HEADS_FILE), json).unwrap();
        let set = opened(&dir).unwrap();
        assert_eq!((set.heads()[0].num_classes, set.heads()[1].num_classes), (26, 4));
        assert_eq!(set.heads()[1].class_names[3], "fat");
        fs_err::write(dir.path().join(HEADS_FILE), r#"{"digit": {"clases": 26}}"#).unwrap();
        let error = opened(&dir).unwrap_err().to_string();
        assert!(error.contains("heads.json`: cannot be parsed: unknown field `clases`"), "{error}");
        fs_err::write(dir.path().join(HEADS_FILE), r#"{"thicknes": {"num_classes": 3}}"#).unwrap();
        let error = opened(&dir).unwrap_err().to_string();
        let expected = "key `thicknes`: expected a head that has labels here (`digit`, `thickness`), found no file of labels";
        assert!(error.ends_with(expected), "{error}");
    }

    #[test]
    fn faults_name_the_file_the_place_and_the_sample() {
        let dir = folder("");
        let message = || opened(&dir).unwrap_err().to_string();
        let labels = dir.path().join("train-labels-idx1-ubyte");
        write_labels(&labels, &[0, 1, 2, 3]).unwrap();
        assert!(message().contains("train-labels-idx1-ubyte`: holds 4 labels, but"), "{}", message());
        write_labels(&labels, &[0, 1, 2, 3, 10]).unwrap();
        let expected = "sample 4 at byte 12: label 10 of head `digit` is out of range, it has 10 classes";
        assert!(message().ends_with(expected), "{}", message());
        fs_err::remove_file(&labels).unwrap();
        assert!(
            message().ends_with("found none of `train-labels-idx1-ubyte` and `train-labels-idx1-ubyte.gz`")
        );

        let images = dir.path().join("train-images-idx3-ubyte");
        let text = || read_images(&images).unwrap_err().to_string();
        let good = fs_err::read(&images).unwrap();
        fs_err::write(&images, &good[..40]).unwrap();
        assert!(
            text().ends_with("truncated: expected 30 bytes for the images at byte 16, found 24"),
            "{}",
            text()
        );
        fs_err::write(&images, &good[..10]).unwrap();
        assert!(
            text().ends_with("truncated: expected 4 bytes for the header at byte 8, found 2"),
            "{}",
            text()
        );
        fs_err::write(&images, [&good[..], &[0]].concat()).unwrap();
        assert!(
            text().ends_with("expected the end of the file at byte 46, found 1 more bytes"),
            "{}",
            text()
        );
        let mut swapped = good.clone();
        swapped[3] = 1;
        fs_err::write(&images, &swapped).unwrap();
        assert!(
            text()
                .contains("at byte 0: expected the magic number 0x00000803 of IDX images, found 0x00000801")
        );
        let mut absurd = good;
        absurd[4..16].fill(0xff);
        fs_err::write(&images, &absurd).unwrap();
        assert!(text().contains("images of 4294967295x4294967295x1"), "{}", text());
    }

    #[test]
    fn a_gzip_that_is_cut_damaged_or_too_long_is_refused() {
        let dir = folder(".gz");
        let path = dir.path().join("train-images-idx3-ubyte.gz");
        let good = fs_err::read(&path).unwrap();
        let text = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            read_images(&path).unwrap_err().to_string()
        };
        assert!(text(&good[..good.len() - 9]).contains("expected an intact gzip stream"));
        let mut flipped = good.clone();
        let crc = good.len() - 8;
        flipped[crc] ^= 1;
        assert!(text(&flipped).contains("expected an intact gzip stream"));
        let twice = [&good[..], &good[..]].concat();
        assert!(text(&twice).contains("expected the end of the file at byte 46, found 1 more bytes"));
    }
}
