//! Recordings as what a data set is read from.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::Xxh3Default;

use super::source::{Source, SourceWords};
use crate::augment::SoundAugmentations;
use crate::views::{SoundSpec, SoundViews, ViewError, ViewSettings, Views};

/// Bytes of a file that are hashed at once.
const READ_AT_ONCE: usize = 1 << 16;

/// One recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where it is; absolute if the root is.
    pub path: PathBuf,
    /// The same below the root, with `/` between folders.
    pub relative: String,
    /// Sample frames.
    pub num_frames: u64,
    /// In Hz.
    pub sample_rate: u32,
}

/// All readable recordings, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recordings(pub Vec<Sample>);

impl Source for Recordings {
    fn num_samples(&self) -> usize {
        self.0.len()
    }

    /// Its path below the root.
    fn name_of(&self, id: u32) -> Option<String> {
        Some(self.0.get(id as usize)?.relative.clone())
    }

    /// Of the file.
    fn size_of(&self, id: u32) -> Option<u64> {
        Some(fs_err::metadata(&self.0.get(id as usize)?.path).ok()?.len())
    }

    fn hash_of(&self, id: u32) -> Option<u128> {
        let mut file = fs_err::File::open(&self.0.get(id as usize)?.path).ok()?;
        let mut hash = Xxh3Default::new();
        let mut bytes = vec![0; READ_AT_ONCE];
        loop {
            match file.read(&mut bytes).ok()? {
                0 => return Some(hash.digest128()),
                count => hash.update(bytes.get(..count)?),
            }
        }
    }

    fn noun(&self) -> &'static str {
        "file"
    }

    fn words(&self, data: &DataConfig) -> SourceWords {
        let audio = &data.audio;
        SourceWords {
            parts: format!("split `{}`", data.split),
            views: format!("{} s at {} Hz", audio.clip_secs, audio.sample_rate),
        }
    }

    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError> {
        let ViewSettings { data, augment, seed, num_specs } = *settings;
        let paths = self.0.iter().map(|sample| sample.path.clone()).collect();
        let views = SoundViews::new(paths, &data.audio, &data.features, augment, seed, data.cache_bytes)?;
        if num_specs < 2 {
            return Ok(Arc::new(views));
        }
        let small = SoundAugmentations::new(&augment.of_small_views())
            .map_err(ViewError::from)
            .and_then(|list| SoundSpec::new(&augment.small_views.audio(&data.audio), &data.features, list));
        Ok(Arc::new(views.with(small.map_err(|error| ViewError::SmallViews(Box::new(error)))?)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dtrain_configs::schema::{AudioConfig, AugmentConfig, FeatureConfig, SmallViewsConfig};

    use super::*;
    use crate::views::{ViewRequest, ViewSlot, Workspace};

    fn recordings(folder: &Path) -> Arc<Recordings> {
        let path = folder.join("a.wav");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(&path, spec).unwrap();
        (0..9000u32).for_each(|t| writer.write_sample((t * t % 1013) as i16).unwrap());
        writer.finalize().unwrap();
        let sample = Sample { path, relative: "a.wav".into(), num_frames: 9000, sample_rate: 8000 };
        Arc::new(Recordings(vec![sample]))
    }

    fn data() -> DataConfig {
        DataConfig {
            audio: AudioConfig { sample_rate: 8000, clip_secs: 0.56 },
            features: FeatureConfig { n_fft: 256, hop_length: 80, n_mels: 24, ..FeatureConfig::default() },
            ..DataConfig::default()
        }
    }

    fn maker(
        source: &Arc<Recordings>,
        augment: &AugmentConfig,
        num_specs: usize,
    ) -> Result<Arc<dyn Views>, ViewError> {
        Arc::clone(source).views(&ViewSettings { data: &data(), augment, seed: 1, num_specs })
    }

    fn view(maker: &dyn Views, spec: usize, view: u32) -> Vec<f32> {
        let mut values = vec![f32::NAN; maker.shape_of(spec).unwrap().iter().product()];
        let request = ViewRequest { epoch: 2, sample_id: 0, augment: true };
        let slot = ViewSlot { spec, view, index: 0, values: &mut values, drawn: &mut [] };
        maker.make(&mut Workspace::default(), &request, vec![slot], &mut []).unwrap();
        values
    }

    #[test]
    fn small_views_are_there_where_they_are_asked_for_and_leave_the_large_ones() {
        let folder = tempfile::tempdir().unwrap();
        let source = recordings(folder.path());
        let augment = AugmentConfig::default();
        let alone = maker(&source, &augment, 1).unwrap();
        let both = maker(&source, &augment, 2).unwrap();
        assert_eq!((alone.shape_of(0), alone.shape_of(1)), (Some([1, 24, 57]), None));
        // 96/224 of 0.56 s are 1920 samples, 24 hops.
        assert_eq!((both.shape_of(0), both.shape_of(1)), (Some([1, 24, 57]), Some([1, 24, 25])));
        for number in 0..4 {
            assert_eq!(view(&*both, 0, number), view(&*alone, 0, number));
        }
        let number = 1 << 20;
        let small = view(&*both, 1, number);
        assert!(small.iter().all(|value| value.is_finite()));
        assert_eq!(small, view(&*maker(&source, &augment, 2).unwrap(), 1, number));
        assert_ne!(small, view(&*both, 1, number + 1));
    }

    /// Only masks are on, which make columns of one value.
    #[test]
    fn time_masks_of_small_views_are_narrower_by_their_share() {
        let folder = tempfile::tempdir().unwrap();
        let source = recordings(folder.path());
        let mut augment = AugmentConfig { gain_db: None, noise_probability: 0.0, ..AugmentConfig::default() };
        augment.spec_augment.num_freq_masks = 0;
        augment.spec_augment.max_time_width = 14;
        let maker = maker(&source, &augment, 2).unwrap();
        let widest = |spec: usize| {
            let [_, bands, frames] = maker.shape_of(spec).unwrap();
            let masked = |number: u32| {
                let values = view(&*maker, spec, number);
                let of_one_value = |t: &usize| (1..bands).all(|band| values[band * frames + t] == values[*t]);
                (0..frames).filter(of_one_value).count()
            };
            (0..200).map(masked).max().unwrap()
        };
        assert_eq!((widest(0), widest(1)), (14, 6));
    }

    #[test]
    fn small_views_that_are_too_short_name_their_setting() {
        let folder = tempfile::tempdir().unwrap();
        let source = recordings(folder.path());
        let small_views = SmallViewsConfig { clip_fraction: 0.01, ..SmallViewsConfig::default() };
        let augment = AugmentConfig { small_views, ..AugmentConfig::default() };
        assert!(maker(&source, &augment, 1).is_ok());
        let error = maker(&source, &augment, 2).unwrap_err();
        assert!(error.to_string().starts_with("small views cannot be made: "), "{error}");
        assert!(error.hint().unwrap().contains("augment.small_views.clip_fraction"), "{error:?}");
    }
}
