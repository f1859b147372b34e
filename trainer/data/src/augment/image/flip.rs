//! Mirroring, left to right: torchvision's `RandomHorizontalFlip`.

use super::Image;
use crate::rng::{Purpose, ViewKey};

/// Reverses every row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flip {
    /// How often.
    pub probability: f64,
}

impl Flip {
    /// Whether the view is mirrored.
    pub(super) fn draw(&self, key: &ViewKey) -> bool {
        key.stream(Purpose::Flip).uniform() < self.probability
    }
}

/// Reverses every row.
pub fn flip(view: &mut Image<'_>) {
    view.pixels.chunks_exact_mut(view.width.max(1)).for_each(<[f32]>::reverse);
}
