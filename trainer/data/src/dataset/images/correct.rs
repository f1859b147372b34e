//! Which samples of a set of images the user corrects, and what becomes of the data set with them.

use std::sync::Arc;

use dtrain_configs::schema::{CorrectionKind, CorrectionsConfig, DataConfig};
use xxhash_rust::xxh3::xxh3_64;

use super::super::Dataset;
use super::corrected::CorrectedImages;
use crate::error::DataError;
use crate::images::{ImageBuffers, Images};
use crate::labels::LabelColumn;

/// The data set with what `data.corrections` adds to it: copies of samples, or their masks, and the label
/// [`CorrectionsConfig::LABEL`] that tells which samples they are.
///
/// # Errors
/// No masks, a class that is none, fewer samples with a mask than are to be corrected.
pub(super) fn correct(
    dataset: Dataset,
    images: &Arc<Images>,
    config: &DataConfig,
) -> Result<Dataset, DataError> {
    let Some(corrections) = &config.corrections else { return Ok(dataset) };
    if !images.folder().train.has_masks() {
        return Err(DataError::NoMasks { path: dataset.root });
    }
    let chosen = choose(&dataset, images, (corrections, &config.target))?;
    let copies = match corrections.give {
        CorrectionKind::Images => chosen.clone(),
        CorrectionKind::Masks => Vec::new(),
    };
    let given = match corrections.give {
        CorrectionKind::Images => Vec::new(),
        CorrectionKind::Masks => chosen.clone(),
    };
    let first_copy = dataset.num_samples() as u32;
    let mut dataset = dataset;
    for label in &mut dataset.labels {
        let of_copies: Vec<Option<u32>> =
            copies.iter().map(|&of| label.of_sample.get(of as usize).copied().flatten()).collect();
        label.of_sample.extend(of_copies);
    }
    dataset.recordings.extend(&copies);
    let ids_of_copies = || (first_copy..).take(copies.len());
    let mut is_corrected = vec![Some(0); first_copy as usize];
    for &id in &given {
        if let Some(class) = is_corrected.get_mut(id as usize) {
            *class = Some(1);
        }
    }
    is_corrected.extend(ids_of_copies().map(|_| Some(1)));
    dataset.labels.push(LabelColumn {
        name: CorrectionsConfig::LABEL.to_owned(),
        classes: CorrectionsConfig::CLASSES.map(str::to_owned).to_vec(),
        values: Vec::new(),
        of_sample: is_corrected,
    });
    dataset.train.extend(ids_of_copies());
    let named: Vec<u8> = chosen.iter().flat_map(|id| id.to_le_bytes()).collect();
    dataset.fingerprint ^= xxh3_64(&named).rotate_left(u32::from(!copies.is_empty()));
    dataset.source = Arc::new(CorrectedImages::new(Arc::clone(images), copies, given));
    Ok(dataset)
}

