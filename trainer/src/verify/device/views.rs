//! Views of images that are made on the device: of the same bytes and draws the same views, in 32 bits whatever the precision is.

use dtrain_configs::schema::{ImageAugmentConfig, Interpolation};
use dtrain_data::ImageRecipe;
use dtrain_data::augment::image::ImageAugmentations;
use dtrain_data::rng::{Purpose, ViewKey, stream};

use super::Check;
use super::compare::Compared;
use super::setting::{SEED, Setting};
use crate::batch::views_of_slots;
use crate::error::TrainError;

/// Images, and their side.
const IMAGES: u32 = 96;
const SIDE: usize = 40;

/// All changes after a crop, with each filter, and without a crop.
pub(super) fn checks() -> Vec<Check<'static>> {
    [
        ("cropped bilinearly", Some([0.08, 1.0]), Interpolation::Bilinear),
        ("cropped bicubically", Some([0.08, 1.0]), Interpolation::Bicubic),
        ("as stored", None, Interpolation::Bilinear),
    ]
    .into_iter()
    .map(|(name, crop_scale, interpolation)| {
        Check::new(format!("views of images, {name}"), move |setting: &Setting| {
            let side = if crop_scale.is_some() { 32 } else { SIDE };
            views(setting, &ImageAugmentConfig { crop_scale, interpolation, ..changes() }, side)
        })
    })
    .collect()
}

fn changes() -> ImageAugmentConfig {
    ImageAugmentConfig {
        flip_probability: 0.5,
        jitter_probability: 0.8,
        grayscale_probability: 0.2,
        blur_probability: 0.5.into(),
        solarize_probability: 0.2.into(),
        // All pixels of a view: one within a rounding of a threshold would be inverted on one device and not on the other.
        solarize_threshold: 0.0,
        ..ImageAugmentConfig::default()
    }
}

fn views(setting: &Setting, config: &ImageAugmentConfig, side: usize) -> Result<Compared, TrainError> {
    let augmentations = ImageAugmentations::new(config, side, side).map_err(TrainError::internal)?;
    let recipe = ImageRecipe {
        stored: [3, SIDE, SIDE],
        shape: [3, side, side],
        augmentations,
        mean: vec![0.5; 3],
        std: vec![0.25; 3],
    };
    let mut slots = Vec::new();
    for sample_id in 0..IMAGES {
        let key = ViewKey { seed: SEED, epoch: 0, sample_id, view: 0 };
        let mut slot = vec![0.0; recipe.num_words()];
        let (parameters, words) = slot.split_at_mut(recipe.num_parameters());
        recipe.augmentations.write((Some(&key), 0), [SIDE, SIDE], [side, side], parameters);
        let mut bytes = stream(SEED, 0, sample_id, 0, Purpose::Shown);
        words.iter_mut().for_each(|word| *word = f32::from_bits(bytes.next_u32()));
        slots.append(&mut slot);
    }
    let mut compared = Compared::default();
    compared.output("views", &views_of_slots(&recipe, &slots, setting.device)?);
    Ok(compared)
}
