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