/// Training samples of the classes that are corrected, of those that have a mask; ascending. Which they are depends on their
/// numbers and the seed of the corrections alone, and a larger number holds those of a smaller one.
fn choose(
    dataset: &Dataset,
    images: &Images,
    (corrections, target): (&CorrectionsConfig, &str),
) -> Result<Vec<u32>, DataError> {
    let CorrectionsConfig { values, size, seed, .. } = corrections;
    let label = dataset.label(target);
    let class_of = |value: &String| {
        let class = label.and_then(|label| label.classes.iter().position(|class| class == value));
        class.map(|class| class as u32).ok_or_else(|| DataError::UnknownClass {
            key: "data.corrections.values",
            value: value.clone(),
            label: target.to_owned(),
            classes: label.map(|label| label.classes.clone()).unwrap_or_default(),
        })
    };
    let classes = values.iter().map(class_of).collect::<Result<Vec<u32>, _>>()?;
    let is_wanted = |id: u32| {
        let own = label.and_then(|label| label.of_sample.get(id as usize).copied().flatten());
        classes.is_empty() || own.is_some_and(|own| classes.contains(&own))
    };
    let mut buffers = ImageBuffers::default();
    let mut found: Vec<(u64, u32)> = Vec::new();
    for &id in dataset.train.iter().filter(|id| is_wanted(**id)) {
        if images.mask(id, &mut buffers)?.iter().any(|&marked| marked != 0) {
            let [low, high] = [u64::from(id), *seed].map(u64::to_le_bytes);
            found.push((xxh3_64(&[low, high].concat()), id));
        }
    }
    let wanted = size.unwrap_or(found.len());
    if found.is_empty() || wanted > found.len() {
        return Err(DataError::FewMasks {
            wanted: wanted.max(1),
            found: found.len(),
            values: values.clone(),
        });
    }
    found.sort_unstable();
    let mut chosen: Vec<u32> = found.into_iter().take(wanted).map(|(_, id)| id).collect();
    chosen.sort_unstable();
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{AugmentConfig, DataKind, ImageAugmentConfig};

    use super::*;
    use crate::batch::GroupRequest;
    use crate::dataset::LabelAccess;
    use crate::images::idx::{write_images, write_labels};
    use crate::views::{ViewRequest, ViewSettings, ViewSlot, Workspace};

    /// Twelve images of 2 x 2 whose first pixel is their number, six of each of the classes 0 and 1; of class 1 all but the last
    /// have a mask of the second pixel. A part to choose by has one of each.
    fn folder(masks: bool) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (part, len) in [("train", 12u8), ("val", 2), ("t10k", 2)] {
            let pixels: Vec<u8> = (0..len).flat_map(|number| [number, 200, 7, 9]).collect();
            let labels: Vec<u8> = (0..len).map(|number| number % 2).collect();
            write_images(&at(&format!("{part}-images-idx3-ubyte")), 2, 2, &pixels).unwrap();
            write_labels(&at(&format!("{part}-labels-idx1-ubyte")), &labels).unwrap();
            let marked = |number: u8| u8::from(number % 2 == 1 && number != 11);
            let pixels: Vec<u8> = (0..len).flat_map(|number| [0, 255 * marked(number), 0, 0]).collect();
            if masks {
                write_images(&at(&format!("{part}-masks-idx3-ubyte")), 2, 2, &pixels).unwrap();
            }
        }
        dir
    }

    fn config(corrections: CorrectionsConfig) -> DataConfig {
        DataConfig {
            kind: DataKind::Images,
            target: "digit".into(),
            corrections: Some(corrections),
            ..DataConfig::default()
        }
    }

    fn of(size: Option<usize>, give: CorrectionKind, seed: u64) -> CorrectionsConfig {
        CorrectionsConfig { values: vec!["1".into()], size, give, seed }
    }

    fn opened(corrections: CorrectionsConfig) -> (tempfile::TempDir, Result<Dataset, DataError>) {
        let dir = folder(true);
        let dataset = Dataset::open(&config(corrections), dir.path(), LabelAccess::WithSamples);
        (dir, dataset)
    }

    /// View and mask of a sample, as bytes.
    fn seen(dataset: &Dataset, data: &DataConfig, sample_id: u32) -> ([u8; 4], [u8; 4]) {
        let scaled = DataConfig {
            images: dtrain_configs::schema::ImagesConfig {
                mean: Some(vec![0.0]),
                std: Some(vec![1.0 / 255.0]),
                ..data.images.clone()
            },
            ..data.clone()
        };
        let augment = AugmentConfig::default();
        let settings = ViewSettings { data: &scaled, augment: &augment, seed: 0, num_specs: 1, masks: true };
        let maker = Arc::clone(&dataset.source).views(&settings).unwrap();
        let (mut view, mut mask) = ([0.0; 4], [0.0; 4]);
        let slots = vec![
            ViewSlot { spec: 0, view: 0, index: 0, values: &mut view, drawn: &mut [] },
            ViewSlot { spec: GroupRequest::MASKS, view: 0, index: 0, values: &mut mask, drawn: &mut [] },
        ];
        let request = ViewRequest { epoch: 0, sample_id, augment: true };
        maker.make(&mut Workspace::default(), &request, slots, &mut [0]).unwrap();
        (view.map(|value| value.round() as u8), mask.map(|value| value as u8))
    }

    #[test]
    fn copies_stand_behind_the_samples_without_what_is_marked() {
        let corrections = of(Some(3), CorrectionKind::Images, 0);
        let (_dir, dataset) = opened(corrections.clone());
        let dataset = dataset.unwrap();
        let data = config(corrections);
        assert_eq!((dataset.num_samples(), dataset.num_copies(), dataset.train.len()), (19, 3, 15));
        assert_eq!(
            (dataset.val.as_slice(), dataset.test.as_slice()),
            ([14, 15].as_slice(), [12, 13].as_slice())
        );
        let label = dataset.label(CorrectionsConfig::LABEL).unwrap();
        for copy in 16..19u32 {
            let name = dataset.name_of(copy).unwrap();
            let of: u8 =
                name.strip_prefix("train/").unwrap().strip_suffix(" corrected").unwrap().parse().unwrap();
            assert_eq!(
                seen(&dataset, &data, copy),
                ([of, 0, 7, 9], [0; 4]),
                "its mask is gone with what it marked"
            );
            assert_eq!(seen(&dataset, &data, u32::from(of)).0, [of, 200, 7, 9], "the sample stays");
            assert_eq!(dataset.label("digit").unwrap().of_sample[copy as usize], Some(1));
            assert_eq!(
                (label.of_sample[copy as usize], label.of_sample[usize::from(of)]),
                (Some(1), Some(0))
            );
            assert_eq!(dataset.recordings[copy as usize], u32::from(of));
        }
    }

    #[test]
    fn masks_are_known_of_what_the_user_gave_and_of_what_is_reported_on() {
        let corrections = of(Some(2), CorrectionKind::Masks, 0);
        let (_dir, dataset) = opened(corrections.clone());
        let dataset = dataset.unwrap();
        let data = config(corrections);
        assert_eq!((dataset.num_samples(), dataset.num_copies()), (16, 0));
        let label = dataset.label(CorrectionsConfig::LABEL).unwrap();
        let given = (0..12).filter(|&id| label.of_sample[id as usize] == Some(1));
        assert_eq!(given.clone().count(), 2);
        for id in 0..12u32 {
            let is_given = label.of_sample[id as usize] == Some(1);
            assert_eq!(seen(&dataset, &data, id).1 == [0, 1, 0, 0], is_given, "{id}");
        }
        assert_eq!(seen(&dataset, &data, 15).1, [0, 1, 0, 0], "a part to choose by keeps its masks");
    }

    #[test]
    fn more_corrections_hold_fewer_and_seeds_choose_others() {
        let names = |size, seed| {
            let (_dir, dataset) = opened(of(Some(size), CorrectionKind::Images, seed));
            let dataset = dataset.unwrap();
            let fingerprint = dataset.fingerprint;
            let names: Vec<String> = (16..16 + size as u32).map(|id| dataset.name_of(id).unwrap()).collect();
            (names, fingerprint)
        };
        let ((two, of_two), (four, of_four)) = (names(2, 1), names(4, 1));
        assert!(two.iter().all(|name| four.contains(name)) && of_two != of_four);
        assert!((0..20).any(|seed| names(2, seed).0 != two));
    }

    #[test]
    fn what_cannot_be_corrected_is_told() {
        let says = |error: DataError| format!("{error} | {}", error.hint().unwrap_or_default());
        let refused = |corrections| says(opened(corrections).1.unwrap_err());
        assert_eq!(
            refused(of(Some(6), CorrectionKind::Images, 0)),
            "`data.corrections` takes 6 training samples of `1`, and 5 of them have a mask that marks anything | \
             `data.corrections.size=5` or less, or other classes with `data.corrections.values=`"
        );
        let zeros = CorrectionsConfig { values: vec!["0".into()], ..of(None, CorrectionKind::Images, 0) };
        assert!(refused(zeros).ends_with("choose other classes with `data.corrections.values=`"));
        let unknown =
            CorrectionsConfig { values: vec!["eight".into()], ..of(None, CorrectionKind::Images, 0) };
        assert!(
            refused(unknown)
                .starts_with("`data.corrections.values` names `eight`, which is not a class of `digit` | ")
        );
        let dir = folder(false);
        let error =
            Dataset::open(&config(of(Some(1), CorrectionKind::Images, 0)), dir.path(), LabelAccess::All);
        let said = says(error.unwrap_err());
        assert!(
            said.contains("has none for its training images | masks of `train-images-idx3-ubyte`"),
            "{said}"
        );
    }

    #[test]
    fn masks_of_another_size_or_number_are_refused() {
        let dir = folder(true);
        let path = dir.path().join("train-masks-idx3-ubyte");
        let said = || {
            let data = config(of(Some(1), CorrectionKind::Images, 0));
            Dataset::open(&data, dir.path(), LabelAccess::All).unwrap_err().to_string()
        };
        write_images(&path, 2, 3, &[0; 72]).unwrap();
        assert!(
            said().ends_with("key `masks`: expected masks of 2x2x1, as the images, found 2x3x1"),
            "{}",
            said()
        );
        write_images(&path, 2, 2, &[0; 44]).unwrap();
        assert!(said().contains("holds 11 masks, but"), "{}", said());
    }

    #[test]
    fn masks_do_not_follow_what_moves() {
        let (_dir, dataset) = opened(of(Some(1), CorrectionKind::Masks, 0));
        let source = dataset.unwrap().source;
        let data = config(of(Some(1), CorrectionKind::Masks, 0));
        let image = ImageAugmentConfig { flip_probability: 0.5, ..ImageAugmentConfig::default() };
        let augment = AugmentConfig { image, ..AugmentConfig::default() };
        let settings = ViewSettings { data: &data, augment: &augment, seed: 0, num_specs: 1, masks: true };
        let error = Arc::clone(&source).views(&settings).unwrap_err();
        assert!(
            error.to_string().contains("crops or flips") && error.hint().unwrap().contains("`augment=none`")
        );
        assert!(source.views(&ViewSettings { masks: false, ..settings }).is_ok());
    }
}
