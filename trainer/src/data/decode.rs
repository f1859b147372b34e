//! WAV files to mono samples. Files come from anywhere: nothing in one may cause a panic, or an allocation that its
//! size does not justify.
//!
//! Integer samples of 8, 16, 24 and 32 bits and 32-bit floats, any number of channels. The chunks are located here
//! and hound is handed `fmt ` and `data` alone: it neither skips the pad byte after a chunk of odd length nor
//! accepts a `fmt ` chunk with unusual extras, both of which occur in the wild.

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use fs_err::File;
use hound::{SampleFormat, WavReader, WavSpec};

/// Lowest sample rate that is taken for real, in Hz; bounds what resampling up can allocate.
pub const MIN_SAMPLE_RATE: u32 = 1_000;
/// Highest sample rate that is taken for real, in Hz.
pub const MAX_SAMPLE_RATE: u32 = 768_000;
/// Longest recording in frames, before and after resampling: 2 GiB of mono samples.
pub const MAX_FRAMES: u64 = 1 << 29;
/// Largest magnitude of a float sample (nominal: 1). Powers of what gain and noise make of it still fit a float.
pub const MAX_AMPLITUDE: f32 = 2_147_483_648.0;

/// Chunks before `data` that are looked at.
const MAX_CHUNKS: usize = 1024;
/// Bytes of a `fmt ` chunk that mean something.
const MAX_FMT_BYTES: usize = 40;
const WAVE_FORMAT_EXTENSIBLE: u16 = 0xfffe;

/// What the header of a recording says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WavInfo {
    /// Frames per second.
    pub sample_rate: u32,
    /// Samples per frame.
    pub channels: u16,
    /// Length; the file has been found to hold that many.
    pub num_frames: u64,
}

impl WavInfo {
    /// Duration in seconds.
    pub fn duration_secs(&self) -> f64 {
        self.num_frames as f64 / f64::from(self.sample_rate)
    }
}

/// A decoded recording.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// Mean of the channels; integer formats are scaled to [-1, 1).
    pub samples: Vec<f32>,
    /// Samples per second.
    pub sample_rate: u32,
}

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
    #[error("truncated: the audio at byte {offset} should have {expected_bytes} bytes, the file has {found_bytes}")]
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
            DecodeProblem::TooLong { .. } => {
                Some(format!("cut it, for instance with `ffmpeg -i {name} -f segment -segment_time 600 part_%04d.wav`"))
            }
            _ => Some("restore the file from its source, or remove it from the data set".into()),
        }
    }
}

/// Reads the header, and checks that the audio it announces is there.
///
/// # Errors
/// [`DecodeError`] for files that [`decode`] would refuse without having looked at the samples.
pub fn probe(path: &Path) -> Result<WavInfo, DecodeError> {
    open(path).map(|wav| wav.info).map_err(|problem| DecodeError { path: path.to_owned(), problem })
}

/// Reads a whole recording, as the mean of its channels.
///
/// # Errors
/// [`DecodeError`] where the file cannot be read, is no supported WAV file, ends early, is empty or longer than
/// [`MAX_FRAMES`], or holds floats that are not finite or larger than [`MAX_AMPLITUDE`].
pub fn decode(path: &Path) -> Result<Recording, DecodeError> {
    let decoded = open(path).and_then(|wav| {
        let sample_rate = wav.info.sample_rate;
        let samples = match wav.spec.sample_format {
            SampleFormat::Int => {
                let scale = 1.0 / (1u64 << (wav.spec.bits_per_sample - 1)) as f32;
                mix::<i32>(wav, |sample| sample as f32 * scale)
            }
            SampleFormat::Float => mix::<f32>(wav, |sample| sample),
        }?;
        Ok(Recording { samples, sample_rate })
    });
    decoded.map_err(|problem| DecodeError { path: path.to_owned(), problem })
}

/// An open file whose header has been checked.
struct OpenWav {
    info: WavInfo,
    spec: WavSpec,
    data_offset: u64,
    reader: WavReader<io::Chain<Cursor<Vec<u8>>, BufReader<io::Take<File>>>>,
}

