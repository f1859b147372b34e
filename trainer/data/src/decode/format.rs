//! The `fmt ` chunk: how samples are written. docs/formats.md has the same as a table.

use super::error::DecodeProblem;

/// Bytes of a `fmt ` chunk that mean something.
pub(super) const MAX_FMT_BYTES: usize = 40;
/// Its bytes that all formats have.
const PLAIN_FMT_BYTES: usize = 16;

const WAVE_FORMAT_PCM: u16 = 1;
const WAVE_FORMAT_IEEE_FLOAT: u16 = 3;
const WAVE_FORMAT_EXTENSIBLE: u16 = 0xfffe;
const WAVE_FORMAT_MS_ADPCM: u16 = 2;
const WAVE_FORMAT_IMA_ADPCM: u16 = 0x11;
/// What follows the tag in the sub-format of an extensible header.
const GUID_TAIL: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
/// The same where channels are those of a sound field.
const AMBISONIC_TAIL: [u8; 14] = [0, 0, 0x21, 0x07, 0xd3, 0x11, 0x86, 0x44, 0xc8, 0xc1, 0xca, 0, 0, 0];

/// True for samples that lie in packets.
pub(super) fn is_adpcm(fmt: &[u8]) -> bool {
    let tag = fmt.first_chunk::<2>().map(|&tag| u16::from_le_bytes(tag));
    matches!(tag, Some(WAVE_FORMAT_MS_ADPCM | WAVE_FORMAT_IMA_ADPCM))
}

/// How a sample is written; little-endian, 8 bits without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Int8,
    Int16,
    Int24,
    /// The lower three bytes of four; the fourth means nothing.
    Int24LowIn32,
    Int32,
    Float32,
    Float64,
}

/// What a `fmt ` chunk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Format {
    pub sample_rate: u32,
    pub channels: u16,
    pub encoding: Encoding,
    /// Bytes of a sample of all channels.
    pub frame_bytes: u16,
}

impl Format {
    /// Reads the beginning of a `fmt ` chunk that lies at `offset`.
    ///
    /// # Errors
    /// Fields that contradict each other, and encodings that are not decoded, by name.
    pub fn parse(fmt: &[u8], offset: u64) -> Result<Self, DecodeProblem> {
        let malformed = |what: String| DecodeProblem::Malformed { offset, what };
        let short = |num_bytes: usize| {
            malformed(format!("a `fmt ` chunk of {} bytes: expected at least {num_bytes}", fmt.len()))
        };
        let field = |at: usize| match fmt.get(at..at + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]),
            _ => 0,
        };
        let mut tag = field(0);
        let extensible = tag == WAVE_FORMAT_EXTENSIBLE;
        if fmt.len() < PLAIN_FMT_BYTES {
            return Err(short(PLAIN_FMT_BYTES));
        }
        if extensible {
            tag = match fmt.get(26..MAX_FMT_BYTES) {
                None => return Err(short(MAX_FMT_BYTES)),
                Some(tail) if tail == GUID_TAIL => field(24),
                Some(tail) if tail == AMBISONIC_TAIL => {
                    let what = "Ambisonic B-format, whose channels cannot be averaged,";
                    return Err(DecodeProblem::Unsupported(what.into()));
                }
                Some(_) => {
                    return Err(DecodeProblem::Unsupported(
                        "an extensible WAV format of unknown GUID".into(),
                    ));
                }
            };
        }
        if ![WAVE_FORMAT_PCM, WAVE_FORMAT_IEEE_FLOAT].contains(&tag) {
            return Err(DecodeProblem::Unsupported(name_of_tag(tag)));
        }
        let (channels, align, bits) = (field(2), field(12), field(14));
        // Some writers leave the block align out.
        let frame_bytes = if align == 0 { channels.saturating_mul(bits.div_ceil(8)) } else { align };
        if channels == 0 || frame_bytes == 0 || !frame_bytes.is_multiple_of(channels) {
            return Err(malformed(format!("{channels} channels in frames of {frame_bytes} bytes")));
        }
        let container = u32::from(frame_bytes / channels) * 8;
        let bits = u32::from(bits);
        if bits == 0 || bits > container {
            return Err(malformed(format!("samples of {bits} bits in {container}")));
        }
        let valid = u32::from(field(18));
        if extensible && valid > bits {
            return Err(malformed(format!("{valid} valid bits in samples of {bits}")));
        }
        let encoding = match tag {
            WAVE_FORMAT_PCM => integers(bits, container, extensible),
            _ => floats(bits, container),
        }?;
        let sample_rate = u32::from(field(4)) | u32::from(field(6)) << 16;
        Ok(Self { sample_rate, channels, encoding, frame_bytes })
    }
}

/// Samples fill their container from the top, whatever their number of bits (Microsoft's "Multiple Channel Audio Data
/// and WAVE Files"), except those that `arecord -f S24_LE` writes: tag 1, 24 bits, four bytes, at the bottom.
fn integers(bits: u32, container: u32, extensible: bool) -> Result<Encoding, DecodeProblem> {
    match (container, bits) {
        (8, _) => Ok(Encoding::Int8),
        (16, 9..) => Ok(Encoding::Int16),
        (24, 17..) => Ok(Encoding::Int24),
        (32, 25..) => Ok(Encoding::Int32),
        (32, 24) if !extensible => Ok(Encoding::Int24LowIn32),
        (_, bits) => Err(DecodeProblem::Unsupported(format!("integers of {bits} bits in {container}"))),
    }
}

fn floats(bits: u32, container: u32) -> Result<Encoding, DecodeProblem> {
    match (container, bits) {
        (32, 32) => Ok(Encoding::Float32),
        (64, 64) => Ok(Encoding::Float64),
        _ => Err(DecodeProblem::Unsupported(format!("floats of {bits} bits in {container}"))),
    }
}

fn name_of_tag(tag: u16) -> String {
    let name = match tag {
        0x0006 => "A-law",
        0x0007 => "mu-law",
        0x0016 | 0x0040 | 0x0064 => "G.726 ADPCM",
        0x0031 => "GSM 6.10",
        0x0050 => "MPEG audio (MP2)",
        0x0055 => "MP3",
        0x00ff | 0x1600 | 0x1602 => "AAC",
        0x0160..=0x0163 => "Windows Media audio",
        0x2000 => "AC-3",
        0x674f..=0x6771 => "Ogg Vorbis",
        0xf1ac => "FLAC",
        _ => return format!("WAV format 0x{tag:04x}"),
    };
    format!("{name} (WAV format 0x{tag:04x})")
}
