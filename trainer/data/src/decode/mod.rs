//! Recordings to mono samples. Files come from anywhere: nothing in one may cause a panic, or an allocation that its
//! size does not justify. What a file is, its first bytes tell; docs/formats.md says what decides about its length.
//!
//! WAV files hold integer samples of up to 32 bits, 32-bit and 64-bit floats, any number of channels; RIFF, and RF64 for
//! long files. Their headers are read here rather than by a library, because those at hand refuse what occurs in the wild
//! (chunks without a pad byte, lengths that nobody knew, a wrong byte rate) or read it wrongly (fewer valid bits than a
//! sample has). The samples are read here because a library's iterator takes them one by one. What lies in packets is
//! decoded by a library (`packets/`).

mod channels;
mod error;
mod format;
mod note;
mod packets;
mod riff;
mod samples;
mod source;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod twins;

use std::ops::Range;
use std::path::Path;

use dtrain_configs::schema::Channel;

pub use self::error::{DecodeError, DecodeProblem};
use self::format::Format;
pub use self::note::RecordingNote;
use self::packets::{Container, PacketFile};
use self::riff::{Audio, Chunks};
use self::source::Source;
use crate::sniff::FileKind;

/// Lowest sample rate that is taken for real, in Hz; bounds what resampling up can allocate.
pub const MIN_SAMPLE_RATE: u32 = 1_000;
/// Highest sample rate that is taken for real, in Hz.
pub const MAX_SAMPLE_RATE: u32 = 768_000;
/// Longest recording in frames, before and after resampling: 2 GiB of mono samples.
pub const MAX_FRAMES: u64 = 1 << 29;
/// Largest magnitude of a float sample (nominal: 1). Powers of what gain and noise make of it still fit a float.
pub const MAX_AMPLITUDE: f32 = 2_147_483_648.0;

/// What is read at a time of a recording that is decoded: short ones take one read.
const BLOCK_BYTES: usize = 1 << 16;
/// The same where only the header is wanted.
const HEADER_BYTES: usize = 1 << 12;

/// What the header of a recording says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingInfo {
    /// Frames per second.
    pub sample_rate: u32,
    /// Samples per frame.
    pub channels: u16,
    /// Length; the file has been found to hold that many.
    pub num_frames: u64,
    /// Size of the file.
    pub num_bytes: u64,
    /// What is odd about the file, in ascending order.
    pub notes: Vec<RecordingNote>,
}

impl RecordingInfo {
    /// Duration in seconds.
    pub fn duration_secs(&self) -> f64 {
        self.num_frames as f64 / f64::from(self.sample_rate)
    }
}

/// A decoded recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Mean of the channels, or one of them; integer formats are scaled to [-1, 1).
    pub samples: Vec<f32>,
    /// Samples per second.
    pub sample_rate: u32,
}

/// Decodes one recording after the other with the same buffer.
#[derive(Debug)]
pub struct Decoder {
    block: Vec<u8>,
    channel: Channel,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(Channel::Mean)
    }
}

impl Decoder {
    /// For samples: what `channel` says is heard of several channels.
    pub fn new(channel: Channel) -> Self {
        Self { block: vec![0; BLOCK_BYTES], channel }
    }

    /// For headers: reads little of each file.
    pub fn of_headers(channel: Channel) -> Self {
        Self { block: vec![0; HEADER_BYTES], channel }
    }

    /// Reads the header, and checks that the audio it announces is there.
    ///
    /// # Errors
    /// [`DecodeError`] for files that [`Decoder::decode`] would refuse without having looked at the samples.
    pub fn probe(&mut self, path: &Path) -> Result<RecordingInfo, DecodeError> {
        self.open(path).map(|file| file.info().clone()).map_err(|problem| problem.of(path))
    }

    /// As [`Decoder::probe`], and whether what is heard is silence or a constant; for that the samples are read up to the
    /// first one that differs.
    ///
    /// # Errors
    /// As [`Decoder::probe`].
    pub fn survey(&mut self, path: &Path) -> Result<(RecordingInfo, bool), DecodeError> {
        let file = self.open(path).map_err(|problem| problem.of(path))?;
        let info = file.info().clone();
        // Bad samples are told when they are used.
        let is_constant = match file {
            OpenFile::Wav(wav) => samples::is_constant(wav),
            OpenFile::Packets(file) => file.is_constant(),
        };
        Ok((info, is_constant.unwrap_or(false)))
    }

    /// Reads a whole recording, one sample for each frame.
    ///
    /// # Errors
    /// [`DecodeError`] where the file cannot be read, is no supported recording, ends early, is empty or longer than
    /// [`MAX_FRAMES`], lacks the channel, or holds floats that are not finite or larger than [`MAX_AMPLITUDE`].
    pub fn decode(&mut self, path: &Path) -> Result<Recording, DecodeError> {
        let decoded = self.open(path).and_then(|file| {
            let sample_rate = file.info().sample_rate;
            let samples = match file {
                OpenFile::Wav(wav) => samples::read_all(wav)?,
                OpenFile::Packets(file) => file.read_all()?,
            };
            Ok(Recording { samples, sample_rate })
        });
        decoded.map_err(|problem| problem.of(path))
    }

