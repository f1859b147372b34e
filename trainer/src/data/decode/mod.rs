//! WAV files to mono samples. Files come from anywhere: nothing in one may cause a panic, or an allocation that its
//! size does not justify.
//!
//! Integer samples of 8, 16, 24 and 32 bits and 32-bit floats, any number of channels. hound interprets the format.
//! The chunks are located here, since hound neither skips the pad byte after a chunk of odd length nor accepts a
//! `fmt ` chunk with unusual extras, both of which occur in the wild; and the samples are read here, since its
//! iterator takes them byte by byte, which is twenty times slower.

mod error;
mod riff;

use std::io::{self, Cursor, Read};
use std::path::Path;

use fs_err::File;
use hound::{SampleFormat, WavReader};

pub use self::error::{DecodeError, DecodeProblem};
use self::riff::Chunks;

/// Lowest sample rate that is taken for real, in Hz; bounds what resampling up can allocate.
pub const MIN_SAMPLE_RATE: u32 = 1_000;
/// Highest sample rate that is taken for real, in Hz.
pub const MAX_SAMPLE_RATE: u32 = 768_000;
/// Longest recording in frames, before and after resampling: 2 GiB of mono samples.
pub const MAX_FRAMES: u64 = 1 << 29;
/// Largest magnitude of a float sample (nominal: 1). Powers of what gain and noise make of it still fit a float.
pub const MAX_AMPLITUDE: f32 = 2_147_483_648.0;

/// What is read at a time.
const BLOCK_BYTES: usize = 1 << 16;

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
        let samples = match wav.encoding {
            Encoding::Int8 => mix(wav, |[a]: [u8; 1]| (f32::from(a) - 128.0) / 128.0),
            Encoding::Int16 => mix(wav, |bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0),
            Encoding::Int24 => mix(wav, |[a, b, c]: [u8; 3]| from_i32(i32::from_le_bytes([0, a, b, c]))),
            Encoding::Int24In32 => {
                mix(wav, |[a, b, c, _]: [u8; 4]| from_i32(i32::from_le_bytes([0, a, b, c])))
            }
            Encoding::Int32 => mix(wav, |bytes| from_i32(i32::from_le_bytes(bytes))),
            Encoding::Float32 => mix(wav, f32::from_le_bytes),
        }?;
        Ok(Recording { samples, sample_rate })
    });
    decoded.map_err(|problem| DecodeError { path: path.to_owned(), problem })
}

/// An open file whose header has been checked; it stands at the first sample.
struct OpenWav {
    info: WavInfo,
    encoding: Encoding,
    data_offset: u64,
    data_bytes: u64,
    file: File,
}

/// How a sample is written; little-endian, 8 bits without sign.
#[derive(Clone, Copy)]
enum Encoding {
    Int8,
    Int16,
    Int24,
    Int24In32,
    Int32,
    Float32,
}

