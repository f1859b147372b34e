//! Views of recordings. Decode, crop, augment, spectrogram, normalize, mask; each view a pure
//! function of the recording and of (seed, epoch, sample, view).

use std::sync::Arc;

use dtrain_configs::schema::{AudioConfig, AugmentConfig, Channel, FeatureConfig};

use super::excerpt::{Excerpt, Loading};
use super::sound_spec::{SoundSpec, SpecBuffers};
use super::{ViewError, ViewRequest, ViewSlot, Views, Workspace};
use crate::augment::SoundAugmentations;
use crate::cache::RecordingCache;
use crate::measures::{OF_A_RECORDING, of_recording};
use crate::rng::ViewKey;

/// Makes views of the recordings of a data set. Shared by threads; each brings its own [`SoundWorkspace`].
#[derive(Debug)]
pub struct SoundViews {
    excerpts: Vec<Excerpt>,
    sample_rate: u32,
    channel: Channel,
    /// One at least.
    specs: Vec<SoundSpec>,
    seed: u64,
    cache: RecordingCache,
}

/// Buffers of one thread. With the recording in the cache, making a view allocates nothing.
#[derive(Debug)]
pub struct SoundWorkspace {
    of_spec: Vec<SpecBuffers>,
    loading: Loading,
}

impl SoundViews {
    /// A maker of views; sample ids index `excerpts`. At most `cache_bytes` of decoded recordings are kept.
    ///
    /// # Errors
    /// [`ViewError`] naming the setting that is out of range. No file is touched.
    pub fn new(
        excerpts: Vec<Excerpt>,
        audio: &AudioConfig,
        features: &FeatureConfig,
        augment: &AugmentConfig,
        seed: u64,
        cache_bytes: u64,
    ) -> Result<Self, ViewError> {
        let spec = SoundSpec::new(audio, features, SoundAugmentations::new(augment)?)?;
        let num_empty = spec.num_empty_bands();
        if num_empty > 0 {
            tracing::warn!(
                "{num_empty} of {} mel bands lie between two frequency bins and stay empty: make \
                 `data.features.n_fft` larger or `data.features.n_mels` smaller",
                features.n_mels
            );
        }
        Ok(Self {
            sample_rate: audio.sample_rate,
            channel: audio.channel,
            specs: vec![spec],
            seed,
            cache: RecordingCache::new(excerpts.len(), cache_bytes),
            excerpts,
        })
    }

    /// The same with one spec more, whose number follows the last one's. It hears recordings at the same rate.
    #[must_use]
    pub fn with(mut self, spec: SoundSpec) -> Self {
        self.specs.push(spec);
        self
    }

    /// What the samples are cut from, by sample id.
    pub fn excerpts(&self) -> &[Excerpt] {
        &self.excerpts
    }

    /// The decoded recordings in memory.
    pub fn cache(&self) -> &RecordingCache {
        &self.cache
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> SoundWorkspace {
        let of_spec = self.specs.iter().map(SoundSpec::buffers).collect();
        SoundWorkspace { of_spec, loading: Loading::new(self.channel) }
    }

    /// The decoded and resampled recording of a sample.
    fn recording(&self, workspace: &mut SoundWorkspace, sample_id: u32) -> Result<Arc<Vec<f32>>, ViewError> {
        let index = sample_id as usize;
        let unknown = || ViewError::UnknownSample { sample_id, num_samples: self.excerpts.len() };
        let excerpt = self.excerpts.get(index).ok_or_else(unknown)?;
        let cached = self.cache.get(index, || workspace.loading.load(excerpt, self.sample_rate));
        Ok(cached.ok_or_else(unknown)??)
    }

    /// Writes all views that are wanted of a sample.
    fn render_all(
        &self,
        workspace: &mut SoundWorkspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
    ) -> Result<(), ViewError> {
        let ViewRequest { epoch, sample_id, augment } = *request;
        let recording = self.recording(workspace, sample_id)?;
        for ViewSlot { spec, view, values, drawn, .. } in views {
            let made_by = self.specs.get(spec).zip(workspace.of_spec.get_mut(spec));
            let (spec, buffers) = made_by.ok_or(ViewError::UnknownSpec(spec))?;
            let key = ViewKey { seed: self.seed, epoch, sample_id, view };
            spec.render(buffers, &recording, augment.then_some(&key), values, drawn)?;
        }
        Ok(())
    }
}

impl Views for SoundViews {
    /// [1, n_mels, num_frames].
    fn shape(&self) -> [usize; 3] {
        self.shape_of(0).unwrap_or_default()
    }

    fn shape_of(&self, spec: usize) -> Option<[usize; 3]> {
        self.specs.get(spec).map(SoundSpec::shape)
    }

    fn drawn_columns(&self, spec: usize) -> Vec<String> {
        self.specs.get(spec).map_or_else(Vec::new, SoundSpec::columns)
    }

    fn columns_are_times(&self) -> bool {
        true
    }

    fn measures(&self) -> &'static [&'static str] {
        OF_A_RECORDING
    }

