//! CIFAR-10 and CIFAR-100 in their binary form: records without a header.
//!
//! | set | record | files |
//! |---|---|---|
//! | CIFAR-10 | label, 3072 bytes | `data_batch_1.bin` to `data_batch_5.bin`, `test_batch.bin` |
//! | CIFAR-100 | coarse label, fine label, 3072 bytes | `train.bin`, `test.bin` |
//!
//! Pixels are planes of red, green and blue, 32 rows of 32 bytes each. Names of classes are taken from
//! `batches.meta.txt`, or `coarse_label_names.txt` and `fine_label_names.txt`, where they are.

use std::path::{Path, PathBuf};

use super::bytes::{Bytes, Column};
use super::error::{FormatError, FormatProblem};
use super::head::Head;
use super::set::{ImageSet, Shard};
use super::shape::ImageShape;
use super::split::Split;
use super::strictness::Strictness;

const SHAPE: ImageShape = ImageShape { channels: 3, height: 32, width: 32 };
const MAX_NAMES_BYTES: usize = 64 << 10;

/// Files of CIFAR-10 to learn from.
pub const TEN_TRAIN_FILES: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
/// File of CIFAR-10 to report on.
pub const TEN_TEST_FILE: &str = "test_batch.bin";
/// Names of CIFAR-10's classes, one a line.
pub const TEN_NAMES_FILE: &str = "batches.meta.txt";

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes.
    Ten,
    /// Twenty coarse and a hundred fine classes.
    Hundred,
}

impl Cifar {
    /// Heads in the order of their bytes: name, classes, file with the names of the classes.
    fn heads(self) -> &'static [(&'static str, usize, &'static str)] {
        match self {
            Self::Ten => &[("class", 10, TEN_NAMES_FILE)],
            Self::Hundred => {
                &[("coarse", 20, "coarse_label_names.txt"), ("fine", 100, "fine_label_names.txt")]
            }
        }
    }

    /// Files of a part that exist, in order.
    fn files(self, folder: &Path, split: Split) -> Vec<PathBuf> {
        let names = match (self, split) {
            (Self::Ten, Split::Train) => TEN_TRAIN_FILES.map(str::to_owned).to_vec(),
            (Self::Ten, Split::Test) => vec![TEN_TEST_FILE.to_owned()],
            (Self::Hundred, split) => vec![format!("{}.bin", split.name())],
        };
        names.into_iter().map(|name| folder.join(name)).filter(|path| path.is_file()).collect()
    }

    /// The kind of a folder.
    pub(super) fn of_folder(folder: &Path) -> Option<Self> {
        [Self::Ten, Self::Hundred].into_iter().find(|kind| !kind.files(folder, Split::Train).is_empty())
    }

    /// Opens one part of a folder; nothing where it has none.
    ///
    /// # Errors
    /// A file that is no whole number of records, a bad label in a first or last record.
    pub(super) fn open_split(
        self,
        folder: &Path,
        split: Split,
        strictness: Strictness,
    ) -> Result<Option<ImageSet>, FormatError> {
        let files = self.files(folder, split);
        if files.is_empty() {
            return Ok(None);
        }
        self.open_files(&files, strictness).map(Some)
    }

    /// Opens files as one set, in this order.
    ///
    /// # Errors
    /// A file that is no whole number of records, a bad label in a first or last record.
    pub fn open(self, files: &[PathBuf]) -> Result<ImageSet, FormatError> {
        self.open_files(files, Strictness::Strict)
    }

    fn open_files(self, files: &[PathBuf], strictness: Strictness) -> Result<ImageSet, FormatError> {
        let first = files.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
        let folder = first.parent().unwrap_or(Path::new(""));
        let shards = files
            .iter()
            .map(|path| {
                let bytes = Bytes::map_plain(path)?;
                self.shard(bytes).map_err(|problem| problem.of(path))
            })
            .collect::<Result<Vec<Shard>, FormatError>>()?;
        let heads = self
            .heads()
            .iter()
            .map(|&(name, num_classes, names_file)| {
                let class_names = class_names(&folder.join(names_file), num_classes);
                Head { class_names, ..Head::classes(name, num_classes, "the format") }
            })
            .collect();
        ImageSet::new(first, SHAPE, heads, shards, Vec::new(), strictness)
    }

    pub(super) fn shard(self, bytes: Bytes) -> Result<Shard, FormatProblem> {
        let num_labels = self.heads().len() as u64;
        let stride = num_labels + SHAPE.num_bytes() as u64;
        let len = bytes.len() as u64;
        if !len.is_multiple_of(stride) {
            let begin = len / stride * stride;
            return Err(FormatProblem::truncated(
                begin,
                format!("record {}", len / stride),
                stride,
                len - begin,
            ));
        }
        let column = |start: u64| Column { bytes: bytes.clone(), start, stride };
        Ok(Shard {
            first: 0,
            num_samples: (len / stride) as usize,
            pixels: column(num_labels),
            labels: (0..num_labels).map(column).collect(),
            fixed: None,
        })
    }
}

