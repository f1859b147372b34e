//! What is read, what is refused, and in which words.

use std::io::Cursor;

use hound::{Sample, SampleFormat, WavSpec, WavWriter};
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
        assert_eq!(recording, Recording { samples: expected.clone(), sample_rate: 16_000 }, "{bits} bits");
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

    assert_eq!(problem(b""), "not a recording that can be read: it is empty");
    assert_eq!(
        problem(b"404: Not Found"),
        "not a recording that can be read: it is text that begins with `404: Not Fou`"
    );
    assert_eq!(problem(b"\x01\x02"), "not a recording that can be read: it is a file of 2 bytes");
    assert_eq!(problem(&riff(&[format(), data(&[])])), "the recording has no samples");
    assert_eq!(problem(&riff(&[format()])), "malformed at byte 36: the file ends before its `data` chunk");
    assert_eq!(
        problem(&riff(&[data(&[0, 0]), format()])),
        "malformed at byte 12: the `data` chunk comes before the `fmt ` chunk"
    );
    assert_eq!(problem(&riff(&[format(), data(&[1])])), "the recording has no samples");
    assert_eq!(
        problem(&riff(&[chunk(b"fmt ", &fmt(1, 1, 8000, 16)[..14]), data(&[0, 0])])),
        "malformed at byte 20: a `fmt ` chunk of 14 bytes: expected at least 16"
    );
    assert_eq!(
        problem(&riff(&[chunk(b"fmt ", &fmt(1, 0, 8000, 16)), data(&[0, 0])])),
        "malformed at byte 20: 0 channels in frames of 0 bytes"
    );
    for (tag, bits, expected) in [
        (0x55, 16, "MP3 (WAV format 0x0055) is not supported"),
        (6, 8, "A-law (WAV format 0x0006) is not supported"),
        (7, 8, "mu-law (WAV format 0x0007) is not supported"),
        (0x1234, 8, "WAV format 0x1234 is not supported"),
        (3, 16, "floats of 16 bits in 16 is not supported"),
        (1, 64, "integers of 64 bits in 64 is not supported"),
    ] {
        let text = problem(&riff(&[chunk(b"fmt ", &fmt(tag, 1, 8000, bits)), data(&[0; 8])]));
        assert!(text.starts_with(expected), "{text}");
    }
    let mut no_bits = fmt(1, 1, 8000, 16);
    no_bits[14] = 0;
    assert_eq!(
        problem(&riff(&[chunk(b"fmt ", &no_bits), data(&[0, 0])])),
        "malformed at byte 20: samples of 0 bits in 16"
    );
    // Frames of two bytes cannot hold two channels of 16 bits.
    let mut narrow = fmt(1, 2, 8000, 16);
    narrow[12] = 2;
    assert_eq!(
        problem(&riff(&[chunk(b"fmt ", &narrow), data(&[0, 0])])),
        "malformed at byte 20: samples of 16 bits in 8"
    );
    assert!(
        problem(&riff(&[chunk(b"fmt ", &fmt(1, 1, 999, 16)), data(&[0, 0])]))
            .starts_with("a sample rate of 999 Hz")
    );
    assert!(
        problem(&riff(&vec![chunk(b"LIST", b""); 2000])).contains("no `data` among the first 1024 chunks")
    );

    let whole = wav_bytes(spec(1, 16, SampleFormat::Int), &[1i16; 100]);
    assert_eq!(
        decode_bytes(&whole[..whole.len() - 60]).unwrap_err(),
        DecodeProblem::Truncated { offset: 44, expected_bytes: 200, found_bytes: 140 }
    );
    let folder = tempfile::tempdir().unwrap();
    assert!(probe(folder.path()).unwrap_err().to_string().ends_with("cannot be read: not a regular file"));
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
