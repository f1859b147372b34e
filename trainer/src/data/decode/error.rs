//! What can be wrong with a recording.

use std::io;
use std::path::PathBuf;

use super::{MAX_FRAMES, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};

/// A recording that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{}`: {problem}", path.display())]
pub struct DecodeError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: DecodeProblem,
}

/// What is wrong with a recording.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeProblem {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Io(String),
    /// Another format, or none.
    #[error("not a WAV file: expected `RIFF....WAVE`, found {0}")]
    NotWav(String),
    /// A WAV file that contradicts itself or its format.
    #[error("malformed at byte {offset}: {what}")]
    Malformed {
        /// Where in the file.
        offset: u64,
        /// What was found and expected.
        what: String,
    },
    /// A kind of WAV file that is not decoded.
    #[error("{0} is not supported: expected integer samples of 8, 16, 24 or 32 bits or floats of 32 bits")]
    Unsupported(String),
    /// The file ends before its audio does.
    #[error(
        "truncated: the audio at byte {offset} should have {expected_bytes} bytes, the file has {found_bytes}"
    )]
    Truncated {
        /// Where the audio begins.
        offset: u64,
        /// Length that the header claims.
        expected_bytes: u64,
        /// Length that there is.
        found_bytes: u64,
    },
    /// No audio.
    #[error("the recording has no samples")]
    Empty,
    /// A rate that no recording has.
    #[error("a sample rate of {0} Hz: expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz")]
    SampleRate(u32),
    /// More audio than fits.
    #[error("{num_frames} frames at {sample_rate} Hz: at most {MAX_FRAMES} fit")]
    TooLong {
        /// Length, at that rate.
        num_frames: u64,
        /// The file's rate, or that to which it would be resampled.
        sample_rate: u32,
    },
    /// A float that is no sample.
    #[error("sample {value} in frame {frame}, channel {channel}: expected a number of magnitude up to 2^31")]
    NotASample {
        /// Which frame, from 0.
        frame: u64,
        /// Which channel, from 0.
        channel: u16,
        /// What it is.
        value: f32,
    },
    /// The resampler refused.
    #[error("cannot be resampled from {from} to {to} Hz: {reason}")]
    Resample {
        /// Rate of the file, in Hz.
        from: u32,
        /// Wanted rate, in Hz.
        to: u32,
        /// In the resampler's words.
        reason: String,
    },
}

impl DecodeError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let name = self.path.display();
        match &self.problem {
            DecodeProblem::Io(_) => None,
            DecodeProblem::NotWav(_) | DecodeProblem::Unsupported(_) => {
                Some(format!("convert it, for instance with `ffmpeg -i {name} -c:a pcm_s16le converted.wav`"))
            }
            DecodeProblem::TooLong { .. } => Some(format!(
                "cut it, for instance with `ffmpeg -i {name} -f segment -segment_time 600 part_%04d.wav`"
            )),
            _ => Some("restore the file from its source, or remove it from the data set".into()),
        }
    }
}

impl From<io::Error> for DecodeProblem {
    fn from(error: io::Error) -> Self {
        // fs-err's messages name the file, as the error around this one does.
        Self::Io(match error.kind() {
            io::ErrorKind::NotFound => "it does not exist".into(),
            io::ErrorKind::PermissionDenied => "permission denied".into(),
            _ => error.to_string(),
        })
    }
}