fn open(path: &Path) -> Result<OpenWav, DecodeProblem> {
    // A pipe or a device would block, or never end.
    let metadata = fs_err::metadata(path).map_err(io_problem)?;
    if !metadata.is_file() {
        return Err(DecodeProblem::Io("not a regular file".into()));
    }
    let mut file = File::open(path).map_err(io_problem)?;
    let chunks = locate_chunks(&mut file, metadata.len())?;
    let container_bits = check_format(&chunks)?;
    if chunks.data_bytes > metadata.len() - chunks.data_offset {
        return Err(DecodeProblem::Truncated {
            offset: chunks.data_offset,
            expected_bytes: chunks.data_bytes,
            found_bytes: metadata.len() - chunks.data_offset,
        });
    }

    let header = Cursor::new(canonical_header(&chunks));
    let audio = BufReader::with_capacity(1 << 16, file.take(chunks.data_bytes));
    let reader = WavReader::new(header.chain(audio)).map_err(|e| hound_problem(e, chunks.fmt_offset))?;
    let spec = reader.spec();
    let bits = spec.bits_per_sample;
    match (spec.sample_format, container_bits, bits) {
        (SampleFormat::Int, 8, 8) | (SampleFormat::Int, 16, 16) => {}
        (SampleFormat::Int, 24, 24) | (SampleFormat::Int, 32, 24) | (SampleFormat::Int, 32, 32) => {}
        (SampleFormat::Float, 32, 32) => {}
        (format, container, bits) => {
            let kind = if format == SampleFormat::Int { "integer" } else { "float" };
            return Err(DecodeProblem::Unsupported(format!("{kind} samples of {bits} bits in {container}")));
        }
    }
    let info = WavInfo {
        sample_rate: spec.sample_rate,
        channels: spec.channels,
        num_frames: u64::from(reader.duration()),
    };
    if !(MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&info.sample_rate) {
        return Err(DecodeProblem::SampleRate(info.sample_rate));
    }
    if info.num_frames == 0 {
        return Err(DecodeProblem::Empty);
    }
    if info.num_frames > MAX_FRAMES {
        return Err(DecodeProblem::TooLong { num_frames: info.num_frames, sample_rate: info.sample_rate });
    }
    Ok(OpenWav { info, spec, data_offset: chunks.data_offset, reader })
}

/// What was found by walking the chunks; the file then stands at `data_offset`.
struct Chunks {
    fmt: Vec<u8>,
    fmt_offset: u64,
    data_offset: u64,
    data_bytes: u64,
}

fn locate_chunks(file: &mut File, file_bytes: u64) -> Result<Chunks, DecodeProblem> {
    let mut riff = [0; 12];
    if file_bytes < riff.len() as u64 {
        return Err(DecodeProblem::NotWav(format!("a file of {file_bytes} bytes")));
    }
    file.read_exact(&mut riff).map_err(io_problem)?;
    let [tag @ .., _, _, _, _, w, a, v, e] = riff;
    if &tag != b"RIFF" || &[w, a, v, e] != b"WAVE" {
        return Err(DecodeProblem::NotWav(format!("`{}`", tag.escape_ascii())));
    }

    let mut fmt = None;
    let mut offset = riff.len() as u64;
    for _ in 0..MAX_CHUNKS {
        if file_bytes - offset < 8 {
            let what = "the file ends before its `data` chunk".into();
            return Err(DecodeProblem::Malformed { offset, what });
        }
        file.seek(SeekFrom::Start(offset)).map_err(io_problem)?;
        let (mut id, mut length) = ([0; 4], [0; 4]);
        file.read_exact(&mut id).map_err(io_problem)?;
        file.read_exact(&mut length).map_err(io_problem)?;
        let length = u64::from(u32::from_le_bytes(length));
        let body = offset + 8;
        match &id {
            b"fmt " => {
                let mut bytes = vec![0; MAX_FMT_BYTES.min(length.min(file_bytes - body) as usize)];
                file.read_exact(&mut bytes).map_err(io_problem)?;
                fmt = Some((bytes, body));
            }
            b"data" => {
                let Some((fmt, fmt_offset)) = fmt else {
                    let what = "the `data` chunk comes before the `fmt ` chunk".into();
                    return Err(DecodeProblem::Malformed { offset, what });
                };
                return Ok(Chunks { fmt, fmt_offset, data_offset: body, data_bytes: length });
            }
            _ => {}
        }
        // Chunks begin at even offsets.
        offset = (body + length + length % 2).min(file_bytes);
    }
    Err(DecodeProblem::Malformed { offset, what: format!("no `data` among the first {MAX_CHUNKS} chunks") })
}

