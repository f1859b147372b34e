//! Loss of colours: torchvision's `RandomGrayscale`.

use super::{Image, colour};
use crate::augment::Augmentation;
use crate::rng::{Purpose, ViewKey};

/// Makes all channels of an RGB image the luminance.
#[derive(Debug, Clone, Copy)]
pub struct Grayscale {
    /// How often.
    pub probability: f64,
}

impl Augmentation<Image<'_>> for Grayscale {
    fn apply(&self, key: &ViewKey, view: &mut Image<'_>, _: &mut i64) {
        if key.stream(Purpose::Grayscale).uniform() < self.probability {
            let is_rgb = view.planes().count() == 3;
            colour::grayscale(view.pixels, is_rgb);
        }
    }
}
