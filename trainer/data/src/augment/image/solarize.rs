//! Inversion of bright pixels: torchvision's `RandomSolarize`.

use dtrain_configs::schema::ByView;

use crate::rng::{Purpose, ViewKey};

/// See [`solarize`].
#[derive(Debug, Clone, PartialEq)]
pub struct Solarize {
    /// How often.
    pub probability: ByView,
    /// The darkest pixel that is inverted.
    pub threshold: f32,
}

impl Solarize {
    /// Whether the view of number `index` in its group is inverted where it is bright.
    pub(super) fn draw(&self, key: &ViewKey, index: u32) -> bool {
        key.stream(Purpose::Solarize).uniform() < self.probability.of(index)
    }
}

/// Inverts pixels from `threshold` on.
pub fn solarize(pixels: &mut [f32], threshold: f32) {
    pixels.iter_mut().filter(|pixel| **pixel >= threshold).for_each(|pixel| *pixel = 1.0 - *pixel);
}
