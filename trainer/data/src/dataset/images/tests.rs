//! Images as a data set: numbering, labels, and what is refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::{AugmentConfig, DataConfig, DataKind, ImagesConfig, LabelMapConfig};

use super::super::{Dataset, LabelAccess};
use crate::images::idx::{write_images, write_labels};
use crate::{
    BatchRequest, Draw, GroupRequest, Loader, LoaderOptions, PlainMemory, ViewError, ViewSettings, Views,
};

const PIXELS: usize = 4;

/// Images of 2 x 2 pixels whose first pixel is their number, and whose digit is that modulo 10.
fn write(folder: &Path, prefix: &str, numbers: std::ops::Range<u8>) {
    let pixels: Vec<u8> = numbers.clone().flat_map(|number| [number, 0, 128, 255]).collect();
    write_images(&folder.join(format!("{prefix}-images-idx3-ubyte")), 2, 2, &pixels).unwrap();
    let labels: Vec<u8> = numbers.map(|number| number % 10).collect();
    write_labels(&folder.join(format!("{prefix}-labels-idx1-ubyte")), &labels).unwrap();
}

fn digits() -> (tempfile::TempDir, DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", 0..40);
    write(folder.path(), "t10k", 100..110);
    let odd = LabelMapConfig {
        of: "digit".into(),
        classes: vec![0, 4, 0, 4, 0, 4, 0, 4, 0, 4],
        num_classes: Some(5),
        ..LabelMapConfig::default()
    };
    let config = DataConfig {
        kind: DataKind::Images,
        target: "digit".into(),
        label_maps: BTreeMap::from([("odd".to_owned(), odd)]),
        images: ImagesConfig { val_fraction: 0.25, ..ImagesConfig::default() },
        ..DataConfig::default()
    };
    (folder, config)
}

fn open(config: &DataConfig, folder: &Path, access: LabelAccess) -> Dataset {
    Dataset::open(config, folder, access).unwrap()
}

fn maker(dataset: &Dataset, data: &DataConfig) -> Result<Arc<dyn Views>, ViewError> {
    let settings =
        ViewSettings { data, augment: &AugmentConfig::default(), seed: 0, num_specs: 1, masks: false };
    Arc::clone(&dataset.source).views(&settings)
}

#[test]
fn a_target_of_one_class_is_told() {
    let (folder, config) = digits();
    assert_eq!(open(&config, folder.path(), LabelAccess::All).warnings, Vec::<String>::new());
    write_labels(&folder.path().join("train-labels-idx1-ubyte"), &[3; 40]).unwrap();
    let warnings = open(&config, folder.path(), LabelAccess::All).warnings;
    assert!(warnings[0].contains("`digit` has one class in the training part, `3`"), "{warnings:?}");
}

#[test]
fn both_parts_are_numbered_through_and_a_part_is_held_out() {
    let (folder, config) = digits();
    let dataset = open(&config, folder.path(), LabelAccess::All);
    assert_eq!((dataset.num_samples(), dataset.train.len(), dataset.val.len()), (50, 30, 10));
    assert_eq!(dataset.test, (40..50).collect::<Vec<u32>>());
    let mut own: Vec<u32> = dataset.train.iter().chain(&dataset.val).copied().collect();
    own.sort_unstable();
    assert_eq!(own, (0..40).collect::<Vec<u32>>());
    assert_eq!(dataset.name_of(39).unwrap(), "train/39");
    assert_eq!(dataset.name_of(41).unwrap(), "test/1");
    assert_eq!(dataset.name_of(50), None);
    let digit = dataset.label("digit").unwrap();
    let odd = dataset.label("odd").unwrap();
    assert_eq!((digit.of_sample[13], odd.of_sample[13], odd.of_sample[44]), (Some(3), Some(4), Some(0)));
    assert_eq!(odd.classes.len(), 5);
}

