//! The random changes that make views.

mod by_view;
mod image;
mod small_views;
mod transforms;

use serde::{Deserialize, Serialize};

pub use by_view::ByView;
pub use image::{AugmentDevice, ImageAugmentConfig, Interpolation};
pub use small_views::SmallViewsConfig;
pub use transforms::TransformsConfig;

/// Random changes that make views; evaluation uses none of them and a centred crop. Those of images are in `image`, all
/// others are of recordings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentConfig {
    /// Crop at a random place (and place shorter recordings at random); false: centred.
    pub random_crop: bool,
    /// Share of views whose pitch is shifted.
    pub pitch_probability: f64,
    /// Range of the shift in semitones, uniform.
    pub pitch_semitones: [f64; 2],
    /// Share of views that are stretched in time at their pitch.
    pub stretch_probability: f64,
    /// Range of the speed, uniform in its logarithm: 2 is twice as fast.
    pub stretch_speed: [f64; 2],
    /// Largest shift in time after the crop, with zero fill, as a fraction of the clip.
    pub max_shift_fraction: f64,
    /// Range of the gain in dB, uniform; `null`: none.
    pub gain_db: Option<[f64; 2]>,
    /// Share of views with added Gaussian noise.
    pub noise_probability: f64,
    /// Range of the signal-to-noise ratio in dB, uniform.
    pub noise_snr_db: [f64; 2],
    /// Exactly one of six changes of the spectrogram, which a method may learn to tell; `null`: none.
    pub transforms: Option<TransformsConfig>,
    /// Masks over the spectrogram.
    pub spec_augment: SpecAugmentConfig,
    /// Changes of images, all off by default.
    pub image: ImageAugmentConfig,
    /// Views of a second, smaller shape (multi-crop), where the method asks for such.
    pub small_views: SmallViewsConfig,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            random_crop: true,
            pitch_probability: 0.0,
            pitch_semitones: [-2.0, 2.0],
            stretch_probability: 0.0,
            stretch_speed: [0.8, 1.25],
            max_shift_fraction: 0.0,
            gain_db: Some([-6.0, 6.0]),
            noise_probability: 1.0,
            noise_snr_db: [10.0, 40.0],
            transforms: None,
            spec_augment: SpecAugmentConfig::default(),
            image: ImageAugmentConfig::default(),
            small_views: SmallViewsConfig::default(),
        }
    }
}

impl AugmentConfig {
    /// The same for small views: what `small_views` gives for them, and the rest as it is.
    #[must_use]
    pub fn of_small_views(&self) -> Self {
        self.small_views.change(self)
    }

    /// Whether a view of a recording differs from the centred clip.
    pub fn changes_sound(&self) -> bool {
        let masks = &self.spec_augment;
        self.random_crop
            || self.pitch_probability != 0.0
            || self.stretch_probability != 0.0
            || self.max_shift_fraction != 0.0
            || self.gain_db.is_some()
            || self.noise_probability != 0.0
            || self.transforms.is_some()
            || masks.num_freq_masks > 0
            || masks.num_time_masks > 0
    }
}

/// SpecAugment (Park et al. 2019) without time warping; masked cells become the view's mean.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpecAugmentConfig {
    /// Masks over mel bands.
    pub num_freq_masks: usize,
    /// Widest frequency mask, in bands.
    pub max_freq_width: usize,
    /// Masks over frames.
    pub num_time_masks: usize,
    /// Widest time mask, in frames.
    pub max_time_width: usize,
}

impl Default for SpecAugmentConfig {
    fn default() -> Self {
        Self { num_freq_masks: 1, max_freq_width: 12, num_time_masks: 1, max_time_width: 20 }
    }
}