fn open(path: &Path) -> Result<OpenWav, DecodeProblem> {
    // A pipe or a device would block, or never end.
    let metadata = fs_err::metadata(path)?;
    if !metadata.is_file() {
        return Err(DecodeProblem::Io("not a regular file".into()));
    }
    let mut file = File::open(path)?;
    let chunks = Chunks::locate(&mut file, metadata.len())?;
    let (offset, expected_bytes) = (chunks.data_offset, chunks.data_bytes);
    let found_bytes = metadata.len() - offset;
    if expected_bytes > found_bytes {
        return Err(DecodeProblem::Truncated { offset, expected_bytes, found_bytes });
    }

    let header = WavReader::new(Cursor::new(chunks.canonical_header()));
    let header = header.map_err(|e| hound_problem(e, chunks.fmt_offset))?;
    let spec = header.spec();
    let encoding = match (spec.sample_format, chunks.container_bits, spec.bits_per_sample) {
        (SampleFormat::Int, 8, 8) => Encoding::Int8,
        (SampleFormat::Int, 16, 16) => Encoding::Int16,
        (SampleFormat::Int, 24, 24) => Encoding::Int24,
        (SampleFormat::Int, 32, 24) => Encoding::Int24In32,
        (SampleFormat::Int, 32, 32) => Encoding::Int32,
        (SampleFormat::Float, 32, 32) => Encoding::Float32,
        (format, container, bits) => {
            let kind = if format == SampleFormat::Int { "integers" } else { "floats" };
            return Err(DecodeProblem::Unsupported(format!("{kind} of {bits} bits in {container}")));
        }
    };
    let info = WavInfo {
        sample_rate: spec.sample_rate,
        channels: spec.channels,
        num_frames: u64::from(header.duration()),
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
    Ok(OpenWav { info, encoding, data_offset: offset, data_bytes: expected_bytes, file })
}

/// Averages the channels of each frame, of samples of `BYTES` bytes.
fn mix<const BYTES: usize>(
    mut wav: OpenWav,
    to_f32: impl Fn([u8; BYTES]) -> f32,
) -> Result<Vec<f32>, DecodeProblem> {
    let channels = usize::from(wav.info.channels);
    let mean = 1.0 / channels as f32;
    let frame_bytes = channels * BYTES;
    // Not more than the file has bytes: each frame takes at least one, and they have been found to be there.
    let mut mono = Vec::with_capacity(wav.info.num_frames as usize);
    let mut block = vec![0; (BLOCK_BYTES / frame_bytes).max(1) * frame_bytes];
    let mut bytes_left = wav.data_bytes;
    while bytes_left > 0 {
        block.truncate(usize::try_from(bytes_left).unwrap_or(usize::MAX));
        wav.file.read_exact(&mut block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => DecodeProblem::Truncated {
                offset: wav.data_offset,
                expected_bytes: wav.data_bytes,
                found_bytes: wav.data_bytes - bytes_left,
            },
            _ => error.into(),
        })?;
        bytes_left -= block.len() as u64;
        let (samples, _) = block.as_chunks::<BYTES>();
        for frame in samples.chunks_exact(channels) {
            let mut sum = 0.0;
            for (channel, &bytes) in (0..).zip(frame) {
                let value = to_f32(bytes);
                if value.is_nan() || value.abs() > MAX_AMPLITUDE {
                    return Err(DecodeProblem::NotASample { frame: mono.len() as u64, channel, value });
                }
                sum += value;
            }
            mono.push(sum * mean);
        }
    }
    Ok(mono)
}

/// Full scale to 1. Rounds what a float cannot hold.
fn from_i32(sample: i32) -> f32 {
    sample as f32 / 2_147_483_648.0
}

