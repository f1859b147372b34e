//! SpecAugment (Park et al. 2019, "SpecAugment: a simple data augmentation method for automatic speech recognition")
//! without time warping.
//!
//! A width is uniform over `0..=max` and a place over all that fit, as in the paper; torchaudio draws both as real
//! numbers and cuts them off, so it never reaches the largest width. Masked cells become the view's mean before
//! masking, which is 0 only where views are normalized.

use dtrain_configs::schema::SpecAugmentConfig;

use super::{Augmentation, Spectrogram};
use crate::features::mean;
use crate::rng::{Purpose, Stream, ViewKey};

/// See [`spec_augment`].
#[derive(Debug, Clone)]
pub struct SpecAugment(pub SpecAugmentConfig);

impl Augmentation<Spectrogram<'_>> for SpecAugment {
    fn apply(&self, key: &ViewKey, view: &mut Spectrogram<'_>, _: &mut i64) {
        spec_augment(&mut key.stream(Purpose::SpecAugment), &self.0, view.cells, view.num_frames);
    }
}

/// Masks bands, then frames.
///
/// # Shapes
/// `spectrogram`: [n_mels, num_frames], row-major.
pub fn spec_augment(
    stream: &mut Stream,
    config: &SpecAugmentConfig,
    spectrogram: &mut [f32],
    num_frames: usize,
) {
    let num_frames = num_frames.max(1);
    let n_mels = spectrogram.len() / num_frames;
    let fill = mean(spectrogram);
    for _ in 0..config.num_freq_masks {
        let (first, width) = draw(stream, config.max_freq_width, n_mels);
        spectrogram.iter_mut().skip(first * num_frames).take(width * num_frames).for_each(|x| *x = fill);
    }
    for _ in 0..config.num_time_masks {
        let (first, width) = draw(stream, config.max_time_width, num_frames);
        for row in spectrogram.chunks_exact_mut(num_frames) {
            row.iter_mut().skip(first).take(width).for_each(|x| *x = fill);
        }
    }
}

/// First index and width of a mask over `size` bands or frames.
fn draw(stream: &mut Stream, max_width: usize, size: usize) -> (usize, usize) {
    let width = stream.up_to(max_width.min(size));
    (stream.up_to(size - width), width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    const BANDS: SpecAugmentConfig =
        SpecAugmentConfig { num_freq_masks: 1, max_freq_width: 3, num_time_masks: 0, max_time_width: 0 };
    const FRAMES: SpecAugmentConfig =
        SpecAugmentConfig { num_freq_masks: 0, max_freq_width: 0, num_time_masks: 1, max_time_width: 4 };

    /// Distinct values whose mean is none of them.
    fn cells() -> Vec<f32> {
        (0..8 * 10).map(|i| i as f32).collect()
    }

    fn masked(config: &SpecAugmentConfig, sample: u32) -> Vec<usize> {
        let mut view = cells();
        spec_augment(&mut stream(0, 0, sample, 0, Purpose::SpecAugment), config, &mut view, 10);
        let changed: Vec<usize> = (0..80).filter(|&i| view[i] != cells()[i]).collect();
        assert!(changed.iter().all(|&i| view[i] == 39.5));
        changed
    }

    #[test]
    fn widths_are_uniform_up_to_and_including_the_largest() {
        let (mut bands, mut frames) = ([0i32; 4], [0i32; 5]);
        for sample in 0..4000 {
            let changed = masked(&BANDS, sample);
            let rows: Vec<usize> = changed.iter().map(|i| i / 10).collect();
            assert_eq!(changed.len() % 10, 0);
            assert!(rows.windows(2).all(|w| w[1] - w[0] <= 1), "one block");
            bands[changed.len() / 10] += 1;

            let changed = masked(&FRAMES, sample);
            assert_eq!(changed.len() % 8, 0);
            frames[changed.len() / 8] += 1;
        }
        assert!(bands.iter().all(|n| n.abs_diff(1000) < 150), "{bands:?}");
        assert!(frames.iter().all(|n| n.abs_diff(800) < 130), "{frames:?}");
    }

    #[test]
    fn masks_larger_than_the_view_are_cut_to_it() {
        let config = SpecAugmentConfig {
            num_freq_masks: 2,
            max_freq_width: 1000,
            num_time_masks: 2,
            max_time_width: usize::MAX,
        };
        for sample in 0..50 {
            masked(&config, sample);
        }
        spec_augment(&mut stream(0, 0, 0, 0, Purpose::SpecAugment), &config, &mut [], 0);
    }
}
