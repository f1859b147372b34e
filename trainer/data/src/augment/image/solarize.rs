//! Inversion of bright pixels: torchvision's `RandomSolarize`.

use dtrain_configs::schema::ByView;

use super::Image;
use crate::augment::Augmentation;
use crate::rng::{Purpose, ViewKey};

/// See [`solarize`].
#[derive(Debug, Clone)]
pub struct Solarize {
    /// How often.
    pub probability: ByView,
    /// The darkest pixel that is inverted.
    pub threshold: f32,
}

impl Augmentation<Image<'_>> for Solarize {
    fn apply(&self, key: &ViewKey, view: &mut Image<'_>, _: &mut i64) {
        if key.stream(Purpose::Solarize).uniform() < self.probability.of(view.index) {
            solarize(view.pixels, self.threshold);
        }
    }
}

/// Inverts pixels from `threshold` on.
pub fn solarize(pixels: &mut [f32], threshold: f32) {
    pixels.iter_mut().filter(|pixel| **pixel >= threshold).for_each(|pixel| *pixel = 1.0 - *pixel);
}
