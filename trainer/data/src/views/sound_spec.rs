//! One way to make views of recordings: a shape and a list of augmentations.

use dtrain_configs::schema::{AudioConfig, FeatureConfig, Normalize};

use super::ViewError;
use crate::augment::SoundAugmentations;
use crate::decode::{MAX_FRAMES, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};
use crate::features::{self, FeatureWorkspace, LogMel};
use crate::rng::ViewKey;

/// What a recording becomes: a clip of a length, its changes, its spectrogram, and the changes of that.
#[derive(Debug)]
pub struct SoundSpec {
    clip_samples: usize,
    log_mel: LogMel,
    normalize: Normalize,
    augmentations: SoundAugmentations,
}

/// Buffers of one thread for one spec.
#[derive(Debug)]
pub(super) struct SpecBuffers {
    clip: Vec<f32>,
    features: FeatureWorkspace,
}

impl SoundSpec {
    /// Views of `features` of clips of `audio`, changed by `augmentations`.
    ///
    /// # Errors
    /// [`ViewError`] naming the setting that is out of range.
    pub fn new(
        audio: &AudioConfig,
        features: &FeatureConfig,
        augmentations: SoundAugmentations,
    ) -> Result<Self, ViewError> {
        if !(MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&audio.sample_rate) {
            return Err(ViewError::SampleRate(audio.sample_rate));
        }
        let clip_samples = (audio.clip_secs * f64::from(audio.sample_rate)).round();
        if !(clip_samples >= 1.0 && clip_samples <= MAX_FRAMES as f64) {
            return Err(ViewError::ClipSecs(audio.clip_secs));
        }
        let clip_samples = clip_samples as usize;
        let log_mel = LogMel::new(features, audio.sample_rate, clip_samples)?;
        Ok(Self { clip_samples, log_mel, normalize: features.normalize, augmentations })
    }

    /// [1, n_mels, num_frames].
    pub(super) fn shape(&self) -> [usize; 3] {
        [1, self.log_mel.n_mels(), self.log_mel.num_frames()]
    }

    /// Samples of the recording in a view.
    pub(super) fn num_samples(&self) -> usize {
        self.clip_samples
    }

    /// What its augmentations tell.
    pub(super) fn columns(&self) -> Vec<String> {
        self.augmentations.columns().map(str::to_owned).collect()
    }

    /// For one thread.
    pub(super) fn buffers(&self) -> SpecBuffers {
        SpecBuffers { clip: vec![0.0; self.clip_samples], features: self.log_mel.workspace() }
    }

    /// Writes the view that `key` names, and what was drawn for it; without a key the one that evaluation uses.
    pub(super) fn render(
        &self,
        buffers: &mut SpecBuffers,
        recording: &[f32],
        key: Option<&ViewKey>,
        out: &mut [f32],
        mut drawn: &mut [i64],
    ) -> Result<(), ViewError> {
        self.augmentations.clip(key, recording, &mut buffers.clip, &mut drawn);
        self.log_mel.compute(&mut buffers.features, &buffers.clip, out)?;
        self.augmentations.log_mel(key, out, self.log_mel.num_frames(), &mut drawn);
        if self.normalize == Normalize::View {
            features::normalize(out);
        }
        self.augmentations.spectrogram(key, out, self.log_mel.num_frames(), &mut drawn);
        Ok(())
    }

    /// Mel bands that no frequency falls into.
    pub(super) fn num_empty_bands(&self) -> usize {
        self.log_mel.filter_bank().num_empty()
    }
}
