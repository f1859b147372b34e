//! Views that are not made by the loader: what it hands over in their place, and how they are made of that.

use super::image_scale::ImageScale;
use crate::augment::image::ImageAugmentations;

/// Bytes of a 32-bit number of a batch.
const WORD: usize = size_of::<f32>();

/// How views are made of images as they are stored, and of what was drawn for each view.
///
/// # Shapes
/// In the place of a view's values a slot has [`Self::num_words`] numbers: the parameters, as [`ImageAugmentations::write`]
/// writes them, and then the bytes of the image, [C, H, W] row-major, four to a number in the machine's order; bytes that are
/// left over at the end are 0.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecipe {
    /// Shape of an image as it is stored: [C, H, W].
    pub stored: [usize; 3],
    /// Shape of a view: [C, H, W].
    pub shape: [usize; 3],
    /// What is done to an image, in its order.
    pub augmentations: ImageAugmentations,
    /// Mean of each channel, of pixels from 0 to 1, which is taken away at the end.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, which pixels are divided by then.
    pub std: Vec<f32>,
}

impl ImageRecipe {
    pub(super) fn new(
        stored: [usize; 3],
        shape: [usize; 3],
        augmentations: ImageAugmentations,
        scale: &ImageScale,
    ) -> Self {
        let (mean, std) = scale.mean_and_std();
        Self { stored, shape, augmentations, mean, std }
    }

    /// Numbers that tell what was drawn for a view.
    pub fn num_parameters(&self) -> usize {
        self.augmentations.num_parameters()
    }

    /// Bytes of an image.
    pub fn num_bytes(&self) -> usize {
        self.stored.iter().product()
    }

    /// Numbers of a slot.
    pub fn num_words(&self) -> usize {
        self.num_parameters() + self.num_bytes().div_ceil(WORD)
    }
}

/// Puts bytes into numbers, four to each.
pub(super) fn pack(bytes: &[u8], words: &mut [f32]) {
    for (word, bytes) in words.iter_mut().zip(bytes.chunks(WORD)) {
        let mut four = [0; WORD];
        four.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
        *word = f32::from_ne_bytes(four);
    }
}

/// Puts pixels from 0 to 1 into numbers, as the next bytes, four to each.
pub(super) fn pack_rounded(pixels: &[f32], words: &mut [f32]) {
    for (word, pixels) in words.iter_mut().zip(pixels.chunks(WORD)) {
        let mut four = [0; WORD];
        four.iter_mut().zip(pixels).for_each(|(to, pixel)| *to = (pixel * 255.0).round() as u8);
        *word = f32::from_ne_bytes(four);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are none among them, whose bits have to stay as they are.
    #[test]
    fn bytes_lie_in_numbers_as_they_lay_in_memory() {
        let bytes: Vec<u8> = (0..=255).rev().chain([0x7f, 0x80, 0x00, 0x01, 9, 8]).collect();
        let mut words = vec![1.0; bytes.len().div_ceil(WORD)];
        pack(&bytes, &mut words);
        let back: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(back, [bytes.as_slice(), &[0, 0]].concat());
    }
}