/// Names of all classes, or none: they are a convenience.
fn class_names(path: &Path, num_classes: usize) -> Vec<String> {
    let Ok(bytes) = Bytes::map(path) else { return Vec::new() };
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(MAX_NAMES_BYTES)).unwrap_or_default());
    let lines = text.unwrap_or_default().lines().map(str::trim).filter(|line| !line.is_empty());
    let names: Vec<String> = lines.map(str::to_owned).collect();
    if names.len() == num_classes { names } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(labels: &[u8], shade: u8) -> Vec<u8> {
        [labels, &vec![shade; 3072]].concat()
    }

    #[test]
    fn batches_follow_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs_err::write(dir.path().join(name), bytes).unwrap();
        write("data_batch_2.bin", &[record(&[3], 30), record(&[4], 40)].concat());
        write("data_batch_1.bin", &record(&[9], 90));
        write("batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
        let kind = Cifar::of_folder(dir.path()).unwrap();
        let set = kind.open_split(dir.path(), Split::Train, Strictness::Strict).unwrap().unwrap();
        assert_eq!((set.num_samples(), set.heads()[0].class_names[9].as_str()), (3, "j"));
        let (mut pixels, mut labels) = (vec![0; 3072], [0]);
        for (index, expected) in [(0, 9), (1, 3), (2, 4)] {
            set.pixels(index, &mut pixels).unwrap();
            set.labels(index, &mut labels).unwrap();
            assert_eq!(
                (labels[0], u32::from(pixels[0]), u32::from(pixels[3071])),
                (expected, expected * 10, expected * 10)
            );
        }
        assert!(kind.open_split(dir.path(), Split::Test, Strictness::Strict).unwrap().is_none());
    }

    #[test]
    fn cifar_100_has_two_labels() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("train.bin"), [record(&[19, 99], 1), record(&[0, 50], 2)].concat())
            .unwrap();
        let kind = Cifar::of_folder(dir.path()).unwrap();
        let set = kind.open_split(dir.path(), Split::Train, Strictness::Strict).unwrap().unwrap();
        let mut labels = [0; 2];
        set.labels(1, &mut labels).unwrap();
        assert_eq!((set.num_samples(), labels), (2, [0, 50]));
    }

    #[test]
    fn faults_name_record_and_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data_batch_1.bin");
        let message = |bytes: &[u8]| {
            fs_err::write(&path, bytes).unwrap();
            Cifar::Ten.open(std::slice::from_ref(&path)).unwrap_err().to_string()
        };
        let two = [record(&[1], 0), record(&[10], 0)].concat();
        assert!(
            message(&two).ends_with(
                "sample 1 at byte 3073: label 10 of head `class` is out of range, it has 10 classes"
            )
        );
        let text = message(&two[..4000]);
        assert!(
            text.ends_with("truncated: expected 3073 bytes for record 1 at byte 3073, found 927"),
            "{text}"
        );
        assert!(message(b"").ends_with("the file has no samples"));
    }
}