    fn measure(&self, workspace: &mut Workspace, sample_id: u32) -> Result<Vec<f64>, ViewError> {
        let recording =
            workspace.with(|| self.workspace(), |workspace| self.recording(workspace, sample_id))?;
        let view_len = self.specs.first().map_or(0, SoundSpec::num_samples);
        Ok(of_recording(&recording, self.sample_rate, view_len))
    }

    fn load(&self, workspace: &mut Workspace, sample_id: u32) -> Result<(), ViewError> {
        workspace.with(|| self.workspace(), |workspace| self.recording(workspace, sample_id).map(drop))
    }

    fn make(
        &self,
        workspace: &mut Workspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
        _: &mut [i32],
    ) -> Result<(), ViewError> {
        workspace.with(|| self.workspace(), |workspace| self.render_all(workspace, request, views))
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::SpecAugmentConfig;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use std::path::{Path, PathBuf};

    use super::*;
    use crate::features::{self, LogMel};
    use crate::{augment, decode};

    const AUDIO: AudioConfig = AudioConfig {
        sample_rate: 8000,
        channel: Channel::Mean,
        clip_secs: 0.25,
        segment_secs: None,
        segment_hop_secs: None,
    };

    fn features() -> FeatureConfig {
        FeatureConfig { n_fft: 256, hop_length: 80, n_mels: 24, ..FeatureConfig::default() }
    }

    fn write_wav(path: &Path, sample_rate: u32, num_frames: usize, hertz: f32) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        for i in 0..num_frames {
            let phase = std::f32::consts::TAU * hertz * i as f32 / sample_rate as f32;
            writer.write_sample((phase.sin() * 12_000.0 + (i * i % 97) as f32) as i16).unwrap();
        }
        writer.finalize().unwrap();
    }

    /// Four recordings: long, short, at another rate, and none.
    fn recordings() -> (TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> = (0..4).map(|i| folder.path().join(format!("{i}.wav"))).collect();
        write_wav(&paths[0], 8000, 9000, 440.0);
        write_wav(&paths[1], 8000, 900, 700.0);
        write_wav(&paths[2], 44_100, 30_000, 440.0);
        fs_err::write(&paths[3], "no sound").unwrap();
        (folder, paths)
    }

    fn whole(paths: &[PathBuf]) -> Vec<Excerpt> {
        paths.iter().map(|path| Excerpt { path: path.as_path().into(), frames: None }).collect()
    }

    fn maker(paths: &[PathBuf], augment: &AugmentConfig, seed: u64, cache_bytes: u64) -> SoundViews {
        SoundViews::new(whole(paths), &AUDIO, &features(), augment, seed, cache_bytes).unwrap()
    }

    /// Writes one view of the first spec; `view` is `None` for evaluation.
    fn make(
        maker: &SoundViews,
        workspace: &mut Workspace,
        (epoch, sample_id, view): (u64, u32, Option<u32>),
        values: &mut [f32],
    ) -> Result<(), ViewError> {
        let request = ViewRequest { epoch, sample_id, augment: view.is_some() };
        let slot = ViewSlot { spec: 0, view: view.unwrap_or(0), index: 0, values, drawn: &mut [] };
        maker.make(workspace, &request, vec![slot], &mut [])
    }

    fn blank(maker: &SoundViews) -> Vec<f32> {
        vec![f32::NAN; maker.shape().iter().product()]
    }

    fn view(maker: &SoundViews, epoch: u64, sample_id: u32, view: Option<u32>) -> Vec<f32> {
        let mut out = blank(maker);
        make(maker, &mut Workspace::default(), (epoch, sample_id, view), &mut out).unwrap();
        out
    }

    #[test]
    fn views_are_normalized_and_have_the_announced_shape() {
        let (_folder, paths) = recordings();
        let no_masks = SpecAugmentConfig { num_freq_masks: 0, num_time_masks: 0, ..Default::default() };
        let maker =
            maker(&paths, &AugmentConfig { spec_augment: no_masks, ..Default::default() }, 0, 1 << 20);
        assert_eq!(maker.shape(), [1, 24, 26]);
        for (sample_id, index) in [(0, Some(0)), (1, Some(1)), (2, None)] {
            let view = view(&maker, 0, sample_id, index);
            let mean = view.iter().sum::<f32>() / view.len() as f32;
            let variance = view.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / view.len() as f32;
            assert!(mean.abs() < 1e-4 && (variance - 1.0).abs() < 1e-3, "{mean} {variance}");
        }
    }

    #[test]
    fn evaluation_equals_its_parts_in_sequence() {
        let (_folder, paths) = recordings();
        let maker = maker(&paths, &AugmentConfig::default(), 0, 0);
        let recording = decode::decode(&paths[0]).unwrap();
        let clip = &recording.samples[3500..5500];
        let log_mel = LogMel::new(&features(), 8000, 2000).unwrap();
        let mut expected = blank(&maker);
        log_mel.compute(&mut log_mel.workspace(), clip, &mut expected).unwrap();
        features::normalize(&mut expected);
        assert_eq!(view(&maker, 5, 0, None), expected);
    }

