//! What a sample is cut from: a recording, or a part of one, decoded and brought to the wanted rate.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use dtrain_configs::schema::Channel;

use crate::decode::{DecodeError, DecodeProblem, Decoder, Recording};
use crate::resample::{Resampler, Surroundings};

/// A recording, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    /// The file.
    pub path: Arc<Path>,
    /// Frames of the file, at its own rate; `None`: all of them.
    pub frames: Option<Range<u64>>,
}

/// What a thread keeps between recordings that it loads: they mostly share one rate.
#[derive(Debug)]
pub(super) struct Loading {
    decoder: Decoder,
    resampler: Option<Resampler>,
}

impl Loading {
    /// For recordings of which `channel` is heard.
    pub(super) fn new(channel: Channel) -> Self {
        Self { decoder: Decoder::new(channel), resampler: None }
    }

    /// Decodes an excerpt and brings it to the wanted rate. Of a part no more is read than what resampling has to hear around it.
    pub(super) fn load(&mut self, excerpt: &Excerpt, sample_rate: u32) -> Result<Vec<f32>, DecodeError> {
        let path = &*excerpt.path;
        let mut part = None;
        let recording = match &excerpt.frames {
            None => self.decoder.decode(path)?,
            Some(frames) => self.decoder.decode_part(path, |info| {
                let around = Surroundings::new(frames, info.num_frames, info.sample_rate, sample_rate);
                part = Some(around.part);
                Ok(around.frames)
            })?,
        };
        let resampled = self.resampled(recording, path, sample_rate)?;
        Ok(match part.and_then(|part| resampled.get(part)) {
            Some(part) if part.len() < resampled.len() => part.to_vec(),
            _ => resampled,
        })
    }

    fn resampled(
        &mut self,
        recording: Recording,
        path: &Path,
        sample_rate: u32,
    ) -> Result<Vec<f32>, DecodeError> {
        if recording.sample_rate == sample_rate {
            return Ok(recording.samples);
        }
        let failed = |problem: DecodeProblem| DecodeError { path: path.to_owned(), problem };
        let mut fitting = match self.resampler.take().filter(|r| r.from() == recording.sample_rate) {
            Some(fitting) => fitting,
            None => Resampler::new(recording.sample_rate, sample_rate).map_err(failed)?,
        };
        let resampled = fitting.resample(&recording.samples).map_err(failed);
        self.resampler = Some(fitting);
        resampled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    fn write_wav(path: &Path, sample_rate: u32, samples: impl Iterator<Item = f32>) {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate,
            bits_per_sample: 32,
            sample_format: hound::SampleFormat::Float,
        };
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        samples.for_each(|sample| writer.write_sample(sample).unwrap());
        writer.finalize().unwrap();
    }

    fn tone(sample_rate: u32, secs: u32) -> impl Iterator<Item = f32> {
        (0..secs * sample_rate)
            .map(move |t| (t as f32 * 440.0 / sample_rate as f32 * std::f32::consts::TAU).sin())
    }

    /// Frames of whole seconds are frames at both rates.
    #[test]
    fn a_part_is_a_stretch_of_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("long.wav").into();
        let mut loading = Loading::new(Channel::Mean);
        for (rate, tolerance) in [(8000, 0.0), (44_100, 1e-5), (22_050, 1e-5)] {
            write_wav(&path, rate, tone(rate, 3));
            let whole = loading.load(&Excerpt { path: path.clone(), frames: None }, 8000).unwrap();
            assert_eq!(whole.len(), 24_000);
            for (begin, end) in [(0, 1), (1, 2), (2, 3), (0, 3)] {
                let frames = Some(begin * u64::from(rate)..end * u64::from(rate));
                let part = loading.load(&Excerpt { path: path.clone(), frames }, 8000).unwrap();
                let expected = &whole[begin as usize * 8000..end as usize * 8000];
                assert_eq!(part.len(), expected.len());
                let difference =
                    part.iter().zip(expected).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(difference <= tolerance, "{rate} Hz, {begin} s: {difference}");
            }
        }
    }

    /// At the file's own rate the samples are the file's, whatever block they are read by.
    #[test]
    fn frames_are_those_that_were_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("long.wav").into();
        write_wav(&path, 8000, tone(8000, 5));
        let whole = decode::decode(&path).unwrap().samples;
        let mut loading = Loading::new(Channel::Mean);
        for frames in [0..1, 0..40_000, 5..9, 16_370..16_390, 20_000..39_999, 39_999..40_000] {
            let excerpt = Excerpt { path: path.clone(), frames: Some(frames.clone()) };
            let part = loading.load(&excerpt, 8000).unwrap();
            assert_eq!(part, whole[frames.start as usize..frames.end as usize], "{frames:?}");
        }
        for (frames, reason) in [(39_999..40_001, "truncated"), (7..7, "no samples")] {
            let error =
                loading.load(&Excerpt { path: path.clone(), frames: Some(frames) }, 8000).unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        }
    }
}
