//! Small views beside the large ones: multi-crop (Caron et al. 2020, "Unsupervised learning of visual features by
//! contrasting cluster assignments"; Caron et al. 2021, "Emerging properties in self-supervised vision transformers").

use serde::{Deserialize, Serialize};

use super::{AugmentConfig, ByView, ImageAugmentConfig, SpecAugmentConfig};
use crate::schema::AudioConfig;

/// Side of a small view, as a share of a large one's: crops of 96 pixels beside those of 224 (Caron et al. 2020).
const SHARE: f64 = 96.0 / 224.0;

/// What makes small views differ from large ones. `null`: as for the large ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmallViewsConfig {
    /// Recordings: length of a small view, as a share of `data.audio.clip_secs`. It has all mel bands.
    pub clip_fraction: f64,
    /// Recordings: as `augment.max_shift_fraction`, of the shorter clip.
    pub max_shift_fraction: Option<f64>,
    /// Recordings: as `augment.gain_db`; `[0, 0]` for none.
    pub gain_db: Option<[f64; 2]>,
    /// Recordings: as `augment.noise_probability`.
    pub noise_probability: Option<f64>,
    /// Recordings: as `augment.noise_snr_db`.
    pub noise_snr_db: Option<[f64; 2]>,
    /// Recordings: widest frequency mask, in bands.
    pub max_freq_width: Option<usize>,
    /// Recordings: widest time mask, in frames; `null`: narrower than that of large views by `clip_fraction`.
    pub max_time_width: Option<usize>,
    /// Images: side of a small view, as a share of the image's.
    pub side_fraction: f64,
    /// Images: as `augment.image.crop_scale`; small views are always such crops.
    pub crop_scale: [f64; 2],
    /// Images: as `augment.image.blur_probability`.
    pub blur_probability: Option<ByView>,
    /// Images: as `augment.image.solarize_probability`.
    pub solarize_probability: Option<ByView>,
}

impl Default for SmallViewsConfig {
    fn default() -> Self {
        Self {
            clip_fraction: SHARE,
            max_shift_fraction: None,
            gain_db: None,
            noise_probability: None,
            noise_snr_db: None,
            max_freq_width: None,
            max_time_width: None,
            side_fraction: SHARE,
            crop_scale: [0.05, 0.4],
            blur_probability: None,
            solarize_probability: None,
        }
    }
}

impl SmallViewsConfig {
    /// Small views of recordings that large ones of `audio` are cut from.
    #[must_use]
    pub fn audio(&self, audio: &AudioConfig) -> AudioConfig {
        AudioConfig { clip_secs: audio.clip_secs * self.clip_fraction, ..audio.clone() }
    }

    /// Side of small views of images whose side is `side`, in pixels.
    pub fn side(&self, side: usize) -> usize {
        ((side as f64 * self.side_fraction).round() as usize).max(1)
    }

    /// The changes of small views where those of large ones are `large`.
    pub(super) fn change(&self, large: &AugmentConfig) -> AugmentConfig {
        let (masks, image) = (&large.spec_augment, &large.image);
        let given = |own: &Option<ByView>, large: &ByView| own.as_ref().unwrap_or(large).clone();
        let narrower = (masks.max_time_width as f64 * self.clip_fraction).round() as usize;
        AugmentConfig {
            max_shift_fraction: self.max_shift_fraction.unwrap_or(large.max_shift_fraction),
            gain_db: self.gain_db.or(large.gain_db),
            noise_probability: self.noise_probability.unwrap_or(large.noise_probability),
            noise_snr_db: self.noise_snr_db.unwrap_or(large.noise_snr_db),
            transforms: large.transforms.clone(),
            spec_augment: SpecAugmentConfig {
                max_freq_width: self.max_freq_width.unwrap_or(masks.max_freq_width),
                max_time_width: self.max_time_width.unwrap_or(narrower),
                ..masks.clone()
            },
            image: ImageAugmentConfig {
                crop_scale: Some(self.crop_scale),
                crop_padding: 0,
                blur_probability: given(&self.blur_probability, &image.blur_probability),
                solarize_probability: given(&self.solarize_probability, &image.solarize_probability),
                ..image.clone()
            },
            ..large.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_views_are_changed_as_large_ones_but_for_narrower_masks() {
        let large = AugmentConfig::default();
        let masks = SpecAugmentConfig { max_time_width: 9, ..large.spec_augment.clone() };
        let image = ImageAugmentConfig { crop_scale: Some([0.05, 0.4]), ..large.image.clone() };
        assert_eq!(large.of_small_views(), AugmentConfig { spec_augment: masks, image, ..large });
    }

    #[test]
    fn what_is_given_for_small_views_is_theirs_alone() {
        let small_views = SmallViewsConfig {
            clip_fraction: 0.25,
            max_shift_fraction: Some(0.5),
            gain_db: Some([0.0, 0.0]),
            noise_probability: Some(0.125),
            noise_snr_db: Some([1.0, 2.0]),
            max_freq_width: Some(3),
            max_time_width: Some(4),
            side_fraction: 0.5,
            crop_scale: [0.1, 0.2],
            blur_probability: Some(0.5.into()),
            solarize_probability: None,
        };
        let image = ImageAugmentConfig {
            crop_padding: 4,
            blur_probability: vec![1.0, 0.1].into(),
            solarize_probability: vec![0.0, 0.2].into(),
            ..ImageAugmentConfig::default()
        };
        let large = AugmentConfig {
            small_views: small_views.clone(),
            image: image.clone(),
            ..AugmentConfig::default()
        };
        let small = large.of_small_views();
        assert_eq!((small.max_shift_fraction, small.gain_db), (0.5, Some([0.0, 0.0])));
        assert_eq!((small.noise_probability, small.noise_snr_db), (0.125, [1.0, 2.0]));
        assert_eq!((small.spec_augment.max_freq_width, small.spec_augment.max_time_width), (3, 4));
        let changed = ImageAugmentConfig {
            crop_scale: Some([0.1, 0.2]),
            crop_padding: 0,
            blur_probability: 0.5.into(),
            ..image
        };
        assert_eq!(small.image, changed);
        assert_eq!([32, 33, 1, 0].map(|side| small_views.side(side)), [16, 17, 1, 1]);
        let audio = AudioConfig { sample_rate: 8000, clip_secs: 2.0, ..AudioConfig::default() };
        assert_eq!(small_views.audio(&audio), AudioConfig { clip_secs: 0.5, ..audio });
    }
}
