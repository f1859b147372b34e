//! What can be wrong with a recording.

use std::io;
use std::path::{Path, PathBuf};

use dtrain_configs::shell_path;

use super::{MAX_FRAMES, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};
use crate::sniff::{FileKind, SOUND};

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
    #[error("not a recording that can be read: it is {found}")]
    NotSound {
        /// What it is, by its first bytes.
        found: String,
        /// The same, where they tell.
        kind: Option<FileKind>,
    },
    /// A WAV file that contradicts itself or its format.
    #[error("malformed at byte {offset}: {what}")]
    Malformed {
        /// Where in the file.
        offset: u64,
        /// What was found and expected.
        what: String,
    },
    /// A kind of WAV file that is not decoded.
    #[error(
        "{0} is not supported: expected integer samples of 8, 16, 24 or 32 bits, or \
             floats of 32 or 64"
    )]
    Unsupported(String),
    /// Sound of a kind that is not decoded.
    #[error("{0} is not read")]
    NotRead(&'static str),
    /// Packets of which a decoder makes nothing.
    #[error("cannot be decoded: {0}")]
    Undecodable(String),
    /// A channel that the recording lacks.
    #[error("it has {}, `data.audio.channel` = {wanted} is not among them", counted(*channels))]
    NoChannel {
        /// Which one was asked for, from 0.
        wanted: u16,
        /// How many there are.
        channels: u16,
    },
    /// The recording turns out to be shorter than its header says.
    #[error("the recording ends after {found_frames} frames, expected {expected_frames}")]
    EndsEarly {
        /// Length that is needed.
        expected_frames: u64,
        /// Length that there is.
        found_frames: u64,
    },
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

impl DecodeProblem {
    /// About a file that begins with `first`, which no reader takes.
    pub(super) fn not_sound(first: &[u8]) -> Self {
        let kind = FileKind::of(first);
        let beginning = || first.iter().take(12).copied().collect::<Vec<u8>>().escape_ascii().to_string();
        let found = match kind {
            Some(FileKind::Text) => format!("text that begins with `{}`", beginning()),
            Some(kind) => kind.describe().to_owned(),
            None if first.len() < 12 => format!("a file of {} bytes", first.len()),
            None => format!("one that begins with `{}`", beginning()),
        };
        Self::NotSound { found, kind }
    }

    /// With the file that it is about.
    pub(super) fn of(self, path: &Path) -> DecodeError {
        DecodeError { path: path.to_owned(), problem: self }
    }

    /// The next step, in words that fit one file and many.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Io(_) => None,
            Self::NotSound { kind: Some(kind), .. } => Some(kind.advice(SOUND)),
            Self::Unsupported(_) | Self::NotRead(_) => Some(FileKind::Audio("").advice(SOUND)),
            Self::NoChannel { .. } => {
                Some("ask for a channel that all recordings have, or for `data.audio.channel=mean`".into())
            }
            Self::TooLong { .. } => Some(
                "cut into pieces, for instance with `ffmpeg -i IN -f segment -segment_time 600 OUT_%04d.wav`"
                    .into(),
            ),
            _ => Some("restore from the source, or remove from the data set".into()),
        }
    }
}

fn counted(channels: u16) -> String {
    match channels {
        1 => "1 channel, 0".to_owned(),
        channels => format!("{channels} channels, 0 to {}", channels - 1),
    }
}

impl DecodeError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let advice = self.problem.advice()?;
        let name = shell_path(&self.path);
        Some(
            advice
                .replace("-i IN ", &format!("-i {name} "))
                .replace("OUT", "converted")
                .replace(" FILE`", &format!(" {name}`")),
        )
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
