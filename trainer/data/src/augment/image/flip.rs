//! Mirroring, left to right: torchvision's `RandomHorizontalFlip`.

use super::Image;
use crate::augment::Augmentation;
use crate::rng::{Purpose, ViewKey};

/// Reverses every row.
#[derive(Debug, Clone, Copy)]
pub struct Flip {
    /// How often.
    pub probability: f64,
}

impl Augmentation<Image<'_>> for Flip {
    fn apply(&self, key: &ViewKey, view: &mut Image<'_>, _: &mut i64) {
        if key.stream(Purpose::Flip).uniform() < self.probability {
            view.pixels.chunks_exact_mut(view.width.max(1)).for_each(<[f32]>::reverse);
        }
    }
}
