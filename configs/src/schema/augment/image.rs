//! Random changes of images, with torchvision's definitions.

use serde::{Deserialize, Serialize};

use super::ByView;

/// Changes of images, in this order, of pixels from 0 to 1. All are off until one is chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageAugmentConfig {
    /// Where views are made of images.
    pub device: AugmentDevice,
    /// Area of a random crop, uniform, as a share of the image's; it is resized to the size of a view. `null`: none.
    pub crop_scale: Option<[f64; 2]>,
    /// Width of that crop over its height, log-uniform.
    pub crop_ratio: [f64; 2],
    /// Filter by which images and crops are resized, with antialiasing.
    pub interpolation: Interpolation,
    /// Black pixels that are added on each side before a crop of the size of the image is taken at a random place.
    pub crop_padding: usize,
    /// Share of views that are mirrored, left to right.
    pub flip_probability: f64,
    /// Share of views whose brightness, contrast, saturation and hue are changed, in a random order.
    pub jitter_probability: f64,
    /// Factor on the brightness: uniform from 1 - x, but not below 0, to 1 + x.
    pub brightness: f64,
    /// Factor on the distance from the mean grey, as for `brightness`.
    pub contrast: f64,
    /// Factor on the distance of each pixel from its grey, as for `brightness`.
    pub saturation: f64,
    /// Shift of the hue, uniform from -x to x; 1 is once around the circle of colours, 0.5 the most.
    pub hue: f64,
    /// Share of views without colours.
    pub grayscale_probability: f64,
    /// Share of views that are blurred; a list has one for each view of a sample, and its last one is for all further views.
    pub blur_probability: ByView,
    /// Standard deviation of the blur in pixels, uniform.
    pub blur_sigma: [f64; 2],
    /// Pixels over which the blur reaches, an odd number; `null`: the next one to a tenth of the height, but 3 at least.
    pub blur_kernel: Option<usize>,
    /// Share of views whose bright pixels are inverted, as for `blur_probability`.
    pub solarize_probability: ByView,
    /// Pixels from this value on are inverted.
    pub solarize_threshold: f64,
}

impl Default for ImageAugmentConfig {
    fn default() -> Self {
        Self {
            device: AugmentDevice::Auto,
            crop_scale: None,
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            interpolation: Interpolation::Bilinear,
            crop_padding: 0,
            flip_probability: 0.0,
            jitter_probability: 0.0,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
            grayscale_probability: 0.0,
            blur_probability: ByView::from(0.0),
            blur_sigma: [0.1, 2.0],
            blur_kernel: None,
            solarize_probability: ByView::from(0.0),
            solarize_threshold: 0.5,
        }
    }
}

impl ImageAugmentConfig {
    /// Whether a view differs from the image.
    pub fn changes_anything(&self) -> bool {
        self.crop_scale.is_some()
            || self.crop_padding > 0
            || self.flip_probability != 0.0
            || self.jitters()
            || self.grayscale_probability != 0.0
            || !self.blur_probability.is_zero()
            || !self.solarize_probability.is_zero()
    }

    /// Whether what is at a position of the image may be at another one of the view.
    pub fn moves_pixels(&self) -> bool {
        self.crop_scale.is_some() || self.crop_padding > 0 || self.flip_probability != 0.0
    }

    /// Whether brightness, contrast, saturation or hue change.
    pub fn jitters(&self) -> bool {
        let strengths = [self.brightness, self.contrast, self.saturation, self.hue];
        self.jitter_probability != 0.0 && strengths.iter().any(|&strength| strength != 0.0)
    }

    /// Whether colours change, and not brightness alone.
    pub fn changes_colours(&self) -> bool {
        self.grayscale_probability != 0.0
            || (self.jitter_probability != 0.0 && [self.contrast, self.saturation, self.hue] != [0.0; 3])
    }
}

/// Where views are made of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AugmentDevice {
    /// Where the network computes if that is a GPU, else by the loader.
    #[default]
    Auto,
    /// On the CPU, one by one, by the threads of the loader.
    Cpu,
    /// Where the network computes, in whole batches: the loader hands over the bytes of the images and what was drawn. The
    /// same views within a rounding.
    Trainer,
}

/// Filters of an image that is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// A triangle.
    #[default]
    Bilinear,
    /// A cubic, which is sharper.
    Bicubic,
}
