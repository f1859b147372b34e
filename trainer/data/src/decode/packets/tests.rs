//! Each format against what ffmpeg decodes (`fixtures/make_sound.py`), its parts against the whole, and files that are cut,
//! damaged, or lie about themselves.

use std::path::{Path, PathBuf};

use dtrain_configs::schema::Channel;
use proptest::prelude::*;
use serde_json::Value;

use crate::decode::{
    DecodeError, DecodeProblem, Decoder, Recording, RecordingInfo, RecordingNote, decode, probe,
};

const LOSSLESS: [&str; 9] = [
    "stereo.flac",
    "deep.flac",
    "flac.oga",
    "alac.m4a",
    "alac.caf",
    "pcm.caf",
    "stereo.aiff",
    "deep.aiff",
    "little.aifc",
];
const LOSSY: [&str; 9] = [
    "stereo.ogg",
    "mono.ogg",
    "stereo.mp3",
    "variable.mp3",
    "plain.mp3",
    "stereo.m4a",
    "mono.m4a",
    "ms.wav",
    "ima.wav",
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sound").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    fs_err::read(fixture(name)).unwrap()
}

fn all() -> impl Iterator<Item = &'static str> {
    LOSSLESS.into_iter().chain(LOSSY)
}

fn part(path: &Path, channel: Channel, frames: std::ops::Range<u64>) -> Result<Recording, DecodeError> {
    Decoder::new(channel).decode_part(path, |_| Ok(frames))
}

/// The bytes as a file; what `look` finds in it.
fn in_file<T>(bytes: &[u8], look: impl FnOnce(&Path) -> T) -> T {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), bytes).unwrap();
    look(file.path())
}

fn read(bytes: &[u8]) -> Result<(RecordingInfo, Vec<f32>), DecodeProblem> {
    in_file(bytes, |path| Ok((probe(path)?, decode(path)?.samples)))
        .map_err(|error: DecodeError| error.problem)
}

