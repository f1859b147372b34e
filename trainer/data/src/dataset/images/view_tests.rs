//! Views of images: what names them, what the settings make of them, and small ones.

use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::{
    AugmentConfig, ByView, DataConfig, DataKind, ImageAugmentConfig, SmallViewsConfig,
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{Dataset, LabelAccess};
use crate::images::idx::{write_images, write_labels};
use crate::views::{ViewError, ViewRequest, ViewSettings, ViewSlot, Views, Workspace};

/// Four images of random bytes in CIFAR-10's files, 3 x 32 x 32.
fn objects() -> (TempDir, DataConfig) {
    let folder = tempfile::tempdir().unwrap();
    let mut state = 1u32;
    let mut records = Vec::new();
    for label in 0..4 {
        records.push(label);
        for _ in 0..3 * 32 * 32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            records.push((state >> 24) as u8);
        }
    }
    fs_err::write(folder.path().join("data_batch_1.bin"), &records).unwrap();
    fs_err::write(folder.path().join("test_batch.bin"), &records).unwrap();
    (folder, DataConfig { kind: DataKind::Images, target: "class".into(), ..DataConfig::default() })
}

fn try_maker(
    folder: &Path,
    data: &DataConfig,
    image: ImageAugmentConfig,
    seed: u64,
    num_specs: usize,
) -> Result<Arc<dyn Views>, ViewError> {
    let dataset = Dataset::open(data, folder, LabelAccess::All).unwrap();
    let augment = AugmentConfig { image, ..AugmentConfig::default() };
    dataset.source.views(&ViewSettings { data, augment: &augment, seed, num_specs, masks: false })
}

fn maker(image: ImageAugmentConfig, num_specs: usize) -> Arc<dyn Views> {
    let (folder, data) = objects();
    try_maker(folder.path(), &data, image, 7, num_specs).unwrap()
}

/// Everything that SimCLR does to images.
fn simclr() -> ImageAugmentConfig {
    ImageAugmentConfig {
        crop_scale: Some([0.2, 1.0]),
        flip_probability: 0.5,
        jitter_probability: 0.8,
        grayscale_probability: 0.2,
        blur_probability: 0.5.into(),
        ..ImageAugmentConfig::default()
    }
}

/// One view, of the number `view` and the position `index` in its group; `None`: the one that evaluation uses.
fn view(
    maker: &dyn Views,
    spec: usize,
    (epoch, sample_id, view): (u64, u32, Option<(u32, u32)>),
) -> Vec<f32> {
    let mut values = vec![f32::NAN; maker.shape_of(spec).unwrap().iter().product()];
    let request = ViewRequest { epoch, sample_id, augment: view.is_some() };
    let (view, index) = view.unwrap_or((0, 0));
    let slot = ViewSlot { spec, view, index, values: &mut values, drawn: &mut [] };
    let classes = &mut vec![0; maker.labels().len()];
    maker.make(&mut Workspace::default(), &request, vec![slot], classes).unwrap();
    values
}

#[test]
fn without_changes_all_views_are_the_image_bit_for_bit() {
    let plain = maker(ImageAugmentConfig::default(), 1);
    let image = view(&*plain, 0, (0, 2, None));
    assert_eq!(view(&*plain, 0, (3, 2, Some((5, 1)))), image);
    // What evaluation uses is the same whatever changes there are.
    assert_eq!(view(&*maker(simclr(), 2), 0, (1, 2, None)), image);
}

