//! Views made of tensors are those that the loader makes, within a rounding: every change alone, at both filters, all of them
//! together, small views, and what evaluation sees.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::{
    AugmentConfig, AugmentDevice, ByView, DataConfig, DataKind, ImageAugmentConfig, Interpolation,
};
use dtrain_data::images::idx::{write_images, write_labels};
use dtrain_data::{
    BatchRequest, Dataset, Draw, GroupRequest, LabelAccess, LoaderOptions, ViewSettings, Views,
};
use tch::{Device, Kind, Tensor};

use crate::batch::{first_views, start_loader, upload};

/// Of pixels from 0 to 1: a hundredth of a step of a byte.
const TOLERANCE: f64 = 4e-5;

const NUM_SAMPLES: u32 = 12;

fn bytes(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((i * 7 / 3) as u32 + (state >> 26)) as u8
    };
    (0..len).map(&mut next).collect()
}

/// RGB images of 32 x 32 in CIFAR-10's files.
fn coloured(folder: &Path) -> DataConfig {
    let pixels = bytes(3072 * NUM_SAMPLES as usize);
    let records: Vec<u8> =
        pixels.chunks(3072).enumerate().flat_map(|(i, image)| [&[(i % 10) as u8], image].concat()).collect();
    std::fs::write(folder.join("data_batch_1.bin"), &records).unwrap();
    std::fs::write(folder.join("test_batch.bin"), &records).unwrap();
    DataConfig { kind: DataKind::Images, target: "class".into(), ..DataConfig::default() }
}

/// Grey images of 13 x 10 in MNIST's files.
fn grey(folder: &Path) -> DataConfig {
    for prefix in ["train", "t10k"] {
        let file = |kind: &str| folder.join(format!("{prefix}-{kind}-ubyte"));
        write_images(&file("images-idx3"), 13, 10, &bytes(130 * NUM_SAMPLES as usize)).unwrap();
        let labels: Vec<u8> = (0..NUM_SAMPLES as u8).map(|i| i % 10).collect();
        write_labels(&file("labels-idx1"), &labels).unwrap();
    }
    DataConfig { kind: DataKind::Images, target: "digit".into(), ..DataConfig::default() }
}

fn maker(
    data: &DataConfig,
    folder: &Path,
    image: &ImageAugmentConfig,
    device: AugmentDevice,
) -> Arc<dyn Views> {
    let dataset = Dataset::open(data, folder, LabelAccess::All).unwrap();
    let image = ImageAugmentConfig { device, ..image.clone() };
    let augment = AugmentConfig { image, ..AugmentConfig::default() };
    dataset
        .source
        .views(&ViewSettings { data, augment: &augment, seed: 3, num_specs: 2, masks: false })
        .unwrap()
}

fn request(augment: bool) -> BatchRequest {
    BatchRequest {
        epoch: 1,
        draws: (0..NUM_SAMPLES).map(Draw::first).collect(),
        groups: vec![GroupRequest::of(3), GroupRequest { num_views: 2, spec: 1 }],
        augment,
        ..BatchRequest::default()
    }
}

/// The views of a batch of both shapes, the values that travelled, and the pictures of the first samples.
fn views(maker: &Arc<dyn Views>, augment: bool) -> (Vec<Tensor>, usize, Tensor) {
    let options =
        LoaderOptions { threads: 2, prefetch_batches: 1, prefetch_bytes: 1 << 24, tells_of_first: false };
    let loader = start_loader(maker, [request(augment)].into_iter(), options, Device::Cpu).unwrap();
    let batch = loader.next().unwrap().unwrap();
    let num_values = batch.groups.iter().map(|group| group.data.len()).sum();
    let pictured = first_views(&batch.groups[0], batch.kept.len(), 2).unwrap();
    let groups = upload(&batch, Device::Cpu).unwrap().arrived(Kind::Float).unwrap();
    (groups.into_iter().map(|group| group.rows).collect(), num_values, pictured)
}

