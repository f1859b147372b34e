//! WAV files, and recordings in packets.

use std::io::Cursor;
use std::path::Path;

use dtrain_fuzz_kit::{Parse, Target};
use hound::{SampleFormat, WavSpec, WavWriter};

use crate::decode::{DecodeProblem, decode, probe};

/// Header and samples.
pub const WAV: Target = Target {
    name: "wav",
    parse: Parse::File(parse),
    seeds,
    words: &["RIFF", "RF64", "WAVE", "fmt ", "data", "ds64", "LIST", "\u{1}\0", "\u{3}\0"],
    // A sample of 8 bits becomes a float of 32.
    bytes_per_input_byte: 5,
    // A frame of 65,535 channels of 32 bits is read at once.
    constant_bytes: 1 << 20,
};

fn parse(path: &Path) -> bool {
    match (probe(path), decode(path)) {
        (Ok(info), Ok(recording)) => {
            assert_eq!(info.num_frames, recording.samples.len() as u64);
            assert_eq!(info.sample_rate, recording.sample_rate);
            assert!(recording.samples.iter().all(|sample| sample.is_finite()));
            true
        }
        // Only samples can be wrong where the header is right.
        (Ok(_), Err(error)) => {
            assert!(matches!(error.problem, DecodeProblem::NotASample { .. }), "{error}");
            false
        }
        (Err(probed), decoded) => {
            assert_eq!(Err(probed), decoded);
            false
        }
    }
}

/// Compressed recordings and others that a library takes apart.
pub const PACKETS: Target = Target {
    name: "packets",
    parse: Parse::File(parse_packets),
    seeds: packets,
    words: &[
        "fLaC", "OggS", "vorbis", "ID3", "Xing", "ftyp", "moov", "mdat", "stsz", "COMM", "SSND", "caff",
        "pakt",
    ],
    // A frame of FLAC may stand for much silence.
    bytes_per_input_byte: 40_000,
    // What is missing becomes silence.
    constant_bytes: 128 << 20,
};

fn parse_packets(path: &Path) -> bool {
    match (probe(path), decode(path)) {
        (Ok(info), Ok(recording)) => {
            assert_eq!(info.sample_rate, recording.sample_rate);
            assert!(recording.samples.iter().all(|sample| sample.is_finite()));
            true
        }
        _ => false,
    }
}

fn packets() -> Vec<Vec<u8>> {
    [
        &include_bytes!("../../fixtures/sound/deep.flac")[..],
        include_bytes!("../../fixtures/sound/flac.oga"),
        include_bytes!("../../fixtures/sound/mono.ogg"),
        include_bytes!("../../fixtures/sound/variable.mp3"),
        include_bytes!("../../fixtures/sound/mono.m4a"),
        include_bytes!("../../fixtures/sound/alac.caf"),
        include_bytes!("../../fixtures/sound/deep.aiff"),
        include_bytes!("../../fixtures/sound/ms.wav"),
    ]
    .map(<[u8]>::to_vec)
    .to_vec()
}

fn seeds() -> Vec<Vec<u8>> {
    let int = |channels, bits| written(channels, bits, SampleFormat::Int, |w, i| w.write_sample(i - 20));
    let mut seeds = vec![int(1, 8), int(2, 16), int(3, 24), int(1, 32), int(40, 16)];
    seeds.push(written(2, 32, SampleFormat::Float, |w, i| w.write_sample(i as f32 / 64.0 - 0.3)));
    // A chunk of odd length with its pad byte, between `fmt ` and `data`.
    let mut with_list = int(1, 16);
    with_list.splice(36..36, *b"LIST\x03\0\0\0abc\0");
    seeds.push(with_list);
    // A length that nobody knew, a long file, and floats of 64 bits.
    let plain = int(1, 16);
    let mut unknown = plain.clone();
    unknown.splice(40..44, [0xff; 4]);
    seeds.push(unknown);
    let mut long = plain.clone();
    long.splice(0..4, *b"RF64");
    long.splice(40..44, [0xff; 4]);
    long.splice(12..12, [&b"ds64\x18\0\0\0"[..], &[0; 8], &80u64.to_le_bytes(), &[0; 8]].concat());
    seeds.push(long);
    let mut double = plain;
    double.splice(20..36, [3, 0, 1, 0, 0x80, 0x3e, 0, 0, 0, 0, 0, 0, 8, 0, 64, 0]);
    double.splice(44.., (0..10).flat_map(|i: i32| (f64::from(i) / 16.0 - 0.3).to_le_bytes()));
    seeds.push(double);
    seeds
}

type Writer<'a> = WavWriter<&'a mut Cursor<Vec<u8>>>;

fn written(
    channels: u16,
    bits_per_sample: u16,
    sample_format: SampleFormat,
    write: impl Fn(&mut Writer<'_>, i32) -> hound::Result<()>,
) -> Vec<u8> {
    let spec = WavSpec { channels, sample_rate: 16_000, bits_per_sample, sample_format };
    let mut file = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut file, spec).expect("memory takes a header");
    for sample in 0..40 * i32::from(channels) {
        write(&mut writer, sample % 40).expect("memory takes a sample");
    }
    writer.finalize().expect("memory takes the lengths");
    file.into_inner()
}
