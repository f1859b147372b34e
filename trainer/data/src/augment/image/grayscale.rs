//! Loss of colours: torchvision's `RandomGrayscale`.

use crate::rng::{Purpose, ViewKey};

/// Makes all channels of an RGB image the luminance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grayscale {
    /// How often.
    pub probability: f64,
}

impl Grayscale {
    /// Whether the view loses its colours.
    pub(super) fn draw(&self, key: &ViewKey) -> bool {
        key.stream(Purpose::Grayscale).uniform() < self.probability
    }
}