fn assert_same(data: fn(&Path) -> DataConfig, image: &ImageAugmentConfig) {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let of_loader = maker(&data, folder.path(), image, AugmentDevice::Cpu);
    let of_tensors = maker(&data, folder.path(), image, AugmentDevice::Trainer);
    for augment in [true, false] {
        let (expected, _, _) = views(&of_loader, augment);
        let (found, _, pictured) = views(&of_tensors, augment);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.size(), expected.size());
            // Normalized pixels: the least standard deviation is 0.224.
            let worst = (found - expected).abs().max().double_value(&[]);
            assert!(worst < TOLERANCE / 0.224, "{worst} {augment} {image:?}");
        }
        let first = found[0].view([
            3,
            i64::from(NUM_SAMPLES),
            pictured.size()[2],
            pictured.size()[3],
            pictured.size()[4],
        ]);
        let worst = (pictured - first.narrow(1, 0, 2)).abs().max().double_value(&[]);
        assert!(worst < TOLERANCE, "{worst}");
    }
}

/// None of the changes.
fn plain() -> ImageAugmentConfig {
    ImageAugmentConfig::default()
}

#[test]
fn crops_are_the_loader_s() {
    for data in [coloured, grey] {
        assert_same(data, &plain());
        assert_same(data, &ImageAugmentConfig { crop_padding: 4, ..plain() });
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let image = ImageAugmentConfig { crop_scale: Some([0.05, 1.0]), interpolation, ..plain() };
            assert_same(data, &image);
        }
    }
}

#[test]
fn every_change_alone_is_the_loader_s() {
    let jitter = ImageAugmentConfig {
        jitter_probability: 0.8,
        brightness: 0.0,
        contrast: 0.0,
        saturation: 0.0,
        hue: 0.0,
        ..plain()
    };
    for data in [coloured, grey] {
        for image in [
            ImageAugmentConfig { flip_probability: 0.5, ..plain() },
            ImageAugmentConfig { brightness: 0.8, ..jitter.clone() },
            ImageAugmentConfig { contrast: 0.8, ..jitter.clone() },
            ImageAugmentConfig { saturation: 0.8, ..jitter.clone() },
            ImageAugmentConfig { hue: 0.5, ..jitter.clone() },
            ImageAugmentConfig { grayscale_probability: 0.5, ..plain() },
            ImageAugmentConfig { blur_probability: 0.5.into(), ..plain() },
            ImageAugmentConfig { blur_probability: 1.0.into(), blur_kernel: Some(7), ..plain() },
            ImageAugmentConfig { solarize_probability: ByView::from(vec![0.0, 1.0, 0.5]), ..plain() },
        ] {
            assert_same(data, &image);
        }
    }
}

#[test]
fn all_changes_together_are_the_loader_s() {
    let image = ImageAugmentConfig {
        crop_scale: Some([0.08, 1.0]),
        flip_probability: 0.5,
        jitter_probability: 0.8,
        brightness: 0.4,
        contrast: 0.4,
        saturation: 0.2,
        hue: 0.1,
        grayscale_probability: 0.2,
        blur_probability: ByView::from(vec![1.0, 0.1]),
        solarize_probability: ByView::from(vec![0.0, 0.5]),
        // No pixel lies within a rounding of it.
        solarize_threshold: 0.512_345,
        ..plain()
    };
    assert_same(coloured, &image);
    assert_same(grey, &image);
}

/// Bytes instead of floats: a large view travels in a quarter of its size and a few numbers.
#[test]
fn bytes_travel_instead_of_floats() {
    let folder = tempfile::tempdir().unwrap();
    let data = coloured(folder.path());
    let image = ImageAugmentConfig { crop_scale: Some([0.2, 1.0]), ..plain() };
    let rows = 5 * NUM_SAMPLES as usize;
    let (_, num_values, _) = views(&maker(&data, folder.path(), &image, AugmentDevice::Trainer), true);
    assert_eq!(num_values, rows * (4 + 3072 / 4));
}
