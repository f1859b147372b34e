//! One way to make views of images: a shape and a list of augmentations.

use dtrain_configs::schema::ImageAugmentConfig;

use super::ViewError;
use super::image_scale::ImageScale;
use crate::augment::image::{Image, ImageAugmentations, ImageScratch, SourceImage};
use crate::rng::ViewKey;

/// What an image becomes: a view of a size, and its changes.
#[derive(Debug)]
pub struct ImageSpec {
    channels: usize,
    height: usize,
    width: usize,
    augmentations: ImageAugmentations,
}

impl ImageSpec {
    /// Views of `height` x `width` of images with so many channels.
    ///
    /// # Errors
    /// Colours of images that have none, a blur that reaches beyond the views.
    pub fn new(
        config: &ImageAugmentConfig,
        channels: usize,
        height: usize,
        width: usize,
    ) -> Result<Self, ViewError> {
        if config.changes_colours() && ![1, 3].contains(&channels) {
            return Err(ViewError::Colours(channels));
        }
        let augmentations = ImageAugmentations::new(config, height, width)?;
        Ok(Self { channels, height, width, augmentations })
    }

    /// [channels, rows, columns].
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// What its augmentations tell.
    pub(super) fn columns(&self) -> Vec<String> {
        self.augmentations.columns().map(str::to_owned).collect()
    }

    /// Writes the view that `key` names, the one of number `index` in its group, and what was drawn for it; without a key the
    /// one that evaluation uses.
    pub(super) fn render(
        &self,
        scratch: &mut ImageScratch,
        source: &SourceImage<'_>,
        scale: &ImageScale,
        (key, index): (Option<&ViewKey>, u32),
        values: &mut [f32],
        mut drawn: &mut [i64],
    ) {
        let is_image = [source.height, source.width] == [self.height, self.width];
        if is_image && (key.is_none() || self.augmentations.is_empty()) {
            return scale.of_bytes(source.bytes, values);
        }
        let mut view = Image { pixels: &mut *values, height: self.height, width: self.width, index, scratch };
        self.augmentations.view(key, source, &mut view, &mut drawn);
        scale.of_pixels(values);
    }
}