#[test]
fn pixels_are_normalized_after_the_changes() {
    let black = ImageAugmentConfig {
        jitter_probability: 1.0,
        brightness: 1.0,
        solarize_probability: 1.0.into(),
        solarize_threshold: 0.0,
        ..ImageAugmentConfig::default()
    };
    let mirrored = ImageAugmentConfig { flip_probability: 1.0, ..ImageAugmentConfig::default() };
    let (mean, std) = ([0.485_f32, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let changed = view(&*maker(black, 1), 0, (0, 1, Some((0, 0))));
    for (channel, plane) in changed.chunks(32 * 32).enumerate() {
        let (low, high) = (-mean[channel] / std[channel], (1.0 - mean[channel]) / std[channel]);
        assert!(plane.iter().all(|value| (low - 1e-5..=high + 1e-5).contains(value)));
    }
    let maker = maker(mirrored, 1);
    let image = view(&*maker, 0, (0, 1, None));
    for (row, of_image) in view(&*maker, 0, (0, 1, Some((0, 0)))).chunks(32).zip(image.chunks(32)) {
        assert!(row.iter().zip(of_image.iter().rev()).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn each_view_of_a_sample_has_its_own_share() {
    let inverted_second = ImageAugmentConfig {
        solarize_probability: ByView::from(vec![0.0, 1.0]),
        ..ImageAugmentConfig::default()
    };
    let maker = maker(inverted_second, 1);
    let image = view(&*maker, 0, (0, 3, None));
    let differs = |number: u32, index: u32| {
        let changed = view(&*maker, 0, (0, 3, Some((number, index))));
        changed.iter().zip(&image).any(|(a, b)| (a - b).abs() > 1e-4)
    };
    // By the position in the group, and not by the number that goes on where a sample is drawn again.
    assert_eq!([(0, 0), (1, 1), (2, 0), (3, 1)].map(|(n, i)| differs(n, i)), [false, true, false, true]);
}

#[test]
fn small_views_have_their_size_and_leave_the_large_ones() {
    let (alone, both) = (maker(simclr(), 1), maker(simclr(), 2));
    assert_eq!((alone.shape_of(1), both.shape_of(0)), (None, Some([3, 32, 32])));
    assert_eq!(both.shape_of(1), Some([3, 14, 14]));
    for number in 0..3 {
        let name = (2, 1, Some((number, number)));
        assert_eq!(view(&*both, 0, name), view(&*alone, 0, name));
    }
    let small = |number: u32| view(&*both, 1, (0, 1, Some(((1 << 20) + number, number))));
    assert!(small(0).iter().all(|value| value.is_finite()));
    assert_ne!(small(0), small(1));
    // Evaluation would see the whole image: its mean is that of the image.
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    let whole = view(&*both, 1, (0, 1, None));
    assert!((mean(&whole) - mean(&view(&*both, 0, (0, 1, None)))).abs() < 0.05);
}

#[test]
fn what_images_cannot_be_changed_by_is_named() {
    let (folder, data) = objects();
    let blurred = |kernel: usize| ImageAugmentConfig {
        blur_probability: 1.0.into(),
        blur_kernel: Some(kernel),
        ..ImageAugmentConfig::default()
    };
    let error = try_maker(folder.path(), &data, blurred(65), 0, 1).unwrap_err().to_string();
    assert!(error.starts_with("`augment.image.blur_kernel` is 65"), "{error}");
    assert!(try_maker(folder.path(), &data, blurred(29), 0, 1).is_ok());
    let error = try_maker(folder.path(), &data, blurred(29), 0, 2).unwrap_err().to_string();
    assert!(error.starts_with("small views cannot be made: `augment.image.blur_kernel` is 29"), "{error}");
}

/// Two samples of 1 x 3 pixels: nothing is large enough for anything.
#[test]
fn the_smallest_images_have_views_too() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["train", "t10k"] {
        let path = |what: &str| folder.path().join(format!("{part}-{what}-ubyte"));
        write_images(&path("images-idx3"), 1, 3, &[0, 100, 200, 250, 50, 10]).unwrap();
        write_labels(&path("labels-idx1"), &[0, 1]).unwrap();
    }
    let data = DataConfig { kind: DataKind::Images, target: "digit".into(), ..DataConfig::default() };
    let maker = try_maker(folder.path(), &data, simclr(), 0, 2).unwrap();
    assert_eq!((maker.shape_of(0), maker.shape_of(1)), (Some([1, 1, 3]), Some([1, 1, 1])));
    for number in 0..50 {
        for spec in 0..2 {
            let values = view(&*maker, spec, (0, number % 2, Some((number, 0))));
            assert!(values.iter().all(|value| (-1.001..=1.001).contains(value)), "{values:?}");
        }
    }
}

#[test]
fn the_side_of_small_views_follows_its_setting() {
    let (folder, data) = objects();
    let dataset = Dataset::open(&data, folder.path(), LabelAccess::All).unwrap();
    let small_views = SmallViewsConfig { side_fraction: 0.5, ..SmallViewsConfig::default() };
    let augment = AugmentConfig { small_views, image: simclr(), ..AugmentConfig::default() };
    let settings = ViewSettings { data: &data, augment: &augment, seed: 0, num_specs: 2, masks: false };
    assert_eq!(dataset.source.views(&settings).unwrap().shape_of(1), Some([3, 16, 16]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_view_is_a_function_of_its_name_alone(
        seed in any::<u64>(),
        names in prop::collection::vec((0u64..3, 0u32..4, 0u32..3, 0usize..2), 2..8),
    ) {
        let (folder, data) = objects();
        let maker = || try_maker(folder.path(), &data, simclr(), seed, 2).unwrap();
        let (first, other) = (maker(), maker());
        let mut workspace = Workspace::default();
        // In another order and with buffers that others have used.
        let expected: Vec<_> =
            names.iter().rev().map(|&(e, s, v, spec)| view(&*other, spec, (e, s, Some((v, v))))).collect();
        for (&(epoch, sample_id, number, spec), expected) in names.iter().zip(expected.iter().rev()) {
            let mut values = vec![f32::NAN; expected.len()];
            let request = ViewRequest { epoch, sample_id, augment: true };
            let slot = ViewSlot { spec, view: number, index: number, values: &mut values, drawn: &mut [] };
            first.make(&mut workspace, &request, vec![slot], &mut [0]).unwrap();
            prop_assert_eq!(&values, expected);
        }
    }

    #[test]
    fn every_part_of_the_name_changes_the_view(seed in any::<u64>(), epoch in 0u64..100, number in 0u32..100) {
        let (folder, data) = objects();
        let maker = |seed| try_maker(folder.path(), &data, simclr(), seed, 1).unwrap();
        let base = view(&*maker(seed), 0, (epoch, 0, Some((number, 0))));
        prop_assert_ne!(&base, &view(&*maker(seed ^ 1), 0, (epoch, 0, Some((number, 0)))));
        prop_assert_ne!(&base, &view(&*maker(seed), 0, (epoch + 1, 0, Some((number, 0)))));
        prop_assert_ne!(&base, &view(&*maker(seed), 0, (epoch, 0, Some((number + 1, 0)))));
    }
}
