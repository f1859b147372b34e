//! One way to make views of images: a shape and a list of augmentations.

use dtrain_configs::schema::ImageAugmentConfig;

use super::ViewError;
use super::image_scale::ImageScale;
use super::recipe::{ImageRecipe, pack, pack_rounded};
use crate::augment::image::centre_crop::CentreCrop;
use crate::augment::image::{Image, ImageAugmentations, ImageCrop, ImageScratch, SourceImage};
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
    /// Views of `height` x `width` of images with so many channels. With a `centre` images are of any size, else all of one.
    ///
    /// # Errors
    /// Colours of images that have none, a blur that reaches beyond the views, borders around images of any size.
    pub fn new(
        config: &ImageAugmentConfig,
        channels: usize,
        [height, width]: [usize; 2],
        centre: Option<CentreCrop>,
    ) -> Result<Self, ViewError> {
        if config.changes_colours() && ![1, 3].contains(&channels) {
            return Err(ViewError::Colours(channels));
        }
        let mut augmentations = ImageAugmentations::new(config, height, width)?;
        if let Some(centre) = centre {
            if matches!(augmentations.crop, ImageCrop::Padded(_)) {
                return Err(ViewError::PaddedFiles);
            }
            augmentations = augmentations.of_any_size(centre);
        }
        Ok(Self { channels, height, width, augmentations })
    }

    /// [channels, rows, columns].
    pub(super) fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// How views are made of images of `size` rows and columns by whoever gets their bytes. Images of different sizes are handed
    /// over cropped and resized, in bytes.
    pub(super) fn recipe(&self, size: Option<[usize; 2]>, scale: &ImageScale) -> ImageRecipe {
        let mut augmentations = self.augmentations.clone();
        if size.is_none() {
            (augmentations.crop, augmentations.evaluation) = (ImageCrop::Whole, ImageCrop::Whole);
        }
        let [height, width] = size.unwrap_or([self.height, self.width]);
        ImageRecipe::new([self.channels, height, width], self.shape(), augmentations, scale)
    }

    /// Writes what the view is made of by `recipe`; `named` as for [`Self::render`].
    pub(super) fn hand_over(
        &self,
        scratch: &mut ImageScratch,
        source: &SourceImage<'_>,
        recipe: &ImageRecipe,
        named: (Option<&ViewKey>, u32),
        words: &mut [f32],
    ) {
        let (parameters, words) = words.split_at_mut(recipe.num_parameters().min(words.len()));
        let [_, height, width] = recipe.stored;
        recipe.augmentations.write(named, [height, width], [self.height, self.width], parameters);
        if [source.height, source.width] == [height, width] && !self.augmentations.is_of_any_size() {
            return pack(source.bytes, words);
        }
        let mut pixels = std::mem::take(&mut scratch.view);
        pixels.resize(self.channels * self.height * self.width, 0.0);
        let mut view = Image { pixels: &mut pixels, height: self.height, width: self.width, scratch };
        self.augmentations.cropped(named.0, source, &mut view);
        pack_rounded(&pixels, words);
        scratch.view = pixels;
    }

    /// Writes the view that the key names, the one of this number in its group; without a key the one that evaluation uses.
    pub(super) fn render(
        &self,
        scratch: &mut ImageScratch,
        source: &SourceImage<'_>,
        scale: &ImageScale,
        (key, index): (Option<&ViewKey>, u32),
        values: &mut [f32],
    ) {
        let is_image = [source.height, source.width] == [self.height, self.width];
        if is_image
            && (key.is_none() || self.augmentations.is_empty())
            && !self.augmentations.is_of_any_size()
        {
            return scale.of_bytes(source.bytes, values);
        }
        let mut view = Image { pixels: &mut *values, height: self.height, width: self.width, scratch };
        self.augmentations.view((key, index), source, &mut view);
        scale.of_pixels(values);
    }
}
