//! Recordings as what a data set is read from.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::Xxh3Default;

use super::source::{Place, Source, SourceWords};
use crate::augment::SoundAugmentations;
use crate::views::{Excerpt, SoundSpec, SoundViews, ViewError, ViewSettings, Views};

/// Bytes of a file that are hashed at once.
const READ_AT_ONCE: usize = 1 << 16;

/// One recording, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Where the file is; absolute if the root is.
    pub path: Arc<Path>,
    /// The same below the root, with `/` between folders.
    pub relative: Arc<str>,
    /// The frame of the file at which the sample begins, where files are cut into samples.
    pub begin: Option<u64>,
    /// Frames of the sample.
    pub num_frames: u64,
    /// In Hz.
    pub sample_rate: u32,
}

impl Sample {
    fn place(&self) -> Option<Place> {
        let secs = |frames: u64| frames as f64 / f64::from(self.sample_rate.max(1));
        Some(Place {
            file: self.relative.to_string(),
            begin_secs: secs(self.begin?),
            length_secs: secs(self.num_frames),
        })
    }

    fn excerpt(&self) -> Excerpt {
        let frames = self.begin.map(|begin| begin..begin + self.num_frames);
        Excerpt { path: self.path.clone(), frames }
    }
}

/// Seconds as names have them: to a millisecond, and not shorter than `5.0`.
fn seconds(secs: f64) -> String {
    let text = format!("{secs:.3}");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// All readable recordings, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recordings(pub Vec<Sample>);

impl Source for Recordings {
    fn num_samples(&self) -> usize {
        self.0.len()
    }

    /// Its path below the root; of a part of a recording followed by seconds, as in `field/a.wav@5.0-10.0`.
    fn name_of(&self, id: u32) -> Option<String> {
        let sample = self.0.get(id as usize)?;
        Some(match sample.place() {
            None => sample.relative.to_string(),
            Some(Place { file, begin_secs, length_secs }) => {
                format!("{file}@{}-{}", seconds(begin_secs), seconds(begin_secs + length_secs))
            }
        })
    }

    fn place_of(&self, id: u32) -> Option<Place> {
        self.0.get(id as usize)?.place()
    }

    /// Of the file.
    fn size_of(&self, id: u32) -> Option<u64> {
        Some(fs_err::metadata(&*self.0.get(id as usize)?.path).ok()?.len())
    }

    fn hash_of(&self, id: u32) -> Option<u128> {
        let mut file = fs_err::File::open(&*self.0.get(id as usize)?.path).ok()?;
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
            views: match audio.segment_secs {
                Some(secs) => {
                    format!("{} s of samples of {secs} s, at {} Hz", audio.clip_secs, audio.sample_rate)
                }
                None => format!("{} s at {} Hz", audio.clip_secs, audio.sample_rate),
            },
        }
    }

    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError> {
        let ViewSettings { data, augment, seed, num_specs, masks } = *settings;
        if masks {
            return Err(ViewError::NoMasks);
        }
        let excerpts = self.0.iter().map(Sample::excerpt).collect();
        let views = SoundViews::new(excerpts, &data.audio, &data.features, augment, seed, data.cache_bytes)?;
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
        let (path, relative) = (path.into(), "a.wav".into());
        let sample = Sample { path, relative, begin: None, num_frames: 9000, sample_rate: 8000 };
        Arc::new(Recordings(vec![sample]))
    }

    fn data() -> DataConfig {
        DataConfig {
            audio: AudioConfig { sample_rate: 8000, clip_secs: 0.56, ..AudioConfig::default() },
            features: FeatureConfig { n_fft: 256, hop_length: 80, n_mels: 24, ..FeatureConfig::default() },
            ..DataConfig::default()
        }
    }

    fn maker(
        source: &Arc<Recordings>,
        augment: &AugmentConfig,
        num_specs: usize,
    ) -> Result<Arc<dyn Views>, ViewError> {
        Arc::clone(source).views(&ViewSettings { data: &data(), augment, seed: 1, num_specs, masks: false })
    }

    fn view(maker: &dyn Views, spec: usize, view: u32) -> Vec<f32> {
        let mut values = vec![f32::NAN; maker.shape_of(spec).unwrap().iter().product()];
        let request = ViewRequest { epoch: 2, sample_id: 0, augment: true };
        let slot = ViewSlot { spec, view, index: 0, values: &mut values, drawn: &mut [] };
        maker.make(&mut Workspace::default(), &request, vec![slot], &mut []).unwrap();
        values
    }

    #[test]
    fn names_tell_the_file_and_the_seconds() {
        let sample = |begin, num_frames| Sample {
            path: Path::new("/b/a.wav").into(),
            relative: "b/a.wav".into(),
            begin,
            num_frames,
            sample_rate: 8000,
        };
        let samples = vec![sample(None, 9), sample(Some(0), 40_000), sample(Some(8024), 24)];
        let source = Recordings(samples);
        let names: Vec<Option<String>> = (0..4).map(|id| source.name_of(id)).collect();
        let expected =
            ["b/a.wav", "b/a.wav@0.0-5.0", "b/a.wav@1.003-1.006"].map(|name| Some(name.to_owned()));
        assert_eq!(names, [expected.as_slice(), &[None]].concat());
        assert_eq!(source.place_of(0), None);
        let place = Place { file: "b/a.wav".into(), begin_secs: 1.003, length_secs: 0.003 };
        assert_eq!(source.place_of(2), Some(place));
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
