//! The chunks of a WAV file: where its format and its audio are.

use std::io::{Read, Seek, SeekFrom};

use fs_err::File;

use super::error::DecodeProblem;

/// Chunks before `data` that are looked at.
const MAX_CHUNKS: usize = 1024;
/// Bytes of a `fmt ` chunk that mean something.
const MAX_FMT_BYTES: usize = 40;
/// Its bytes that all formats have.
const PLAIN_FMT_BYTES: usize = 16;
const WAVE_FORMAT_EXTENSIBLE: u16 = 0xfffe;

/// What was found by walking the chunks of a file, which then stands at `data_offset`.
pub struct Chunks {
    /// Beginning of the `fmt ` chunk, at least 16 bytes.
    fmt: Vec<u8>,
    /// Where it is in the file.
    pub fmt_offset: u64,
    /// Where the audio begins.
    pub data_offset: u64,
    /// Length of the audio as the header has it; the file may be shorter.
    pub data_bytes: u64,
    /// Bits that one sample takes, padding included.
    pub container_bits: u32,
}

impl Chunks {
    /// Walks the chunks of a file of `file_bytes` bytes up to its audio.
    pub fn locate(file: &mut File, file_bytes: u64) -> Result<Self, DecodeProblem> {
        let mut riff = [0; 12];
        if file_bytes < riff.len() as u64 {
            return Err(DecodeProblem::NotWav(format!("a file of {file_bytes} bytes")));
        }
        file.read_exact(&mut riff)?;
        if !riff.starts_with(b"RIFF") || !riff.ends_with(b"WAVE") {
            let beginning: Vec<u8> = riff.into_iter().take(4).collect();
            return Err(DecodeProblem::NotWav(format!("`{}`", beginning.escape_ascii())));
        }

        let mut fmt = None;
        let mut offset = riff.len() as u64;
        for _ in 0..MAX_CHUNKS {
            if file_bytes - offset < 8 {
                let what = "the file ends before its `data` chunk".into();
                return Err(DecodeProblem::Malformed { offset, what });
            }
            file.seek(SeekFrom::Start(offset))?;
            let (mut id, mut length) = ([0; 4], [0; 4]);
            file.read_exact(&mut id)?;
            file.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            let body = offset + 8;
            match &id {
                b"fmt " => {
                    let num_bytes = length.min(file_bytes - body).min(MAX_FMT_BYTES as u64);
                    let mut bytes = vec![0; num_bytes as usize];
                    file.read_exact(&mut bytes)?;
                    fmt = Some((bytes, body));
                }
                b"data" => {
                    let Some((fmt, fmt_offset)) = fmt else {
                        let what = "the `data` chunk comes before the `fmt ` chunk".into();
                        return Err(DecodeProblem::Malformed { offset, what });
                    };
                    let container_bits = check_format(&fmt, fmt_offset, length, body)?;
                    return Ok(Self {
                        fmt,
                        fmt_offset,
                        data_offset: body,
                        data_bytes: length,
                        container_bits,
                    });
                }
                _ => {}
            }
            // Chunks begin at even offsets.
            offset = (body + length + length % 2).min(file_bytes);
        }
        Err(DecodeProblem::Malformed {
            offset,
            what: format!("no `data` among the first {MAX_CHUNKS} chunks"),
        })
    }

    /// A header of the same meaning with nothing that hound would stumble over: for plain formats only the first
    /// 16 bytes of `fmt ` mean anything.
    pub fn canonical_header(&self) -> Vec<u8> {
        let extensible = self.fmt.starts_with(&WAVE_FORMAT_EXTENSIBLE.to_le_bytes());
        let fmt_bytes = self.fmt.len().min(if extensible { MAX_FMT_BYTES } else { PLAIN_FMT_BYTES });
        let mut header = b"RIFF\0\0\0\0WAVEfmt ".to_vec();
        header.extend((fmt_bytes as u32).to_le_bytes());
        header.extend(self.fmt.iter().take(fmt_bytes));
        header.extend(b"data");
        header.extend((self.data_bytes as u32).to_le_bytes());
        header
    }
}

/// Checks the fields that hound divides by or does not look at; returns the bits that one sample takes.
fn check_format(
    fmt: &[u8],
    fmt_offset: u64,
    data_bytes: u64,
    data_offset: u64,
) -> Result<u32, DecodeProblem> {
    let malformed = |offset: u64, what: String| Err(DecodeProblem::Malformed { offset, what });
    if fmt.len() < PLAIN_FMT_BYTES {
        return malformed(fmt_offset, format!("a `fmt ` chunk of {} bytes: expected at least 16", fmt.len()));
    }
    let field =
        |at: usize| fmt.iter().skip(at).take(2).rev().fold(0, |value, &byte| value << 8 | u16::from(byte));
    let (tag, channels, frame_bytes) = (field(0), field(2), field(12));
    if ![1, 3, WAVE_FORMAT_EXTENSIBLE].contains(&tag) {
        return Err(DecodeProblem::Unsupported(format!("WAV format 0x{tag:04x}")));
    }
    if channels == 0 || frame_bytes == 0 || !frame_bytes.is_multiple_of(channels) {
        return malformed(fmt_offset, format!("{channels} channels in frames of {frame_bytes} bytes"));
    }
    if !data_bytes.is_multiple_of(u64::from(frame_bytes)) {
        let what = format!("{data_bytes} bytes of audio are no multiple of the frame's {frame_bytes}");
        return malformed(data_offset, what);
    }
    Ok(u32::from(frame_bytes / channels) * 8)
}