    /// As [`Decoder::decode`], of the frames that `part` chooses by the header; of a long file no more is decoded than they
    /// need. They are counted from the beginning of the file.
    ///
    /// # Errors
    /// As there, and where the file has not as many frames.
    pub fn decode_part(
        &mut self,
        path: &Path,
        part: impl FnOnce(&RecordingInfo) -> Result<Range<u64>, DecodeProblem>,
    ) -> Result<Recording, DecodeError> {
        let decoded = self.open(path).and_then(|file| {
            let sample_rate = file.info().sample_rate;
            let frames = part(file.info())?;
            let samples = match file {
                OpenFile::Wav(wav) => samples::read_all(wav.part(frames)?)?,
                OpenFile::Packets(file) => file.read(frames)?,
            };
            Ok(Recording { samples, sample_rate })
        });
        decoded.map_err(|problem| problem.of(path))
    }

    fn open(&mut self, path: &Path) -> Result<OpenFile<'_>, DecodeProblem> {
        let channel = self.channel;
        let source = Source::open(path, &mut self.block)?;
        let begin = packets::id3_bytes(source.first_bytes());
        if let Some(container) = container(&source, begin)? {
            return PacketFile::open(&source, container, begin, channel).map(OpenFile::Packets);
        }
        let Chunks { format, data_offset, data_bytes, notes } = match Chunks::locate(&source)? {
            Audio::Samples(chunks) => chunks,
            Audio::Adpcm => {
                return PacketFile::open(&source, Container::Wav, 0, channel).map(OpenFile::Packets);
            }
        };
        let info = RecordingInfo {
            sample_rate: format.sample_rate,
            channels: format.channels,
            num_frames: data_bytes / u64::from(format.frame_bytes),
            num_bytes: source.len(),
            notes,
        };
        if !(MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&info.sample_rate) {
            return Err(DecodeProblem::SampleRate(info.sample_rate));
        }
        if info.num_frames == 0 {
            return Err(DecodeProblem::Empty);
        }
        if info.num_frames > MAX_FRAMES {
            return Err(DecodeProblem::TooLong {
                num_frames: info.num_frames,
                sample_rate: info.sample_rate,
            });
        }
        channels::check(channel, info.channels)?;
        let wav = OpenWav { info, channel, format, data_offset, data_bytes, first_frame: 0, source };
        Ok(OpenFile::Wav(wav))
    }
}

/// What packets lie in behind a tag of `begin` bytes; nothing where it is a WAV file, or none at all.
fn container(source: &Source<'_>, begin: u64) -> Result<Option<Container>, DecodeProblem> {
    let mut first = [0; crate::sniff::NUM_FIRST_BYTES];
    let count = source.fill(begin, &mut first)?;
    let first = first.get(..count).unwrap_or_default();
    Ok(match FileKind::of(first) {
        Some(FileKind::Sound(kind)) => Some(kind.into()),
        // Some programs pad the tag, and some leave silence before the first frame.
        _ if begin > 0 && count > 0 => Some(Container::Mp3),
        _ => None,
    })
}

/// A file whose header has been read.
enum OpenFile<'a> {
    Wav(OpenWav<'a>),
    Packets(PacketFile),
}

impl OpenFile<'_> {
    fn info(&self) -> &RecordingInfo {
        match self {
            Self::Wav(wav) => &wav.info,
            Self::Packets(file) => file.info(),
        }
    }
}

/// As [`Decoder::probe`], of one file.
///
/// # Errors
/// As [`Decoder::probe`].
pub fn probe(path: &Path) -> Result<RecordingInfo, DecodeError> {
    Decoder::of_headers(Channel::Mean).probe(path)
}

/// As [`Decoder::decode`], of one file.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode(path: &Path) -> Result<Recording, DecodeError> {
    Decoder::default().decode(path)
}

/// An open WAV file whose header has been checked.
struct OpenWav<'a> {
    info: RecordingInfo,
    channel: Channel,
    format: Format,
    data_offset: u64,
    data_bytes: u64,
    /// Number of the frame at `data_offset`, for messages.
    first_frame: u64,
    source: Source<'a>,
}

impl OpenWav<'_> {
    /// Some of its frames, one at least.
    fn part(self, frames: Range<u64>) -> Result<Self, DecodeProblem> {
        let frame_bytes = u64::from(self.format.frame_bytes);
        if frames.end > self.info.num_frames {
            return Err(DecodeProblem::Truncated {
                offset: self.data_offset,
                expected_bytes: frames.end.saturating_mul(frame_bytes),
                found_bytes: self.data_bytes,
            });
        }
        let num_frames = frames.end.saturating_sub(frames.start);
        if num_frames == 0 {
            return Err(DecodeProblem::Empty);
        }
        Ok(Self {
            data_offset: self.data_offset + frames.start * frame_bytes,
            data_bytes: num_frames * frame_bytes,
            first_frame: frames.start,
            info: RecordingInfo { num_frames, ..self.info },
            ..self
        })
    }
}
