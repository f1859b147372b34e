//! Random changes of images: a crop, which gives a view its size, and then changes of its pixels in place.
//!
//! All definitions are those of torchvision's transforms of float tensors (`torchvision/transforms/_functional_tensor.py`,
//! version 0.26), for pixels from 0 to 1. Its bytes and PIL images are rounded after each change; these are not.
//!
//! The list of the settings: crop, flip, jitter, grayscale, blur, solarize, as in BYOL (Grill et al. 2020, appendix B) and
//! DINO (Caron et al. 2021); SimCLR (Chen et al. 2020, appendix A) has no solarization.

pub mod blur;
pub mod colour;
pub mod flip;
pub mod grayscale;
pub mod jitter;
pub mod padded_crop;
#[cfg(test)]
mod parity;
pub mod resize;
pub mod resized_crop;
pub mod solarize;

use dtrain_configs::schema::ImageAugmentConfig;

use super::{AugmentError, Augmentation, apply};
use crate::rng::{Purpose, ViewKey};
use padded_crop::PaddedCrop;
use resize::{Rectangle, Taps, resize};
use resized_crop::ResizedCrop;

/// An image as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct SourceImage<'a> {
    /// [C, H, W], row-major.
    pub bytes: &'a [u8],
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
}

/// A view while it is made.
#[derive(Debug)]
pub struct Image<'a> {
    /// [C, H, W], row-major, from 0 to 1.
    pub pixels: &'a mut [f32],
    /// Its rows.
    pub height: usize,
    /// Its columns.
    pub width: usize,
    /// Number of the view among those of its sample that are made alike.
    pub index: u32,
    /// Buffers.
    pub scratch: &'a mut ImageScratch,
}

impl Image<'_> {
    /// Its planes, of [H, W].
    pub fn planes(&mut self) -> impl Iterator<Item = &mut [f32]> {
        let plane = (self.height * self.width).max(1);
        self.pixels.chunks_exact_mut(plane)
    }
}

/// Buffers of one thread, of any length and content, so that a view allocates nothing.
#[derive(Debug, Default)]
pub struct ImageScratch {
    /// Rows that are halfway through.
    rows: Vec<f32>,
    /// Weights of columns.
    columns_taps: Taps,
    /// Weights of rows.
    rows_taps: Taps,
    /// Weights of a blur.
    kernel: Vec<f32>,
}

/// What gives a view its size.
#[derive(Debug, Clone, Default)]
pub enum ImageCrop {
    /// The whole image, resized where it has another size.
    #[default]
    Whole,
    /// A part of it, resized.
    Resized(ResizedCrop),
    /// A part of the image with black borders.
    Padded(PaddedCrop),
}

/// What is done to an image on its way to a view, in this order.
#[derive(Debug, Default)]
pub struct ImageAugmentations {
    /// What of the image is seen.
    pub crop: ImageCrop,
    /// Changes of what is seen.
    pub of_view: Vec<Box<dyn for<'a> Augmentation<Image<'a>>>>,
}

impl ImageAugmentations {
    /// The list of the settings for views of `height` x `width`, without those that are off.
    ///
    /// # Errors
    /// A blur that reaches beyond the views.
    pub fn new(config: &ImageAugmentConfig, height: usize, width: usize) -> Result<Self, AugmentError> {
        let mut list = Self::default();
        if let Some(scale) = config.crop_scale {
            list.crop = ImageCrop::Resized(ResizedCrop { scale, ratio: config.crop_ratio });
        } else if config.crop_padding > 0 {
            list.crop = ImageCrop::Padded(PaddedCrop { padding: config.crop_padding });
        }
        if config.flip_probability > 0.0 {
            list.of_view.push(Box::new(flip::Flip { probability: config.flip_probability }));
        }
        if config.jitters() {
            list.of_view.push(Box::new(jitter::Jitter {
                probability: config.jitter_probability,
                brightness: config.brightness,
                contrast: config.contrast,
                saturation: config.saturation,
                hue: config.hue,
            }));
        }
        if config.grayscale_probability > 0.0 {
            let probability = config.grayscale_probability;
            list.of_view.push(Box::new(grayscale::Grayscale { probability }));
        }
        if !config.blur_probability.is_zero() {
            let radius = blur::radius(config.blur_kernel, height, width)?;
            let probability = config.blur_probability.clone();
            list.of_view.push(Box::new(blur::Blur { probability, sigma: config.blur_sigma, radius }));
        }
        if !config.solarize_probability.is_zero() {
            let probability = config.solarize_probability.clone();
            let threshold = config.solarize_threshold as f32;
            list.of_view.push(Box::new(solarize::Solarize { probability, threshold }));
        }
        Ok(list)
    }

    /// Whether views of the size of their image are the image.
    pub fn is_empty(&self) -> bool {
        matches!(self.crop, ImageCrop::Whole) && self.of_view.is_empty()
    }

    /// Columns that tell what was drawn, in the order of the augmentations.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.of_view.iter().filter_map(|augmentation| augmentation.column())
    }

    /// Makes a view of an image. Without a key, the whole image that evaluation uses. Takes what it writes a number to off the
    /// front of `drawn`, which has one for each of [`Self::columns`].
    pub fn view(
        &self,
        key: Option<&ViewKey>,
        source: &SourceImage<'_>,
        view: &mut Image<'_>,
        drawn: &mut &mut [i64],
    ) {
        match (&self.crop, key) {
            (ImageCrop::Resized(crop), Some(key)) => {
                let part = crop.rectangle(&mut key.stream(Purpose::Crop), source.height, source.width);
                resize(source, part, view);
            }
            (ImageCrop::Padded(crop), Some(key)) => {
                crop.place(&mut key.stream(Purpose::Crop), source, view);
            }
            (ImageCrop::Whole, _) | (_, None) => resize(source, Rectangle::whole(source), view),
        }
        if let Some(key) = key {
            self.of_view.iter().for_each(|augmentation| apply(&**augmentation, key, view, drawn));
        }
    }
}