/// Checks the fields that hound divides by or does not look at; returns the bits that one sample occupies.
fn check_format(chunks: &Chunks) -> Result<u32, DecodeProblem> {
    let malformed = |what: String| DecodeProblem::Malformed { offset: chunks.fmt_offset, what };
    let [tag_low, tag_high, channels_low, channels_high, _, _, _, _, _, _, _, _, align_low, align_high, _, _, ..] =
        chunks.fmt[..]
    else {
        return Err(malformed(format!("a `fmt ` chunk of {} bytes: expected at least 16", chunks.fmt.len())));
    };
    let channels = u16::from_le_bytes([channels_low, channels_high]);
    let frame_bytes = u16::from_le_bytes([align_low, align_high]);
    match u16::from_le_bytes([tag_low, tag_high]) {
        1 | 3 | WAVE_FORMAT_EXTENSIBLE => {}
        tag => return Err(DecodeProblem::Unsupported(format!("WAV format 0x{tag:04x}"))),
    }
    if channels == 0 || frame_bytes == 0 || !frame_bytes.is_multiple_of(channels) {
        return Err(malformed(format!("{channels} channels in frames of {frame_bytes} bytes")));
    }
    if !chunks.data_bytes.is_multiple_of(u64::from(frame_bytes)) {
        let offset = chunks.data_offset;
        let what = format!("{} bytes of audio are no multiple of the frame's {frame_bytes}", chunks.data_bytes);
        return Err(DecodeProblem::Malformed { offset, what });
    }
    Ok(u32::from(frame_bytes / channels) * 8)
}

/// The header without what hound need not see: for plain formats only the first 16 bytes of `fmt ` mean anything.
fn canonical_header(chunks: &Chunks) -> Vec<u8> {
    let extensible = chunks.fmt.starts_with(&WAVE_FORMAT_EXTENSIBLE.to_le_bytes());
    let fmt_bytes = if extensible { chunks.fmt.len() } else { chunks.fmt.len().min(16) };
    let mut header = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
    header.extend((fmt_bytes as u32).to_le_bytes());
    header.extend(chunks.fmt.iter().take(fmt_bytes));
    header.extend(b"data");
    header.extend((chunks.data_bytes as u32).to_le_bytes());
    header
}

/// Averages the channels of each frame.
fn mix<S: hound::Sample>(mut wav: OpenWav, to_f32: impl Fn(S) -> f32) -> Result<Vec<f32>, DecodeProblem> {
    let channels = wav.info.channels;
    let mean = 1.0 / f32::from(channels);
    // Not more than the file has bytes: each frame takes at least one, and they have been found to be there.
    let mut mono = Vec::with_capacity(wav.info.num_frames as usize);
    let mut samples = wav.reader.samples::<S>();
    for frame in 0..wav.info.num_frames {
        let mut sum = 0.0;
        for channel in 0..channels {
            let value = match samples.next() {
                Some(Ok(sample)) => to_f32(sample),
                Some(Err(error)) => return Err(hound_problem(error, wav.data_offset)),
                None => return Err(DecodeProblem::Io(format!("the audio ended in frame {frame}"))),
            };
            // Also true of what is not a number.
            if !(value.abs() <= MAX_AMPLITUDE) {
                return Err(DecodeProblem::NotASample { frame, channel, value });
            }
            sum += value;
        }
        mono.push(sum * mean);
    }
    Ok(mono)
}

fn io_problem(error: io::Error) -> DecodeProblem {
    // fs-err names the file, as the error around this one does.
    let cause = error.get_ref().and_then(|e| e.source()).map(ToString::to_string);
    DecodeProblem::Io(cause.unwrap_or_else(|| error.to_string()))
}

fn hound_problem(error: hound::Error, offset: u64) -> DecodeProblem {
    match error {
        hound::Error::IoError(error) => io_problem(error),
        hound::Error::Unsupported | hound::Error::TooWide | hound::Error::InvalidSampleFormat => {
            DecodeProblem::Unsupported("this kind of sample".into())
        }
        error => DecodeProblem::Malformed { offset, what: error.to_string() },
    }
}
