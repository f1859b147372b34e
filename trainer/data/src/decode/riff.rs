//! The chunks of a WAV file: where its format and its audio are. docs/formats.md says which field decides.

use super::error::DecodeProblem;
use super::format::{Format, MAX_FMT_BYTES, is_adpcm};
use super::note::RecordingNote;
use super::source::Source;

/// Chunks before `data` that are looked at.
const MAX_CHUNKS: usize = 1024;
/// Identifiers that begin a chunk for sure, where bytes of audio or a missing pad byte leave a doubt.
const KNOWN_CHUNKS: [&[u8; 4]; 24] = [
    b"fmt ", b"data", b"LIST", b"fact", b"cue ", b"bext", b"JUNK", b"junk", b"PAD ", b"FLLR", b"id3 ",
    b"ID3 ", b"smpl", b"inst", b"plst", b"PEAK", b"iXML", b"axml", b"chna", b"ds64", b"minf", b"elm1",
    b"_PMX", b"cart",
];

/// What was found by walking the chunks of a file.
pub(super) struct Chunks {
    pub format: Format,
    /// Where the audio begins.
    pub data_offset: u64,
    /// Length of the audio, whole frames that the file has.
    pub data_bytes: u64,
    /// In ascending order.
    pub notes: Vec<RecordingNote>,
}

/// What audio a file was found to have.
pub(super) enum Audio {
    /// Samples, one after the other.
    Samples(Chunks),
    /// Microsoft's or IMA's packets of differences.
    Adpcm,
}

impl Chunks {
    /// Walks the chunks of a file up to its audio.
    pub fn locate(source: &Source<'_>) -> Result<Audio, DecodeProblem> {
        let long = match source.first_bytes() {
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => false,
            [b'R', b'F', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..]
            | [b'B', b'W', b'6', b'4', _, _, _, _, b'W', b'A', b'V', b'E', ..] => true,
            other => return Err(DecodeProblem::not_sound(other)),
        };
        let (mut fmt, mut long_data_bytes, mut has_empty_data) = (None, None, false);
        let mut offset = 12;
        for _ in 0..MAX_CHUNKS {
            let Some([a, b, c, d, length @ ..]) = source.array::<8>(offset)? else {
                if has_empty_data {
                    return Err(DecodeProblem::Empty);
                }
                let what = "the file ends before its `data` chunk".into();
                return Err(DecodeProblem::Malformed { offset, what });
            };
            let (length, body) = (u32::from_le_bytes(length), offset + 8);
            match &[a, b, c, d] {
                b"fmt " => {
                    let mut bytes = [0; MAX_FMT_BYTES];
                    let len = MAX_FMT_BYTES.min(usize::try_from(length).unwrap_or(usize::MAX));
                    let found = source.fill(body, bytes.get_mut(..len).unwrap_or_default())?;
                    fmt = Some((bytes, found, body));
                }
                b"LIST" if source.array::<4>(body)? == Some(*b"wavl") => {
                    let what = "audio in pieces (a `LIST` of type `wavl`)";
                    return Err(DecodeProblem::Unsupported(what.into()));
                }
                b"ds64" if long => {
                    long_data_bytes = source.array::<8>(body + 8)?.map(u64::from_le_bytes);
                }
                b"data" => {
                    let Some((bytes, len, at)) = &fmt else {
                        let what = "the `data` chunk comes before the `fmt ` chunk".into();
                        return Err(DecodeProblem::Malformed { offset, what });
                    };
                    let fmt = bytes.get(..*len).unwrap_or_default();
                    if is_adpcm(fmt) {
                        return Ok(Audio::Adpcm);
                    }
                    let format = Format::parse(fmt, *at)?;
                    let stated = match (long && length == u32::MAX, long_data_bytes) {
                        (false, _) => Stated::of(length),
                        (true, Some(0 | u64::MAX)) => Stated::Unknown(u64::MAX),
                        (true, Some(bytes)) => Stated::Bytes(bytes),
                        (true, None) => {
                            let what = "the length is in a `ds64` chunk, which is missing".into();
                            return Err(DecodeProblem::Malformed { offset, what });
                        }
                    };
                    // An empty chunk may be followed by others, among them one with audio.
                    if length == 0 && (body == source.len() || is_known(source, body)?) {
                        has_empty_data = true;
                    } else {
                        return Self::with_audio(source, format, body, stated).map(Audio::Samples);
                    }
                }
                _ => {}
            }
            offset = next_chunk(source, body, length.into())?;
        }
        Err(DecodeProblem::Malformed {
            offset,
            what: format!("no `data` among the first {MAX_CHUNKS} chunks"),
        })
    }

    fn with_audio(
        source: &Source<'_>,
        format: Format,
        data_offset: u64,
        stated: Stated,
    ) -> Result<Self, DecodeProblem> {
        let found_bytes = source.len() - data_offset;
        let mut notes = Vec::new();
        let bytes = match stated {
            Stated::Bytes(expected_bytes) if expected_bytes > found_bytes => {
                return Err(DecodeProblem::Truncated { offset: data_offset, expected_bytes, found_bytes });
            }
            Stated::Unknown(bytes) if bytes == 0 || bytes > found_bytes => {
                notes.push(RecordingNote::LengthUnknown);
                found_bytes
            }
            Stated::Bytes(bytes) | Stated::Unknown(bytes) => bytes,
        };
        let data_bytes = bytes - bytes % u64::from(format.frame_bytes);
        if data_bytes != bytes {
            notes.push(RecordingNote::PartialFrame);
        }
        let after = next_chunk(source, data_offset, bytes)?;
        if source.array::<4>(after)? == Some(*b"data") {
            notes.push(RecordingNote::SecondDataChunk);
        }
        Ok(Self { format, data_offset, data_bytes, notes })
    }
}

/// What a header says about the length of the audio.
#[derive(Clone, Copy)]
enum Stated {
    Bytes(u64),
    /// A value that programs write before they know, as ffmpeg, sox and arecord do into a pipe. It counts where the file
    /// does hold that much.
    Unknown(u64),
}

impl Stated {
    fn of(length: u32) -> Self {
        match length {
            // Beside the largest numbers those less the size of a header.
            0 | 0x7fff_0000..=0x8000_0000 | 0xffff_ff00.. => Self::Unknown(length.into()),
            length => Self::Bytes(length.into()),
        }
    }
}

/// Where the chunk after one of `length` bytes begins. Chunks lie at even offsets, but some programs leave the pad byte
/// after an odd one out.
fn next_chunk(source: &Source<'_>, body: u64, length: u64) -> Result<u64, DecodeProblem> {
    let end = body.saturating_add(length).min(source.len());
    if length.is_multiple_of(2) {
        return Ok(end);
    }
    let padded = (end + 1).min(source.len());
    let unpadded = is_known(source, end)? && !is_known(source, padded)?;
    Ok(if unpadded { end } else { padded })
}

fn is_known(source: &Source<'_>, offset: u64) -> Result<bool, DecodeProblem> {
    Ok(source.array::<4>(offset)?.is_some_and(|id| KNOWN_CHUNKS.contains(&&id)))
}