fn problem(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn samples_are_those_of_ffmpeg() {
    let text = fs_err::read_to_string(fixture("../sound.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let every = expected["every"].as_u64().unwrap() as usize;
    let files = expected["files"].as_object().unwrap();
    assert_eq!(files.len(), all().count());
    for name in all() {
        let file = &files[name];
        let path = fixture(name);
        let info = probe(&path).unwrap();
        assert_eq!(u64::from(info.sample_rate), file["sample_rate"], "{name}");
        assert_eq!(u64::from(info.channels), file["channels"], "{name}");
        // ffmpeg hands out the whole last packet of AAC.
        let padding = file["num_frames"].as_u64().unwrap() - info.num_frames;
        assert!(padding == 0 || name.ends_with(".m4a") && padding < 1024, "{name}: {}", info.num_frames);
        assert_eq!(info.notes, [], "{name}");
        let tolerance = if LOSSLESS.contains(&name) { 1e-6 } else { 1e-3 };
        let of_channels = file["values"].as_array().unwrap();
        let mut mean = vec![0.0; info.num_frames as usize];
        for (number, values) in of_channels.iter().enumerate() {
            let mut decoder = Decoder::new(Channel::Number(number as u16));
            let recording = decoder.decode(&path).unwrap();
            assert_eq!(recording.samples.len() as u64, info.num_frames, "{name}");
            let values = values.as_array().unwrap().iter().enumerate();
            for (at, value) in values.take_while(|(at, _)| at * every < recording.samples.len()) {
                let difference = (recording.samples[at * every] - value.as_f64().unwrap() as f32).abs();
                assert!(
                    difference <= tolerance,
                    "{name}, channel {number}, frame {}: {difference}",
                    at * every
                );
            }
            mean.iter_mut()
                .zip(&recording.samples)
                .for_each(|(mean, x)| *mean += x / of_channels.len() as f32);
        }
        let mixed = decode(&path).unwrap();
        assert_eq!(mixed.sample_rate, info.sample_rate);
        let worst = mixed.samples.iter().zip(&mean).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-6, "{name}: {worst}");
    }
}

#[test]
fn a_part_is_the_same_stretch_of_the_whole() {
    for name in all() {
        let path = fixture(name);
        let whole = decode(&path).unwrap().samples;
        let len = whole.len();
        for (begin, end) in [
            (0, len),
            (0, 1),
            (0, len / 3),
            (1, 700),
            (len / 5, len / 5 + 1),
            (len / 2 - 300, len / 2 + 300),
            (len - len / 4, len),
            (len - 1, len),
        ] {
            let found = part(&path, Channel::Mean, begin as u64..end as u64).unwrap().samples;
            assert_eq!(found.len(), end - begin, "{name}");
            let worst = found.iter().zip(&whole[begin..end]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 1e-4, "{name}, frames {begin} to {end}: {worst}");
        }
        let beyond = part(&path, Channel::Mean, 5..len as u64 + 1).unwrap_err();
        let expected = DecodeProblem::EndsEarly { expected_frames: len as u64 + 1, found_frames: len as u64 };
        assert_eq!(beyond.problem, expected, "{name}");
        assert_eq!(part(&path, Channel::Mean, 5..5).unwrap_err().problem, DecodeProblem::Empty);
    }
}

#[test]
fn a_channel_that_is_not_there_is_named() {
    for (name, channels) in [("stereo.flac", "2 channels, 0 to 1"), ("mono.ogg", "1 channel, 0")] {
        let error = Decoder::new(Channel::Number(2)).decode(&fixture(name)).unwrap_err();
        let expected = format!("{name}`: it has {channels}, `data.audio.channel` = 2 is not among them");
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert!(error.hint().unwrap().contains("`data.audio.channel=mean`"));
    }
}

#[test]
fn a_file_that_is_cut_is_read_up_to_there() {
    for name in all() {
        let whole = decode(&fixture(name)).unwrap().samples;
        let bytes = bytes(name);
        let cut = &bytes[..bytes.len() * 7 / 10];
        // These have their index behind the cut, state lengths that the library does not forgive, or end in their header.
        if ["mono.m4a", "stereo.m4a", "alac.m4a", "alac.caf", "pcm.caf", "mono.ogg"].contains(&name)
            || name.contains(".aif")
        {
            let problem = problem(cut);
            assert!(problem.starts_with("cannot be decoded: "), "{name}: {problem}");
            continue;
        }
        let (info, samples) = read(cut).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        assert_eq!(info.num_frames, samples.len() as u64, "{name}");
        assert!(samples.len() < whole.len() && samples.len() > whole.len() / 4, "{name}: {}", samples.len());
        // An MP3 without a tag says nothing about its length.
        let notes: &[RecordingNote] = if name == "plain.mp3" { &[] } else { &[RecordingNote::Cut] };
        assert_eq!(info.notes, notes, "{name}");
        // The last frames of lossy formats overlap with what is missing.
        let sure = samples.len().saturating_sub(4096);
        let worst = samples[..sure].iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= 1e-4, "{name}: {worst}");
    }
}

#[test]
fn a_tag_of_megabytes_is_passed_over() {
    let tag = |len: usize| {
        let digits = [21, 14, 7, 0].map(|shift| (len >> shift & 0x7f) as u8);
        [b"ID3\x04\0\0", &digits[..], &vec![0xffu8; len]].concat()
    };
    for name in ["plain.mp3", "variable.mp3", "stereo.flac"] {
        let plain = bytes(name);
        let plain = if plain.starts_with(b"ID3") { &plain[45..] } else { &plain[..] };
        let (info, samples) = read(&[tag(5_000_000), plain.to_vec()].concat()).unwrap();
        assert_eq!(samples, decode(&fixture(name)).unwrap().samples, "{name}");
        assert_eq!(info.notes, [], "{name}");
    }
    let error = problem(&tag(1000));
    assert!(
        error.starts_with("not a recording that can be read: it is a file with an ID3 tag in front"),
        "{error}"
    );
}

#[test]
fn an_mp3_whose_tag_lies_is_counted() {
    let (whole, plain) = (decode(&fixture("variable.mp3")).unwrap().samples, bytes("variable.mp3"));
    let at = plain.windows(4).position(|four| four == b"Xing" || four == b"Info").unwrap();
    // The tag of one file before the frames of two.
    let twice = [&plain[..], &bytes("variable.mp3")[45..]].concat();
    let (info, samples) = read(&twice).unwrap();
    assert_eq!(info.num_frames, samples.len() as u64);
    assert_eq!(info.notes, [RecordingNote::OtherLength]);
    assert!(samples.len() > 2 * whole.len() - 100, "{}", samples.len());
    // More bytes than there are.
    let mut longer = plain.clone();
    longer[at + 12..at + 16].copy_from_slice(&1_000_000u32.to_be_bytes());
    let (info, samples) = read(&longer).unwrap();
    assert_eq!((info.num_frames, info.notes), (samples.len() as u64, vec![RecordingNote::Cut]));
    assert!(samples.len() >= whole.len());
    // More frames than its bytes hold: what is there is read, and what is not there is an error of the part.
    let mut more = plain;
    more[at + 8..at + 12].copy_from_slice(&1_000u32.to_be_bytes());
    in_file(&more, |path| {
        assert!(decode(path).unwrap().samples.len() < whole.len() + 2000);
        let error = part(path, Channel::Mean, 100_000..101_000).unwrap_err();
        assert!(error.to_string().contains("the recording ends after"), "{error}");
    });
}

#[test]
fn what_is_not_read_is_named() {
    let not = "not a recording that can be read: it is";
    assert_eq!(problem(&bytes("opus.ogg")), format!("{not} an Ogg file with Opus"));
    assert_eq!(problem(&bytes("film.mp4")), "a film, as phones and cameras record them, is not read");
    assert_eq!(
        problem(b"\0\0\0\x20ftypM4P \0\0\0\0"),
        format!("{not} an M4P file, which is encrypted (DRM)")
    );
    assert_eq!(problem(b"\xff\xf1\x50\x80\0\0\0\0"), format!("{not} an AAC file (ADTS)"));
    let swapped = |name: &str, from: &[u8], to: &[u8]| {
        let mut file = bytes(name);
        let at = file.windows(from.len()).position(|window| window == from).unwrap();
        file[at..at + to.len()].copy_from_slice(to);
        file
    };
    // The sample entry of what is encrypted.
    for entry in [b"enca", b"drms"] {
        let problem = problem(&swapped("stereo.m4a", b"mp4a", entry));
        assert_eq!(problem, "sound that is encrypted (DRM), or in a codec that is not known, is not read");
    }
    // The configuration of AAC-LC at 44,100 Hz becomes that of HE-AAC.
    let he = problem(&swapped("stereo.m4a", b"\x12\x10\x56\xe5\0", b"\x2b\x92\x08\0\0"));
    assert_eq!(he, "AAC other than AAC-LC of one or two channels, such as HE-AAC, is not read");
    for name in ["opus.ogg", "film.mp4"] {
        let hint = decode(&fixture(name)).unwrap_err().hint().unwrap();
        assert!(hint.starts_with("convert with ffmpeg, for instance `ffmpeg -i "), "{hint}");
        assert!(hint.ends_with(&format!("{name} -vn converted.flac`")), "{hint}");
    }
}

#[test]
fn beginnings_alone_are_errors() {
    for name in all() {
        let bytes = bytes(name);
        for len in [4, 12, 40] {
            let problem = read(&bytes[..len]).unwrap_err();
            assert!(!problem.to_string().is_empty(), "{name}");
        }
    }
    assert_eq!(problem(b""), "not a recording that can be read: it is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever the damage: samples or an error, no panic that is seen, and memory within bounds.
    #[test]
    fn damaged_files_give_samples_or_an_error(
        file in 0usize..18,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        in_header in prop::collection::vec((0usize..200, any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = bytes(all().nth(file).unwrap());
        for (at, byte) in flips {
            let len = bytes.len();
            bytes[at.index(len)] = byte;
        }
        for (at, byte) in in_header {
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            let len = bytes.len();
            bytes.truncate(cut.index(len));
        }
        let read = in_file(&bytes, |path| {
            let (info, read) = (probe(path), decode(path));
            if let (Ok(info), Ok(_)) = (&info, &read) {
                let middle = info.num_frames / 2;
                let _ = part(path, Channel::Mean, middle..info.num_frames.min(middle + 100));
            }
            read
        });
        if let Ok(recording) = read {
            prop_assert!(recording.samples.iter().all(|sample| sample.is_finite()));
            // As many frames as a packet of silence may stand for, and what may be filled in.
            prop_assert!(recording.samples.len() < 1 << 23, "{}", recording.samples.len());
        }
    }
}
