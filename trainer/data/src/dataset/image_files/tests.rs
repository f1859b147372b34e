//! Image files as a data set: what is listed, what is left out, what views show, and what is refused.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::{
    AugmentConfig, DataConfig, DataKind, ImageAugmentConfig, ImagesConfig, LabelsConfig, SplitConfig,
};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::super::{Dataset, LabelAccess};
use crate::error::DataError;
use crate::views::{ViewError, ViewRequest, ViewSettings, ViewSlot, Workspace};

/// `train/` and `val/` with two classes of two images each, of sizes and formats of their own, all of one colour each.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (number, (part, class)) in
        [("train", "cat"), ("train", "dog"), ("val", "cat"), ("val", "dog")].into_iter().enumerate()
    {
        let below = folder.path().join(part).join(class).join("more");
        std::fs::create_dir_all(&below).unwrap();
        let colour = Rgb([10 + 60 * number as u8, 20, 30]);
        RgbImage::from_pixel(40, 30, colour).save(below.join("wide.PNG")).unwrap();
        RgbImage::from_pixel(20, 50, colour).save(below.join("high.bmp")).unwrap();
    }
    folder
}

fn config() -> DataConfig {
    let split = SplitConfig { by: Some("part".into()), test: vec!["val".into()], ..SplitConfig::default() };
    DataConfig {
        kind: DataKind::Images,
        labels: LabelsConfig {
            folders: vec!["part".into(), "class".into()],
            columns: Some(vec!["class".into()]),
            ..LabelsConfig::default()
        },
        splits: [("default".to_owned(), split)].into(),
        images: ImagesConfig { size: Some(16), ..ImagesConfig::default() },
        ..DataConfig::default()
    }
}

fn open(config: &DataConfig, root: &Path) -> Result<Dataset, DataError> {
    Dataset::open(config, root, LabelAccess::All)
}

#[test]
fn imagenet_s_layout_gives_classes_and_parts() {
    let folder = folder();
    let dataset = open(&config(), folder.path()).unwrap();
    assert_eq!(
        (&*dataset.train, &*dataset.val, &*dataset.test),
        (&[0, 1, 2, 3][..], &[][..], &[4, 5, 6, 7][..])
    );
    assert_eq!(dataset.name_of(1).as_deref(), Some("train/cat/more/wide.PNG"));
    let [label] = dataset.labels.as_slice() else { panic!("{:?}", dataset.labels) };
    assert_eq!(
        (label.name.as_str(), label.classes.as_slice()),
        ("class", &["cat".to_owned(), "dog".to_owned()][..])
    );
    assert_eq!(label.class_name(6), Some("dog"));
    assert_eq!(
        dataset.source.size_of(1),
        Some(std::fs::metadata(folder.path().join("train/cat/more/wide.PNG")).unwrap().len())
    );
    let again = open(&config(), folder.path()).unwrap();
    assert_eq!(dataset.fingerprint, again.fingerprint);
    std::fs::rename(folder.path().join("val/dog/more/high.bmp"), folder.path().join("val/dog/high.bmp"))
        .unwrap();
    assert_ne!(dataset.fingerprint, open(&config(), folder.path()).unwrap().fingerprint);
}

#[test]
fn bad_files_are_named_and_counted_up_to_the_limit() {
    let folder = folder();
    std::fs::write(folder.path().join("train/dog/text.png"), "not a picture").unwrap();
    std::fs::write(folder.path().join("train/dog/moving.gif"), "GIF89a").unwrap();
    let dataset = open(&config(), folder.path()).unwrap();
    let [skipped] = dataset.skipped.as_slice() else { panic!("{:?}", dataset.skipped) };
    assert_eq!((skipped.path.as_str(), dataset.num_samples()), ("train/dog/text.png", 8));
    let warnings = dataset.warnings.join("\n");
    assert!(warnings.contains("unreadable images are skipped (1): `train/dog/text.png`"), "{warnings}");
    assert!(warnings.contains("1 `.gif` files, which are not read"), "{warnings}");
    let strict = DataConfig { max_bad_files: 0, ..config() };
    assert!(matches!(open(&strict, folder.path()), Err(DataError::TooManyBadFiles { num_bad: 1, .. })));
}