#[test]
fn labels_come_with_their_images_and_equal_those_read_beforehand() {
    let (folder, config) = digits();
    let known = open(&config, folder.path(), LabelAccess::All);
    let dataset = open(&config, folder.path(), LabelAccess::WithSamples);
    assert_eq!(known.fingerprint, dataset.fingerprint);
    assert!(dataset.label("digit").unwrap().of_sample.is_empty());
    let maker = maker(&dataset, &config).unwrap();
    let draws: Vec<Draw> = [41, 3, 17].map(Draw::first).into();
    let request = BatchRequest { draws, groups: vec![GroupRequest::of(1)], ..BatchRequest::default() };
    let options =
        LoaderOptions { threads: 2, prefetch_batches: 1, prefetch_bytes: 1 << 20, tells_of_first: false };
    let loader = Loader::start(maker, [request].into_iter(), options, PlainMemory).unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!(batch.groups[0].shape, [1, 2, 2]);
    assert_eq!(dataset.classes_of(&batch), [vec![1, 3, 7], vec![4, 4, 4]]);
    // One channel: (pixel / 255 - 0.5) / 0.5.
    let first: Vec<f32> = batch.groups[0].data.iter().step_by(PIXELS).copied().collect();
    let expected = [101.0_f32, 3.0, 17.0].map(|pixel| (pixel / 255.0 - 0.5) / 0.5);
    assert!(first.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{first:?}");
    assert_eq!(batch.groups[0].data[3], 1.0);
}

#[test]
fn a_bad_label_drops_its_sample_and_names_it() {
    let (folder, config) = digits();
    let mut labels: Vec<u8> = (0..40).map(|number| number % 10).collect();
    labels[20] = 77;
    let file = folder.path().join("train-labels-idx1-ubyte");
    fs_err::remove_file(&file).unwrap();
    write_labels(&file, &labels).unwrap();
    let error = Dataset::open(&config, folder.path(), LabelAccess::All).unwrap_err().to_string();
    assert!(error.contains("77") && error.contains("20"), "{error}");

    let dataset = open(&config, folder.path(), LabelAccess::WithSamples);
    let maker = maker(&dataset, &config).unwrap();
    let draws: Vec<Draw> = [19, 20, 21].map(Draw::first).into();
    let request = BatchRequest { draws, groups: vec![GroupRequest::of(2)], ..BatchRequest::default() };
    let options =
        LoaderOptions { threads: 1, prefetch_batches: 1, prefetch_bytes: 1 << 20, tells_of_first: false };
    let loader = Loader::start(maker, [request].into_iter(), options, PlainMemory).unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!((batch.kept.as_slice(), batch.failed[0].sample_id), ([0, 2].as_slice(), 20));
    assert!(batch.failed[0].reason.contains("77"), "{}", batch.failed[0].reason);
    assert_eq!(dataset.classes_of(&batch), [vec![9, 1], vec![4, 4]]);
    assert_eq!(batch.groups[0].data.len(), 2 * 2 * PIXELS);
}

#[test]
fn settings_that_do_not_fit_the_data_are_named() {
    let (folder, config) = digits();
    let message =
        |config: &DataConfig| Dataset::open(config, folder.path(), LabelAccess::All).unwrap_err().to_string();
    let text = message(&DataConfig { target: "species".into(), ..config.clone() });
    assert_eq!(text, "`data.target` = `species` is not a label of this data set; it has `digit` and `odd`");
    let dataset = open(&config, folder.path(), LabelAccess::All);
    let three = ImagesConfig { mean: Some(vec![0.0; 3]), ..ImagesConfig::default() };
    let error = maker(&dataset, &DataConfig { images: three, ..config }).unwrap_err().to_string();
    assert_eq!(error, "`data.images.mean` has 3 numbers, but the images have 1 channels");
}

#[test]
fn a_map_of_the_same_name_takes_the_label_s_place() {
    let (folder, mut config) = digits();
    let all = LabelMapConfig { of: "digit".into(), classes: vec![1; 10], ..LabelMapConfig::default() };
    config.label_maps = BTreeMap::from([("digit".to_owned(), all)]);
    let dataset = open(&config, folder.path(), LabelAccess::All);
    assert_eq!(dataset.labels.len(), 1);
    assert_eq!(dataset.labels[0].of_sample, vec![Some(1); 50]);
    assert!(dataset.warnings[0].contains("`data.label_maps.digit` takes the place"));
}
