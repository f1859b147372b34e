//! Random changes that make views. Each is a pure function of its settings, the name of the view and a buffer.
//!
//! A list says which, in their order. That of the settings for recordings: crop, with pitch shift and time stretch; shift, gain, noise; then, on the
//! spectrogram before it is normalized, one of six transforms; and on the finished one, masks; that for images is in [`image`]. Each draws from a stream of its own, so switching one off leaves the others' draws as they are.

pub mod crop;
pub mod gain;
pub mod image;
pub mod noise;
pub mod pitch_time;
pub mod shift;
pub mod spec_augment;
pub mod transforms;
pub mod vocoder;

use std::fmt;

use dtrain_configs::schema::AugmentConfig;

use crate::rng::{Purpose, ViewKey};

/// Largest gain, and lowest signal-to-noise ratio, in dB: what they make of the largest sample that is decoded still
/// has a finite power spectrum.
pub const MAX_DECIBELS: f64 = 60.0;
/// Highest signal-to-noise ratio in dB; beyond it noise is below the resolution of a float.
pub const MAX_SNR_DECIBELS: f64 = 200.0;

/// An augmentation whose settings make no sense.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`augment.{key}` is {value}: expected {expected}")]
pub struct AugmentError {
    /// The setting, below `augment`.
    pub key: &'static str,
    /// What it is.
    pub value: String,
    /// What it should be.
    pub expected: &'static str,
}

/// Checks the ranges of all settings for recordings.
///
/// # Errors
/// The first that is out of range.
pub fn check(config: &AugmentConfig) -> Result<(), AugmentError> {
    let require = |holds: bool, key, value: &dyn std::fmt::Debug, expected| match holds {
        true => Ok(()),
        false => Err(AugmentError { key, value: format!("{value:?}"), expected }),
    };
    let within = |[low, high]: [f64; 2], min: f64, max: f64| min <= low && low <= high && high <= max;

    for (key, probability) in
        [("pitch_probability", config.pitch_probability), ("stretch_probability", config.stretch_probability)]
    {
        require((0.0..=1.0).contains(&probability), key, &probability, "0 to 1")?;
    }
    let (pitch, most) = (config.pitch_semitones, pitch_time::MAX_SEMITONES);
    require(within(pitch, -most, most), "pitch_semitones", &pitch, "a range [low, high] within -24 to 24")?;
    let (rate, most) = (config.stretch_speed, pitch_time::MAX_RATE);
    require(within(rate, 1.0 / most, most), "stretch_speed", &rate, "a range [low, high] within 0.25 to 4")?;
    let shift = config.max_shift_fraction;
    require((0.0..=1.0).contains(&shift), "max_shift_fraction", &shift, "0 to 1")?;
    if let Some(gain) = config.gain_db {
        let expected = "a range [low, high] within -60 to 60";
        require(within(gain, -MAX_DECIBELS, MAX_DECIBELS), "gain_db", &gain, expected)?;
    }
    let probability = config.noise_probability;
    require((0.0..=1.0).contains(&probability), "noise_probability", &probability, "0 to 1")?;
    let snr = config.noise_snr_db;
    let expected = "a range [low, high] within -60 to 200";
    require(within(snr, -MAX_DECIBELS, MAX_SNR_DECIBELS), "noise_snr_db", &snr, expected)
}

/// A random change of a `T`: of the samples of a clip, of a spectrogram, or of an image.
pub trait Augmentation<T: ?Sized>: fmt::Debug + Send + Sync {
    /// The column that tells for each view which change was drawn; `None`: it is not told.
    fn column(&self) -> Option<&str> {
        None
    }

    /// Changes the view that `key` names. What was drawn goes to `drawn`, where there is a column for it.
    fn apply(&self, key: &ViewKey, view: &mut T, drawn: &mut i64);
}

/// A finished spectrogram.
#[derive(Debug)]
pub struct Spectrogram<'a> {
    /// [n_mels, num_frames], row-major.
    pub cells: &'a mut [f32],
    /// Its columns.
    pub num_frames: usize,
}

