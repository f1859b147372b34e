//! Views: what a model is fed of one recording. Decode, crop, augment, spectrogram, normalize, mask; each view a pure
//! function of the recording and of (seed, epoch, sample, view).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtrain_configs::schema::{AudioConfig, AugmentConfig, FeatureConfig, Normalize};

use super::augment::{self, AugmentError};
use super::cache::RecordingCache;
use super::decode::{self, DecodeError, DecodeProblem, MAX_FRAMES, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};
use super::features::{self, FeatureError, FeatureWorkspace, LogMel};
use super::resample::Resampler;
use super::rng::ViewKey;

/// Why there is no view.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ViewError {
    /// The recording cannot be used.
    #[error(transparent)]
    Decode(#[from] Arc<DecodeError>),
    /// The spectrogram's settings or buffers are wrong.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// An augmentation's settings are wrong.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// The sample rate is out of range.
    #[error("`data.audio.sample_rate` is {0}: expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}")]
    SampleRate(u32),
    /// The length of a clip is out of range.
    #[error("`data.audio.clip_secs` is {0}: expected at least one sample and at most {MAX_FRAMES}")]
    ClipSecs(f64),
    /// A sample id without a recording.
    #[error("sample {sample_id} does not exist: the data set has {num_samples}")]
    UnknownSample {
        /// The id.
        sample_id: u32,
        /// How many there are.
        num_samples: usize,
    },
}

impl ViewError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Decode(error) => error.hint(),
            Self::Feature(FeatureError::Setting { key: "n_fft", .. }) => {
                Some("make `data.audio.clip_secs` longer or `data.features.n_fft` smaller".into())
            }
            _ => None,
        }
    }
}

/// Makes views of the recordings of a data set. Shared by threads; each brings its own [`Workspace`].
#[derive(Debug)]
pub struct ViewMaker {
    recordings: Vec<PathBuf>,
    sample_rate: u32,
    clip_samples: usize,
    log_mel: LogMel,
    normalize: Normalize,
    augment: AugmentConfig,
    seed: u64,
    cache: RecordingCache,
}

/// Buffers of one thread. With the recording in the cache, making a view allocates nothing.
#[derive(Debug)]
pub struct Workspace {
    clip: Vec<f32>,
    features: FeatureWorkspace,
    resampler: Option<Resampler>,
}

impl ViewMaker {
    /// A maker of views; sample ids index `recordings`. At most `cache_bytes` of decoded recordings are kept.
    ///
    /// # Errors
    /// [`ViewError`] naming the setting that is out of range. No file is touched.
    pub fn new(
        recordings: Vec<PathBuf>,
        audio: &AudioConfig,
        features: &FeatureConfig,
        augment: &AugmentConfig,
        seed: u64,
        cache_bytes: u64,
    ) -> Result<Self, ViewError> {
        if !(MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&audio.sample_rate) {
            return Err(ViewError::SampleRate(audio.sample_rate));
        }
        let clip_samples = (audio.clip_secs * f64::from(audio.sample_rate)).round();
        if !(clip_samples >= 1.0 && clip_samples <= MAX_FRAMES as f64) {
            return Err(ViewError::ClipSecs(audio.clip_secs));
        }
        augment::check(augment)?;
        let clip_samples = clip_samples as usize;
        let log_mel = LogMel::new(features, audio.sample_rate, clip_samples)?;
        let num_empty = log_mel.filter_bank().num_empty();
        if num_empty > 0 {
            tracing::warn!(
                "{num_empty} of {} mel bands lie between two frequency bins and stay empty: make \
                 `data.features.n_fft` larger or `data.features.n_mels` smaller",
                features.n_mels
            );
        }
        Ok(Self {
            sample_rate: audio.sample_rate,
            clip_samples,
            log_mel,
            normalize: features.normalize,
            augment: augment.clone(),
            seed,
            cache: RecordingCache::new(recordings.len(), cache_bytes),
            recordings,
        })
    }

