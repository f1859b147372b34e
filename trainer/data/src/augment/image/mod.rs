//! Random changes of images: a crop, which gives a view its size, and then changes of its pixels in place.
//!
//! All definitions are those of torchvision's transforms of float tensors (`torchvision/transforms/_functional_tensor.py`,
//! version 0.26), for pixels from 0 to 1. Its bytes and PIL images are rounded after each change; these are not.
//!
//! The list of the settings: crop, flip, jitter, grayscale, blur, solarize, as in BYOL (Grill et al. 2020, appendix B) and
//! DINO (Caron et al. 2021); SimCLR (Chen et al. 2020, appendix A) has no solarization.

pub mod blur;
pub mod centre_crop;
pub mod change;
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

use dtrain_configs::schema::{ImageAugmentConfig, Interpolation};

use super::AugmentError;
use crate::rng::{Purpose, ViewKey};
use centre_crop::CentreCrop;
pub use change::{DrawnChange, ImageChange};
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
    /// A view that is handed over otherwise.
    pub(crate) view: Vec<f32>,
}

/// What gives a view its size.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum ImageCrop {
    /// The whole image, resized where it has another size.
    #[default]
    Whole,
    /// A part of it, resized.
    Resized(ResizedCrop),
    /// A part of the image with black borders.
    Padded(PaddedCrop),
    /// The square at the centre, resized.
    Centre(CentreCrop),
}

/// What of an image a view shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawnCrop {
    /// A part of it, resized.
    Part(Rectangle),
    /// A part of the image with black borders.
    Padded {
        /// The borders.
        crop: PaddedCrop,
        /// Where the view begins in the image with its borders.
        place: [usize; 2],
    },
}

/// What is done to an image on its way to a view, in this order.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct ImageAugmentations {
    /// What of the image is seen.
    pub crop: ImageCrop,
    /// What evaluation sees of it: nothing that is drawn.
    pub evaluation: ImageCrop,
    /// How it is resized.
    pub interpolation: Interpolation,
    /// Changes of what is seen.
    pub of_view: Vec<ImageChange>,
}

impl ImageCrop {
    /// What a view of `to` rows and columns shows of an image of `from`. Without a key nothing is drawn: all of the image, unless
    /// this is its centre.
    fn draw(&self, key: Option<&ViewKey>, from: [usize; 2], to: [usize; 2]) -> DrawnCrop {
        let [height, width] = from;
        match (*self, key) {
            (Self::Resized(crop), Some(key)) => {
                DrawnCrop::Part(crop.rectangle(&mut key.stream(Purpose::Crop), height, width))
            }
            (Self::Padded(crop), Some(key)) => {
                DrawnCrop::Padded { crop, place: crop.draw(&mut key.stream(Purpose::Crop), from, to) }
            }
            (Self::Centre(crop), _) => DrawnCrop::Part(crop.rectangle(height, width)),
            (Self::Whole, _) | (_, None) => DrawnCrop::Part(Rectangle { top: 0, left: 0, height, width }),
        }
    }
}

impl DrawnCrop {
    /// Numbers that tell where the crop lies.
    pub const NUM_PARAMETERS: usize = 4;

    /// First row and column of the image, and how many of each become the `to` rows and columns of the view. The first ones may
    /// lie before the image, and the last ones behind it, where all is black.
    pub fn numbers(&self, to: [usize; 2]) -> [f32; Self::NUM_PARAMETERS] {
        match *self {
            Self::Part(Rectangle { top, left, height, width }) => {
                [top, left, height, width].map(|number| number as f32)
            }
            Self::Padded { crop, place: [down, right] } => {
                let first = |at: usize| at as f32 - crop.padding as f32;
                [first(down), first(right), to[0] as f32, to[1] as f32]
            }
        }
    }
}