/// What is done to a recording on its way to a view, in this order.
#[derive(Debug, Default)]
pub struct SoundAugmentations {
    /// Whether a clip is cropped, or placed, at random; else at the centre.
    pub random_crop: bool,
    /// Pitch shift and time stretch, which read more or less of a recording.
    pub pitch_time: Option<pitch_time::PitchTime>,
    /// Changes of the clip.
    pub of_clip: Vec<Box<dyn Augmentation<[f32]>>>,
    /// Changes of its spectrogram before that is normalized.
    pub of_log_mel: Vec<Box<dyn for<'a> Augmentation<Spectrogram<'a>>>>,
    /// Changes of the finished spectrogram.
    pub of_spectrogram: Vec<Box<dyn for<'a> Augmentation<Spectrogram<'a>>>>,
}

impl SoundAugmentations {
    /// The list of the settings, without those that are off.
    ///
    /// # Errors
    /// As [`check`].
    pub fn new(config: &AugmentConfig) -> Result<Self, AugmentError> {
        check(config)?;
        let mut list = Self {
            random_crop: config.random_crop,
            pitch_time: pitch_time::PitchTime::new(config),
            ..Self::default()
        };
        if config.max_shift_fraction > 0.0 {
            list.of_clip.push(Box::new(shift::Shift { max_fraction: config.max_shift_fraction }));
        }
        if let Some(range_db) = config.gain_db {
            list.of_clip.push(Box::new(gain::Gain { range_db }));
        }
        if config.noise_probability > 0.0 {
            let (probability, snr_db) = (config.noise_probability, config.noise_snr_db);
            list.of_clip.push(Box::new(noise::Noise { probability, snr_db }));
        }
        if let Some(transforms) = &config.transforms {
            list.of_log_mel.push(Box::new(transforms::Transforms(transforms.clone())));
        }
        list.of_spectrogram.push(Box::new(spec_augment::SpecAugment(config.spec_augment.clone())));
        Ok(list)
    }

    /// Columns that tell what was drawn, in the order of the augmentations.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        let of_clip = self.of_clip.iter().filter_map(|augmentation| augmentation.column());
        let of_spectrograms = self.of_log_mel.iter().chain(&self.of_spectrogram);
        of_clip.chain(of_spectrograms.filter_map(|augmentation| augmentation.column()))
    }

    /// Fills `clip` from a recording: cropped or padded, and changed. Without a key, the centred crop that evaluation uses.
    /// Takes what it writes a number to off the front of `drawn`, which has one for each of [`Self::columns`].
    pub fn clip(&self, key: Option<&ViewKey>, recording: &[f32], clip: &mut [f32], drawn: &mut &mut [i64]) {
        let is_changed = key
            .zip(self.pitch_time.as_ref())
            .is_some_and(|(key, pitch_time)| pitch_time.apply(key, recording, clip, self.random_crop));
        match key.filter(|_| self.random_crop) {
            _ if is_changed => {}
            Some(key) => crop::random(&mut key.stream(Purpose::Crop), recording, clip),
            None => crop::centred(recording, clip),
        }
        if let Some(key) = key {
            self.of_clip.iter().for_each(|augmentation| apply(&**augmentation, key, clip, drawn));
        }
    }

    /// Changes a spectrogram before it is normalized, after [`Self::clip`]. Without a key nothing happens.
    pub fn log_mel(
        &self,
        key: Option<&ViewKey>,
        cells: &mut [f32],
        num_frames: usize,
        drawn: &mut &mut [i64],
    ) {
        apply_all(&self.of_log_mel, key, cells, num_frames, drawn);
    }

    /// Changes a finished spectrogram, after [`Self::log_mel`]. Without a key nothing happens.
    pub fn spectrogram(
        &self,
        key: Option<&ViewKey>,
        cells: &mut [f32],
        num_frames: usize,
        drawn: &mut &mut [i64],
    ) {
        apply_all(&self.of_spectrogram, key, cells, num_frames, drawn);
    }
}