    #[test]
    fn a_recording_at_another_rate_sounds_the_same() {
        let (folder, mut paths) = recordings();
        let twin = folder.path().join("twin.wav");
        write_wav(&twin, 8000, 5443, 440.0);
        paths.push(twin);
        let maker = maker(&paths, &AugmentConfig::default(), 0, 1 << 20);
        let mut workspace = maker.workspace();
        let resampled = maker.recording(&mut workspace, 2).unwrap();
        let direct = maker.recording(&mut workspace, 4).unwrap();
        assert_eq!(resampled.len(), direct.len());
        let worst = (500..4900).map(|i| (resampled[i] - direct[i]).abs()).fold(0.0, f32::max);
        // The files differ in their own background, of up to 97 / 32768.
        assert!(worst < 0.01, "{worst}");
    }

    #[test]
    fn bad_recordings_and_arguments_are_errors() {
        let (_folder, paths) = recordings();
        let maker = maker(&paths, &AugmentConfig::default(), 0, 1 << 20);
        let mut workspace = Workspace::default();
        let mut out = blank(&maker);
        for _ in 0..2 {
            let error = make(&maker, &mut workspace, (0, 3, Some(0)), &mut out).unwrap_err();
            assert!(error.to_string().contains("3.wav`: not a recording"), "{error}");
            assert!(error.hint().unwrap().contains("give WAV, FLAC"));
        }
        let error = make(&maker, &mut workspace, (0, 4, None), &mut out).unwrap_err();
        assert_eq!(error, ViewError::UnknownSample { sample_id: 4, num_samples: 4 });
        assert!(make(&maker, &mut workspace, (0, 0, None), &mut out[1..]).is_err());
        let request = ViewRequest { epoch: 0, sample_id: 0, augment: true };
        let slot = ViewSlot { spec: 1, view: 0, index: 0, values: &mut out, drawn: &mut [] };
        let error = maker.make(&mut workspace, &request, vec![slot], &mut []).unwrap_err();
        assert_eq!(error, ViewError::UnknownSpec(1));

        let with_audio = |audio| {
            SoundViews::new(vec![], &audio, &features(), &AugmentConfig::default(), 0, 0).unwrap_err()
        };
        assert_eq!(
            with_audio(AudioConfig { sample_rate: 0, clip_secs: 1.0, ..AUDIO }),
            ViewError::SampleRate(0)
        );
        for clip_secs in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(matches!(with_audio(AudioConfig { clip_secs, ..AUDIO }), ViewError::ClipSecs(_)));
        }
        let short = with_audio(AudioConfig { clip_secs: 0.01, ..AUDIO });
        assert!(short.to_string().contains("data.features.n_fft") && short.hint().is_some(), "{short}");
    }

    #[test]
    fn the_loudest_samples_that_are_decoded_still_give_finite_views() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("loud.wav");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        (0..2000).for_each(|_| writer.write_sample(decode::MAX_AMPLITUDE).unwrap());
        writer.finalize().unwrap();
        let loudest = augment::MAX_DECIBELS;
        let augment = AugmentConfig {
            gain_db: Some([loudest, loudest]),
            noise_snr_db: [-loudest, -loudest],
            ..AugmentConfig::default()
        };
        assert!(view(&maker(&[path], &augment, 0, 0), 0, 0, Some(0)).iter().all(|x| x.is_finite()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn a_view_is_a_function_of_its_name_alone(
            seed in any::<u64>(),
            names in prop::collection::vec((0u64..3, 0u32..3, prop::option::of(0u32..3)), 2..8),
        ) {
            let (_folder, paths) = recordings();
            let augment = AugmentConfig { max_shift_fraction: 0.1, noise_probability: 0.5, ..Default::default() };
            let first = maker(&paths, &augment, seed, 1 << 20);
            let mut workspace = Workspace::default();
            let mut out = blank(&first);
            // In another order, by another maker, without a cache and with fresh buffers.
            let other = maker(&paths, &augment, seed, 0);
            let expected: Vec<_> = names.iter().rev().map(|&(e, s, v)| view(&other, e, s, v)).collect();
            for (&(epoch, sample_id, index), expected) in names.iter().zip(expected.iter().rev()) {
                make(&first, &mut workspace, (epoch, sample_id, index), &mut out).unwrap();
                prop_assert_eq!(&out, expected);
            }
        }

        #[test]
        fn every_part_of_the_name_changes_the_view(seed in any::<u64>(), epoch in 0u64..100, index in 0u32..100) {
            let (_folder, paths) = recordings();
            let maker = |seed| maker(&paths, &AugmentConfig::default(), seed, 1 << 20);
            let base = view(&maker(seed), epoch, 0, Some(index));
            prop_assert_ne!(&base, &view(&maker(seed ^ 1), epoch, 0, Some(index)));
            prop_assert_ne!(&base, &view(&maker(seed), epoch + 1, 0, Some(index)));
            prop_assert_ne!(&base, &view(&maker(seed), epoch, 0, Some(index + 1)));
        }
    }
}