fn hound_problem(error: hound::Error, offset: u64) -> DecodeProblem {
    match error {
        hound::Error::IoError(error) => error.into(),
        hound::Error::Unsupported => DecodeProblem::Unsupported("this kind of sample".into()),
        error => DecodeProblem::Malformed { offset, what: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use hound::{Sample, WavSpec, WavWriter};
    use proptest::prelude::*;

    use super::*;

    fn spec(channels: u16, bits_per_sample: u16, sample_format: SampleFormat) -> WavSpec {
        WavSpec { channels, sample_rate: 16_000, bits_per_sample, sample_format }
    }

    fn wav_bytes<S: Sample + Copy>(spec: WavSpec, samples: &[S]) -> Vec<u8> {
        let mut cursor = Cursor::new(Vec::new());
        let mut writer = WavWriter::new(&mut cursor, spec).unwrap();
        for &sample in samples {
            writer.write_sample(sample).unwrap();
        }
        writer.finalize().unwrap();
        cursor.into_inner()
    }

    fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let pad = body.len() % 2;
        [&id[..], &(body.len() as u32).to_le_bytes(), body, &[0][..pad]].concat()
    }

    fn fmt(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let align = channels * bits.div_ceil(8);
        let mut body = [tag, channels].map(u16::to_le_bytes).concat();
        body.extend(rate.to_le_bytes());
        body.extend(rate.wrapping_mul(u32::from(align)).to_le_bytes());
        body.extend([align, bits].map(u16::to_le_bytes).concat());
        body
    }

    fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = chunks.concat();
        [b"RIFF", &(body.len() as u32 + 4).to_le_bytes()[..], b"WAVE", &body].concat()
    }

    fn decode_bytes(bytes: &[u8]) -> Result<Recording, DecodeProblem> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), bytes).unwrap();
        let decoded = decode(file.path());
        match (probe(file.path()), &decoded) {
            (Ok(info), Ok(recording)) => {
                assert_eq!(info.num_frames, recording.samples.len() as u64);
                assert_eq!(info.sample_rate, recording.sample_rate);
            }
            (Ok(_), Err(error)) => assert!(matches!(error.problem, DecodeProblem::NotASample { .. })),
            (Err(probed), Err(error)) => assert_eq!(&probed, error),
            (Err(probed), Ok(_)) => panic!("probe alone refuses: {probed}"),
        }
        decoded.map_err(|error| {
            assert_eq!(error.path, file.path());
            error.problem
        })
    }

    #[test]
    fn every_depth_gives_the_same_signal() {
        // Multiples of 1/128, which every depth holds exactly.
        let steps: Vec<i32> = (-128..128).collect();
        let expected: Vec<f32> = steps.iter().map(|&s| s as f32 / 128.0).collect();
        for (bits, shift) in [(8, 0), (16, 8), (24, 16), (32, 24)] {
            let samples: Vec<i32> = steps.iter().map(|s| s << shift).collect();
            let recording = decode_bytes(&wav_bytes(spec(1, bits, SampleFormat::Int), &samples)).unwrap();
            assert_eq!(
                recording,
                Recording { samples: expected.clone(), sample_rate: 16_000 },
                "{bits} bits"
            );
        }
        let floats = decode_bytes(&wav_bytes(spec(1, 32, SampleFormat::Float), &expected)).unwrap();
        assert_eq!(floats.samples, expected);
        // 24 bits in containers of 32, as `arecord -f S24_LE` writes them: the fourth byte means nothing.
        let mut format = fmt(1, 1, 16_000, 24);
        format[12] = 4;
        format[8..12].copy_from_slice(&64_000u32.to_le_bytes());
        let data: Vec<u8> = steps.iter().flat_map(|s| [0, 0, *s as u8, 0xaa]).collect();
        assert_eq!(
            decode_bytes(&riff(&[chunk(b"fmt ", &format), chunk(b"data", &data)])).unwrap().samples,
            expected
        );
    }

    #[test]
    fn channels_are_averaged_across_read_blocks() {
        for channels in [2u16, 3, 7, 1000] {
            let num_frames = 90_000 / usize::from(channels);
            let samples: Vec<i16> =
                (0..num_frames * usize::from(channels)).map(|i| (i * i % 2001) as i16 - 1000).collect();
            let decoded = decode_bytes(&wav_bytes(spec(channels, 16, SampleFormat::Int), &samples)).unwrap();
            assert_eq!(decoded.samples.len(), num_frames);
            for (mono, frame) in decoded.samples.iter().zip(samples.chunks(usize::from(channels))) {
                let sum: f64 = frame.iter().map(|&s| f64::from(s)).sum();
                assert!((f64::from(*mono) - sum / f64::from(channels) / 32_768.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn files_as_they_occur_in_the_wild_are_read() {
        let data = chunk(b"data", &[0, 64, 0, 192]);
        let long_fmt = |bits, extra: usize| {
            let mut format = fmt(1, 1, 8000, bits);
            format.resize(16 + extra, 0);
            chunk(b"fmt ", &format)
        };
        let expected = vec![0.5, -0.5];
        for chunks in [
            vec![long_fmt(16, 2), chunk(b"LIST", b"odd"), data.clone()],
            vec![long_fmt(16, 10), chunk(b"fact", &[0; 12]), data.clone(), chunk(b"LIST", b"trailing")],
            vec![chunk(b"junk", &[7; 27]), long_fmt(16, 0), data.clone()],
        ] {
            assert_eq!(decode_bytes(&riff(&chunks)).unwrap().samples, expected);
        }
        let wide = chunk(b"data", &[0, 0, 0, 64, 0, 0, 0, 192]);
        assert_eq!(decode_bytes(&riff(&[long_fmt(32, 2), wide])).unwrap().samples, expected);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let format = || chunk(b"fmt ", &fmt(1, 1, 8000, 16));
        let data = |bytes: &[u8]| chunk(b"data", bytes);
        let problem = |bytes: &[u8]| decode_bytes(bytes).unwrap_err().to_string();

        assert_eq!(problem(b""), "not a WAV file: expected `RIFF....WAVE`, found a file of 0 bytes");
        assert_eq!(problem(b"OggS............"), "not a WAV file: expected `RIFF....WAVE`, found `OggS`");
        assert_eq!(problem(&riff(&[format(), data(&[])])), "the recording has no samples");
        assert_eq!(
            problem(&riff(&[format()])),
            "malformed at byte 36: the file ends before its `data` chunk"
        );
        assert_eq!(
            problem(&riff(&[data(&[0, 0]), format()])),
            "malformed at byte 12: the `data` chunk comes before the `fmt ` chunk"
        );
        assert_eq!(
            problem(&riff(&[format(), data(&[1, 2, 3])])),
            "malformed at byte 44: 3 bytes of audio are no multiple of the frame's 2"
        );
        assert_eq!(
            problem(&riff(&[chunk(b"fmt ", &fmt(1, 1, 8000, 16)[..14]), data(&[0, 0])])),
            "malformed at byte 20: a `fmt ` chunk of 14 bytes: expected at least 16"
        );
        assert_eq!(
            problem(&riff(&[chunk(b"fmt ", &fmt(1, 0, 8000, 16)), data(&[0, 0])])),
            "malformed at byte 20: 0 channels in frames of 0 bytes"
        );
        assert!(
            problem(&riff(&[chunk(b"fmt ", &fmt(0x55, 1, 8000, 16)), data(&[0, 0])]))
                .starts_with("WAV format 0x0055 is not")
        );
        assert!(
            problem(&riff(&[chunk(b"fmt ", &fmt(3, 1, 8000, 64)), data(&[0; 8])]))
                .contains("bits per sample is not 32")
        );
        assert!(
            problem(&riff(&[chunk(b"fmt ", &fmt(1, 1, 999, 16)), data(&[0, 0])]))
                .starts_with("a sample rate of 999 Hz")
        );
        assert!(
            problem(&riff(&vec![chunk(b"LIST", b""); 2000]))
                .contains("no `data` among the first 1024 chunks")
        );

        let whole = wav_bytes(spec(1, 16, SampleFormat::Int), &[1i16; 100]);
        assert_eq!(
            decode_bytes(&whole[..whole.len() - 60]).unwrap_err(),
            DecodeProblem::Truncated { offset: 44, expected_bytes: 200, found_bytes: 140 }
        );
        let folder = tempfile::tempdir().unwrap();
        assert!(
            probe(folder.path()).unwrap_err().to_string().ends_with("cannot be read: not a regular file")
        );
        let missing = probe(&folder.path().join("none.wav")).unwrap_err();
        assert!(missing.to_string().ends_with("cannot be read: it does not exist"), "{missing}");
    }

    #[test]
    fn floats_that_are_no_samples_are_located() {
        for (value, bad) in
            [(f32::NAN, true), (f32::NEG_INFINITY, true), (3e9, true), (-2e9, false), (0.0, false)]
        {
            let mut samples = vec![0.25f32; 60_000];
            samples[50_001] = value;
            match decode_bytes(&wav_bytes(spec(2, 32, SampleFormat::Float), &samples)) {
                Err(DecodeProblem::NotASample { frame: 25_000, channel: 1, .. }) => assert!(bad),
                other => assert!(!bad && other.is_ok(), "{value}: {other:?}"),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn mutated_files_give_samples_or_an_error(
            depth in 0usize..4,
            edits in prop::collection::vec((0usize..80, any::<u8>()), 0..6),
            cut in prop::option::of(0usize..300),
        ) {
            let mut bytes = match depth {
                0 => wav_bytes(spec(2, 8, SampleFormat::Int), &[5i8; 40]),
                1 => wav_bytes(spec(1, 16, SampleFormat::Int), &[-300i16; 40]),
                // More than 16 bits, and floats of more channels, are written as WAVE_FORMAT_EXTENSIBLE.
                2 => wav_bytes(spec(3, 24, SampleFormat::Int), &[70_000i32; 39]),
                _ => wav_bytes(spec(2, 32, SampleFormat::Float), &[0.5f32; 40]),
            };
            for (at, byte) in edits {
                if let Some(slot) = bytes.get_mut(at) {
                    *slot = byte;
                }
            }
            bytes.truncate(cut.unwrap_or(usize::MAX));
            if let Ok(recording) = decode_bytes(&bytes) {
                prop_assert!(recording.samples.len() <= bytes.len());
                prop_assert!(recording.samples.iter().all(|x| x.is_finite()));
            }
        }

        #[test]
        fn noise_after_a_good_beginning_gives_samples_or_an_error(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_bytes(&tail);
            let _ = decode_bytes(&[&b"RIFF\0\0\0\0WAVE"[..], &tail].concat());
            let _ = decode_bytes(&[&b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0"[..], &tail].concat());
        }
    }
}