impl ImageAugmentations {
    /// The list of the settings for views of `height` x `width`, without those that are off.
    ///
    /// # Errors
    /// A blur that reaches beyond the views.
    pub fn new(config: &ImageAugmentConfig, height: usize, width: usize) -> Result<Self, AugmentError> {
        let mut list = Self { interpolation: config.interpolation, ..Self::default() };
        if let Some(scale) = config.crop_scale {
            list.crop = ImageCrop::Resized(ResizedCrop { scale, ratio: config.crop_ratio });
        } else if config.crop_padding > 0 {
            list.crop = ImageCrop::Padded(PaddedCrop { padding: config.crop_padding });
        }
        if config.flip_probability > 0.0 {
            list.of_view.push(ImageChange::Flip(flip::Flip { probability: config.flip_probability }));
        }
        if config.jitters() {
            list.of_view.push(ImageChange::Jitter(jitter::Jitter {
                probability: config.jitter_probability,
                brightness: config.brightness,
                contrast: config.contrast,
                saturation: config.saturation,
                hue: config.hue,
            }));
        }
        if config.grayscale_probability > 0.0 {
            let probability = config.grayscale_probability;
            list.of_view.push(ImageChange::Grayscale(grayscale::Grayscale { probability }));
        }
        if !config.blur_probability.is_zero() {
            let radius = blur::radius(config.blur_kernel, height, width)?;
            let probability = config.blur_probability.clone();
            list.of_view.push(ImageChange::Blur(blur::Blur {
                probability,
                sigma: config.blur_sigma,
                radius,
            }));
        }
        if !config.solarize_probability.is_zero() {
            let probability = config.solarize_probability.clone();
            let threshold = config.solarize_threshold as f32;
            list.of_view.push(ImageChange::Solarize(solarize::Solarize { probability, threshold }));
        }
        Ok(list)
    }

    /// The same for images of any size and ratio, of which evaluation, and a view whose crop is not drawn, sees the centre.
    #[must_use]
    pub fn of_any_size(self, centre: CentreCrop) -> Self {
        let evaluation = ImageCrop::Centre(centre);
        let crop = if self.crop == ImageCrop::Whole { evaluation } else { self.crop };
        Self { crop, evaluation, ..self }
    }

    /// Whether it is for images of any size.
    pub fn is_of_any_size(&self) -> bool {
        matches!(self.evaluation, ImageCrop::Centre(_))
    }

    /// The crop of a view, drawn where there is a key.
    fn crop(&self, key: Option<&ViewKey>, from: [usize; 2], to: [usize; 2]) -> DrawnCrop {
        let crop = if key.is_some() { &self.crop } else { &self.evaluation };
        crop.draw(key, from, to)
    }

    /// Whether views of the size of their image are the image.
    pub fn is_empty(&self) -> bool {
        self.crop == ImageCrop::Whole && self.of_view.is_empty()
    }

    /// Makes a view of an image, the one of number `index` in its group. Without a key, the whole image that evaluation uses.
    pub fn view(
        &self,
        (key, index): (Option<&ViewKey>, u32),
        source: &SourceImage<'_>,
        view: &mut Image<'_>,
    ) {
        self.cropped(key, source, view);
        if let Some(key) = key {
            let drawn = self.of_view.iter().filter_map(|change| change.draw(key, index));
            drawn.for_each(|drawn| drawn.make(view));
        }
    }

    /// Makes a view of an image, without the changes that follow its crop.
    pub fn cropped(&self, key: Option<&ViewKey>, source: &SourceImage<'_>, view: &mut Image<'_>) {
        match self.crop(key, [source.height, source.width], [view.height, view.width]) {
            DrawnCrop::Part(part) => resize(source, part, self.interpolation, view),
            DrawnCrop::Padded { crop, place } => crop.copy(place, source, view),
        }
    }

    /// Numbers that tell what was drawn for a view; see [`Self::write`].
    pub fn num_parameters(&self) -> usize {
        let of_changes: usize = self.of_view.iter().map(ImageChange::num_parameters).sum();
        DrawnCrop::NUM_PARAMETERS + of_changes
    }

    /// Writes what is drawn for a view of `to` rows and columns of an image of `from`: where its crop lies
    /// ([`DrawnCrop::numbers`]), and then of each change of [`Self::of_view`] ([`ImageChange::write`]). `key` and `index` as
    /// for [`Self::view`].
    pub fn write(
        &self,
        (key, index): (Option<&ViewKey>, u32),
        from: [usize; 2],
        to: [usize; 2],
        mut out: &mut [f32],
    ) {
        let mut next = |len: usize| out.split_off_mut(..len).unwrap_or_default();
        let crop = self.crop(key, from, to).numbers(to);
        next(crop.len()).iter_mut().zip(crop).for_each(|(out, number)| *out = number);
        for change in &self.of_view {
            let drawn = key.and_then(|key| change.draw(key, index));
            change.write(drawn, next(change.num_parameters()));
        }
    }
}
