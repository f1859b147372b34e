//! Recordings whose samples lie in packets, compressed or not: FLAC, Vorbis, MP3, AAC, ALAC, ADPCM, AIFF and CAF, by
//! symphonia. docs/formats.md says for each format what decides about its length, and what is not read.
//!
//! What a file is has been told by its first bytes before. A sample's place in the recording is counted from the time of the
//! packet after a seek, and from sample to sample behind it; encoder delay and padding are no samples where the format states
//! them.

mod guard;
mod length;
mod mpeg;
mod open;
mod section;
mod stream;
#[cfg(test)]
mod tests;
mod words;

use std::ops::Range;

use dtrain_configs::schema::Channel;

use self::guard::guarded;
use self::length::Length;
pub(super) use self::mpeg::id3_bytes;
pub(super) use self::open::Container;
use self::open::Opened;
use self::stream::{End, Stream};
use super::channels::mix;
use super::error::DecodeProblem;
use super::source::Source;
use super::{MAX_AMPLITUDE, MAX_FRAMES, RecordingInfo, channels};

/// A file of packets, with what it says about itself.
pub(super) struct PacketFile {
    opened: Opened,
    info: RecordingInfo,
    channel: Channel,
}

impl PacketFile {
    /// Opens what begins after `begin` bytes of a file.
    ///
    /// # Errors
    /// What cannot be decoded, by name.
    pub fn open(
        source: &Source<'_>,
        container: Container,
        begin: u64,
        channel: Channel,
    ) -> Result<Self, DecodeProblem> {
        guarded(|| {
            let opened = Opened::new(source, container, begin)?;
            channels::check(channel, opened.channels)?;
            let Length { num_frames, notes } = Length::of(&opened)?;
            let info = RecordingInfo {
                sample_rate: opened.sample_rate,
                channels: opened.channels,
                num_frames,
                num_bytes: source.len(),
                notes,
            };
            Ok(Self { opened, info, channel })
        })
    }

    /// What it says.
    pub fn info(&self) -> &RecordingInfo {
        &self.info
    }

    /// All samples, one for each frame.
    ///
    /// # Errors
    /// Nothing that can be decoded, and floats that are no samples.
    pub fn read_all(&self) -> Result<Vec<f32>, DecodeProblem> {
        let samples = guarded(|| self.samples(0..MAX_FRAMES, |_| true))?;
        if samples.is_empty() { Err(DecodeProblem::Empty) } else { Ok(samples) }
    }

    /// Some of its frames, one at least.
    ///
    /// # Errors
    /// As [`Self::read_all`]; a recording that turns out to have fewer frames.
    pub fn read(&self, frames: Range<u64>) -> Result<Vec<f32>, DecodeProblem> {
        let wanted = frames.end.saturating_sub(frames.start);
        if wanted == 0 {
            return Err(DecodeProblem::Empty);
        }
        let ends_early =
            |found| DecodeProblem::EndsEarly { expected_frames: frames.end, found_frames: found };
        if frames.end > self.info.num_frames {
            return Err(ends_early(self.info.num_frames));
        }
        let mut samples = guarded(|| self.samples(frames.clone(), |_| true))?;
        if (samples.len() as u64) < wanted {
            // Where seeking led astray, the way from the beginning does not.
            samples = guarded(|| self.heard(self.opened.stream()?, frames.clone(), |_| true))?;
        }
        if (samples.len() as u64) < wanted {
            return Err(ends_early(frames.start + samples.len() as u64));
        }
        Ok(samples)
    }

    /// True where all samples are alike: silence, or a constant. Reads up to the first difference.
    pub fn is_constant(&self) -> Result<bool, DecodeProblem> {
        let mut alike = true;
        guarded(|| {
            self.samples(0..MAX_FRAMES, |mono| {
                let first = mono.first().copied().unwrap_or_default();
                alike = mono.iter().all(|&sample| sample == first);
                mono.truncate(1);
                alike
            })
        })?;
        Ok(alike)
    }

    /// The samples of `frames`, as far as they are there, until `go_on` returns false.
    fn samples(
        &self,
        frames: Range<u64>,
        go_on: impl FnMut(&mut Vec<f32>) -> bool,
    ) -> Result<Vec<f32>, DecodeProblem> {
        self.heard(self.opened.stream_at(frames.start)?, frames, go_on)
    }

    /// As [`Self::samples`], of a stream that begins before them.
    fn heard(
        &self,
        mut stream: Stream,
        frames: Range<u64>,
        mut go_on: impl FnMut(&mut Vec<f32>) -> bool,
    ) -> Result<Vec<f32>, DecodeProblem> {
        let channels = usize::from(self.info.channels);
        let mut mono = Vec::new();
        let end = stream.each(frames.start, |first_frame, samples| {
            let left = frames.end.saturating_sub(first_frame).saturating_mul(channels as u64);
            let len = samples.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let wanted = samples.get(..len).unwrap_or_default();
            check(wanted, channels, first_frame)?;
            mix(wanted, channels, self.channel, &mut mono, |&sample| sample);
            Ok(len == samples.len() && go_on(&mut mono))
        })?;
        match end {
            End::Undecodable(reason) if mono.is_empty() => Err(DecodeProblem::Undecodable(reason)),
            _ => Ok(mono),
        }
    }
}

/// # Errors
/// The first float that is no sample.
fn check(samples: &[f32], channels: usize, first_frame: u64) -> Result<(), DecodeProblem> {
    let is_sample = |value: f32| value.abs() <= MAX_AMPLITUDE;
    match samples.iter().enumerate().find(|&(_, &value)| !is_sample(value)) {
        None => Ok(()),
        Some((at, &value)) => Err(DecodeProblem::NotASample {
            frame: first_frame + (at / channels) as u64,
            channel: (at % channels) as u16,
            value,
        }),
    }
}