#[test]
fn folders_without_images_or_classes_are_refused() {
    let empty = tempfile::tempdir().unwrap();
    std::fs::write(empty.path().join("a.tiff"), "II*\0").unwrap();
    let error = open(&config(), empty.path()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no images found in") && text.contains("`.jpg`, `.jpeg`"), "{text}");
    assert!(error.hint().unwrap().contains("mogrify"));

    let folder = folder();
    std::fs::create_dir(folder.path().join("train/owl")).unwrap();
    assert!(matches!(open(&config(), folder.path()), Err(DataError::EmptyClass { .. })));
}

#[test]
fn links_that_loop_are_entered_once() {
    let folder = folder();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("train/cat/more/loop")).unwrap();
    assert_eq!(open(&config(), folder.path()).unwrap().num_samples(), 8);
}

fn view(dataset: &Dataset, image: ImageAugmentConfig, id: u32, augment: bool) -> Result<Vec<f32>, ViewError> {
    let augment_config = AugmentConfig { image, ..AugmentConfig::default() };
    let settings =
        ViewSettings { data: &config(), augment: &augment_config, seed: 0, num_specs: 1, masks: false };
    let maker = Arc::clone(&dataset.source).views(&settings)?;
    assert_eq!(maker.shape(), [3, 16, 16]);
    let mut values = vec![f32::NAN; 3 * 16 * 16];
    let slot = ViewSlot { spec: 0, view: 0, index: 0, values: &mut values, drawn: &mut [] };
    let request = ViewRequest { epoch: 0, sample_id: id, augment };
    maker.make(&mut Workspace::default(), &request, vec![slot], &mut [])?;
    Ok(values)
}

#[test]
fn views_are_squares_of_the_size_that_is_asked_for() {
    let folder = folder();
    let dataset = open(&config(), folder.path()).unwrap();
    let cropped = ImageAugmentConfig { crop_scale: Some([0.2, 1.0]), ..ImageAugmentConfig::default() };
    for (id, augment) in [(0, false), (1, true), (7, true)] {
        let red = [10.0, 10.0, 190.0][if id == 7 { 2 } else { 0 }] / 255.0;
        for (channel, plane) in view(&dataset, cropped.clone(), id, augment).unwrap().chunks(256).enumerate()
        {
            let (mean, std) = ([0.485, 0.456, 0.406][channel], [0.229, 0.224, 0.225][channel]);
            let expected = ([red, 20.0 / 255.0, 30.0 / 255.0][channel] - mean) / std;
            assert!(plane.iter().all(|value| (value - expected as f32).abs() < 1e-5), "{id} {channel}");
        }
    }
    let padded = ImageAugmentConfig { crop_padding: 2, ..ImageAugmentConfig::default() };
    assert_eq!(view(&dataset, padded, 0, true).unwrap_err(), ViewError::PaddedFiles);
}

#[test]
fn a_file_that_is_damaged_later_is_named() {
    let folder = folder();
    let dataset = open(&config(), folder.path()).unwrap();
    let path = folder.path().join("train/cat/more/wide.PNG");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = view(&dataset, ImageAugmentConfig::default(), 1, false).unwrap_err();
    let (named, reason) = error.of_sample().unwrap();
    assert_eq!(named, path);
    assert!(reason.contains("truncated") || reason.contains("damaged"), "{reason}");
}

#[test]
fn files_and_folders_are_asked_about_without_labels() {
    let folder = folder();
    let paths = [folder.path().join("val/dog/more/high.bmp"), folder.path().join("train/cat")];
    std::fs::write(folder.path().join("train/cat/words.jpg"), "words").unwrap();
    let dataset = Dataset::of_files(&config(), &paths).unwrap();
    assert_eq!((dataset.test.len(), dataset.skipped.len(), dataset.labels.len()), (3, 1, 0));
    assert!(dataset.name_of(0).unwrap().ends_with("val/dog/more/high.bmp"));
    view(&dataset, ImageAugmentConfig::default(), 2, false).unwrap();
}