    /// Shape of a view: [1, n_mels, num_frames].
    pub fn shape(&self) -> [usize; 3] {
        [1, self.log_mel.n_mels(), self.log_mel.num_frames()]
    }

    /// Values of a view.
    pub fn view_len(&self) -> usize {
        self.log_mel.n_mels() * self.log_mel.num_frames()
    }

    /// Samples of a clip, before the spectrogram.
    pub fn clip_samples(&self) -> usize {
        self.clip_samples
    }

    /// The recordings, by sample id.
    pub fn recordings(&self) -> &[PathBuf] {
        &self.recordings
    }

    /// The decoded recordings in memory.
    pub fn cache(&self) -> &RecordingCache {
        &self.cache
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> Workspace {
        Workspace {
            clip: vec![0.0; self.clip_samples],
            features: self.log_mel.workspace(),
            resampler: None,
        }
    }

    /// Writes one view of a sample. `view` is `None` for evaluation: no augmentation and a centred crop.
    ///
    /// # Shapes
    /// `out`: [1, n_mels, num_frames], row-major.
    ///
    /// # Errors
    /// [`ViewError::Decode`] for a bad recording; the others for arguments that do not fit this maker.
    pub fn make(
        &self,
        workspace: &mut Workspace,
        epoch: u64,
        sample_id: u32,
        view: Option<u32>,
        out: &mut [f32],
    ) -> Result<(), ViewError> {
        let recording = self.recording(workspace, sample_id)?;
        let key = view.map(|view| ViewKey { seed: self.seed, epoch, sample_id, view });
        self.render(workspace, &recording, key.as_ref(), out)
    }

    /// The decoded and resampled recording of a sample.
    ///
    /// # Errors
    /// As [`ViewMaker::make`].
    pub fn recording(&self, workspace: &mut Workspace, sample_id: u32) -> Result<Arc<Vec<f32>>, ViewError> {
        let index = sample_id as usize;
        let unknown = || ViewError::UnknownSample { sample_id, num_samples: self.recordings.len() };
        let path = self.recordings.get(index).ok_or_else(unknown)?;
        let cached = self.cache.get(index, || load(path, self.sample_rate, &mut workspace.resampler));
        Ok(cached.ok_or_else(unknown)??)
    }

    /// Writes a view of a recording that is already there; without a key the view that evaluation uses.
    ///
    /// # Errors
    /// [`ViewError::Feature`] where `out` has the wrong length.
    pub fn render(
        &self,
        workspace: &mut Workspace,
        recording: &[f32],
        key: Option<&ViewKey>,
        out: &mut [f32],
    ) -> Result<(), ViewError> {
        augment::waveform(&self.augment, key, recording, &mut workspace.clip);
        self.log_mel.compute(&mut workspace.features, &workspace.clip, out)?;
        if self.normalize == Normalize::View {
            features::normalize(out);
        }
        augment::spectrogram(&self.augment, key, out, self.log_mel.num_frames());
        Ok(())
    }

    /// The seed that names the views.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

/// Decodes a recording and brings it to the wanted rate. A thread keeps its last resampler: the recordings of a data
/// set mostly share one rate.
fn load(path: &Path, sample_rate: u32, resampler: &mut Option<Resampler>) -> Result<Vec<f32>, DecodeError> {
    let recording = decode::decode(path)?;
    if recording.sample_rate == sample_rate {
        return Ok(recording.samples);
    }
    let failed = |problem: DecodeProblem| DecodeError { path: path.to_owned(), problem };
    let mut fitting = match resampler.take().filter(|r| r.from() == recording.sample_rate) {
        Some(fitting) => fitting,
        None => Resampler::new(recording.sample_rate, sample_rate).map_err(failed)?,
    };
    let resampled = fitting.resample(&recording.samples).map_err(failed);
    *resampler = Some(fitting);
    resampled
}
