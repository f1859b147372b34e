//! Samples of any encoding to floats, and what is heard of their channels.

use dtrain_configs::schema::Channel;

use super::format::Encoding;
use super::{DecodeProblem, MAX_AMPLITUDE, OpenWav};

/// All samples, one for each frame.
pub(super) fn read_all(wav: OpenWav<'_>) -> Result<Vec<f32>, DecodeProblem> {
    // Not more than the file has bytes: each frame takes at least one, and they have been found to be there.
    let mut mono = Vec::with_capacity(wav.info.num_frames as usize);
    each_mix(wav, &mut mono, |_| true)?;
    Ok(mono)
}

/// True where all that is heard is alike: silence, or a constant. Reads up to the first difference.
pub(super) fn is_constant(wav: OpenWav<'_>) -> Result<bool, DecodeProblem> {
    let mut first = None;
    let mut alike = true;
    each_mix(wav, &mut Vec::new(), |mono| {
        let value = *first.get_or_insert(mono.first().copied().unwrap_or_default());
        alike = mono.iter().all(|&sample| sample == value);
        mono.clear();
        alike
    })?;
    Ok(alike)
}

/// Appends what is heard to `mono`, a block at a time, until `go_on` returns false.
fn each_mix(
    wav: OpenWav<'_>,
    mono: &mut Vec<f32>,
    mut go_on: impl FnMut(&mut Vec<f32>) -> bool,
) -> Result<(), DecodeProblem> {
    let OpenWav { info, channel, format, data_offset, data_bytes, first_frame, source } = wav;
    let channels = usize::from(info.channels);
    let heard = (channels, channel);
    let mut num_frames = first_frame;
    source.each_block(data_offset, data_bytes, format.frame_bytes.into(), |block| {
        let before = mono.len();
        match format.encoding {
            Encoding::Int8 => mix(block, heard, mono, |[a]: [u8; 1]| (f32::from(a) - 128.0) / 128.0),
            Encoding::Int16 => {
                mix(block, heard, mono, |bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0);
            }
            Encoding::Int24 => {
                mix(block, heard, mono, |[a, b, c]: [u8; 3]| from_i32(i32::from_le_bytes([0, a, b, c])));
            }
            Encoding::Int24LowIn32 => {
                mix(block, heard, mono, |[a, b, c, _]: [u8; 4]| from_i32(i32::from_le_bytes([0, a, b, c])));
            }
            Encoding::Int32 => mix(block, heard, mono, |bytes| from_i32(i32::from_le_bytes(bytes))),
            Encoding::Float32 => {
                check(block, channels, num_frames, f32::from_le_bytes)?;
                mix(block, heard, mono, f32::from_le_bytes);
            }
            Encoding::Float64 => {
                check(block, channels, num_frames, from_f64)?;
                mix(block, heard, mono, from_f64);
            }
        }
        num_frames += (mono.len() - before) as u64;
        Ok(go_on(mono))
    })
}

/// One sample for each frame, of samples of `BYTES` bytes.
fn mix<const BYTES: usize>(
    block: &[u8],
    (channels, channel): (usize, Channel),
    mono: &mut Vec<f32>,
    to_f32: impl Fn([u8; BYTES]) -> f32,
) {
    let (samples, _) = block.as_chunks::<BYTES>();
    super::channels::mix(samples, channels, channel, mono, |&sample| to_f32(sample));
}

/// # Errors
/// The first float that is no sample.
fn check<const BYTES: usize>(
    block: &[u8],
    channels: usize,
    first_frame: u64,
    to_f32: impl Fn([u8; BYTES]) -> f32,
) -> Result<(), DecodeProblem> {
    let (samples, _) = block.as_chunks::<BYTES>();
    let is_sample = |value: f32| value.abs() <= MAX_AMPLITUDE;
    let bad = samples.iter().map(|&sample| to_f32(sample)).enumerate().find(|&(_, value)| !is_sample(value));
    match bad {
        None => Ok(()),
        Some((at, value)) => Err(DecodeProblem::NotASample {
            frame: first_frame + (at / channels) as u64,
            channel: (at % channels) as u16,
            value,
        }),
    }
}

/// Full scale to 1. Rounds what a float cannot hold.
fn from_i32(sample: i32) -> f32 {
    sample as f32 / 2_147_483_648.0
}

/// Rounds to what a float holds.
fn from_f64(bytes: [u8; 8]) -> f32 {
    f64::from_le_bytes(bytes) as f32
}