fn apply_all(
    list: &[Box<dyn for<'a> Augmentation<Spectrogram<'a>>>],
    key: Option<&ViewKey>,
    cells: &mut [f32],
    num_frames: usize,
    drawn: &mut &mut [i64],
) {
    if let Some(key) = key {
        let mut view = Spectrogram { cells, num_frames };
        list.iter().for_each(|augmentation| apply(&**augmentation, key, &mut view, drawn));
    }
}

/// Applies an augmentation, which gets the next of the numbers of `drawn` where it has a column.
fn apply<T: ?Sized>(augmentation: &dyn Augmentation<T>, key: &ViewKey, view: &mut T, drawn: &mut &mut [i64]) {
    let mut untold = 0;
    let number = augmentation.column().and_then(|_| drawn.split_off_first_mut());
    augmentation.apply(key, view, number.unwrap_or(&mut untold));
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::SpecAugmentConfig;

    use super::*;

    const KEY: ViewKey = ViewKey { seed: 1, epoch: 2, sample_id: 3, view: 0 };

    fn recording() -> Vec<f32> {
        (0..5000).map(|i| (i as f32 * 0.1).sin()).collect()
    }

    fn view(config: &AugmentConfig, key: Option<&ViewKey>) -> Vec<f32> {
        let mut clip = vec![0.0; 2000];
        SoundAugmentations::new(config).unwrap().clip(
            key,
            &recording(),
            &mut clip,
            &mut (&mut [] as &mut [i64]),
        );
        clip
    }

    #[test]
    fn switching_one_augmentation_off_leaves_the_draws_of_the_others() {
        let all = AugmentConfig { max_shift_fraction: 0.2, ..AugmentConfig::default() };
        let no_gain = AugmentConfig { gain_db: None, ..all.clone() };
        let no_noise = AugmentConfig { noise_probability: 0.0, ..all.clone() };
        let neither = AugmentConfig { noise_probability: 0.0, ..no_gain.clone() };

        // Gain is a factor on everything, noise included, since the noise follows the clip's power.
        let (with, without) = (view(&no_noise, Some(&KEY)), view(&neither, Some(&KEY)));
        let loudest = (0..2000).max_by(|&a, &b| without[a].abs().total_cmp(&without[b].abs())).unwrap();
        let factor = with[loudest] / without[loudest];
        for (noisy, quiet) in view(&all, Some(&KEY)).iter().zip(view(&no_gain, Some(&KEY))) {
            assert!((noisy - factor * quiet).abs() < 1e-5);
        }
    }

    #[test]
    fn evaluation_takes_the_centre_and_changes_nothing() {
        assert_eq!(view(&AugmentConfig::default(), None), recording()[1500..3500]);
        let mut cells = vec![1.0; 64 * 101];
        SoundAugmentations::new(&AugmentConfig::default()).unwrap().spectrogram(
            None,
            &mut cells,
            101,
            &mut (&mut [] as &mut [i64]),
        );
        assert!(cells.iter().all(|&x| x == 1.0));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        check(&AugmentConfig::default()).unwrap();
        let spec_augment = SpecAugmentConfig::default();
        for (config, key) in [
            (AugmentConfig { max_shift_fraction: 1.5, ..Default::default() }, "max_shift_fraction"),
            (AugmentConfig { pitch_probability: -0.1, ..Default::default() }, "pitch_probability"),
            (AugmentConfig { pitch_semitones: [-30.0, 2.0], ..Default::default() }, "pitch_semitones"),
            (AugmentConfig { stretch_speed: [0.0, 1.0], ..Default::default() }, "stretch_speed"),
            (AugmentConfig { gain_db: Some([6.0, -6.0]), ..Default::default() }, "gain_db"),
            (AugmentConfig { gain_db: Some([0.0, f64::INFINITY]), ..Default::default() }, "gain_db"),
            (AugmentConfig { noise_probability: f64::NAN, ..Default::default() }, "noise_probability"),
            (
                AugmentConfig { noise_snr_db: [-300.0, 0.0], spec_augment, ..Default::default() },
                "noise_snr_db",
            ),
        ] {
            assert_eq!(check(&config).unwrap_err().key, key);
        }
    }
}
