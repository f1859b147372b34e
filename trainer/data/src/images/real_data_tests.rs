//! Real sets, where the environment variable `DTRAIN_TEST_IMAGES` names a folder that has them: `mnist/` with the four
//! files, `data_batch_1.bin` of CIFAR-10 or a beginning of it in `cifar10/`, and VIMH sets in `vimh/`.

use std::path::{Path, PathBuf};

use dtrain_test_skip::skipped;

use super::*;
use crate::images::vimh::{Form, Samples, open_split, write_set};

fn folder(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("DTRAIN_TEST_IMAGES").map(|root| Path::new(&root).join(name));
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        skipped(&format!("DTRAIN_TEST_IMAGES names no folder with `{name}`"));
    }
    folder
}

fn first_labels(set: &ImageSet, num: usize) -> Vec<u32> {
    let mut labels = vec![0; set.heads().len()];
    let label = |index| {
        set.labels(index, &mut labels).unwrap();
        labels[0]
    };
    (0..num).map(label).collect()
}

#[test]
fn mnist() {
    let Some(folder) = folder("mnist") else { return };
    let set = ImageFolder::open(&folder).unwrap();
    let test = set.test.as_ref().unwrap();
    assert_eq!((set.train.num_samples(), test.num_samples()), (60_000, 10_000));
    assert_eq!(first_labels(&set.train, 10), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]);
    assert_eq!(first_labels(test, 10), [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]);
    set.train.check_all().unwrap();
    let (mut image, mut sum) = (vec![0; 784], 0u64);
    for index in 0..60_000 {
        set.train.pixels(index, &mut image).unwrap();
        sum += image.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
    }
    // The well-known mean of the training images.
    let mean = sum as f64 / (60_000.0 * 784.0 * 255.0);
    assert!((mean - 0.1307).abs() < 5e-5, "{mean}");
}

#[test]
fn cifar_10() {
    let Some(folder) = folder("cifar10") else { return };
    let set = ImageFolder::open(&folder).unwrap();
    assert_eq!(first_labels(&set.train, 10), [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]);
    set.train.check_all().unwrap();
}

/// Samples with the scale of the binary file, or without one.
struct Scaled<'a> {
    set: &'a ImageSet,
    binary: Option<Vec<u8>>,
}

impl Samples for Scaled<'_> {
    fn num_samples(&self) -> usize {
        self.set.num_samples()
    }

    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError> {
        self.set.sample(index, pixels, labels)
    }

    fn scale(&self, index: usize) -> [f32; 2] {
        let Some(binary) = &self.binary else { return [0.0; 2] };
        let record = &binary[index * (binary.len() / self.set.num_samples())..];
        [6, 10].map(|at| f32::from_le_bytes(record[at..at + 4].try_into().unwrap()))
    }
}

/// Reads what the format's own programs wrote, and writes it again: byte for byte the same.
#[test]
fn vimh_of_its_own_programs() {
    let Some(root) = folder("vimh") else { return };
    for entry in fs_err::read_dir(root).unwrap() {
        let folder = entry.unwrap().path();
        let set = ImageFolder::open(&folder).unwrap();
        println!("{}: {}, {} samples", folder.display(), set.train.shape(), set.train.num_samples());
        set.train.heads().iter().for_each(|head| println!("  {head}"));
        let test = set.test.as_ref().unwrap();
        let (dir, binary) = (tempfile::tempdir().unwrap(), |name: &str| fs_err::read(folder.join(name)).ok());
        let scaled = |set, name| Scaled { set, binary: binary(name) };
        let meta = convert::meta(&set.train);
        write_set(dir.path(), "x", &meta, &scaled(&set.train, "train"), &scaled(test, "test")).unwrap();
        for name in ["train_batch", "test_batch"] {
            let (ours, theirs) = (fs_err::read(dir.path().join(name)), fs_err::read(folder.join(name)));
            assert!(ours.unwrap() == theirs.unwrap(), "{name} of {}", folder.display());
        }
        for name in ["train", "test"] {
            let Some(theirs) = binary(name) else { continue };
            assert!(fs_err::read(dir.path().join(name)).unwrap() == theirs, "{name} of {}", folder.display());
        }
        for split in Split::ALL {
            let Some(binary) = open_split(&folder, split, Form::Binary).unwrap() else { continue };
            let pickle = open_split(&folder, split, Form::Pickle).unwrap().unwrap();
            assert_eq!((binary.heads(), binary.num_samples()), (pickle.heads(), pickle.num_samples()));
        }
    }
}
