//! Each row of the table of WAV headers in docs/formats.md: the same sound, written in an odd way, has the samples of its
//! plain 16-bit twin.

use super::*;

/// The sound: multiples of 1/128, which every encoding but 8 bits holds with room below.
fn sound() -> Vec<i32> {
    (0..600).map(|i| (i * i * 7 % 255) - 127).collect()
}

fn expected() -> Vec<f32> {
    sound().iter().map(|&s| s as f32 / 128.0).collect()
}

/// Its samples as integers of `bytes` bytes, from the top.
fn integers(bytes: usize) -> Vec<u8> {
    sound().iter().flat_map(|s| (s << 24).to_le_bytes()[4 - bytes..].to_vec()).collect()
}

fn chunk(id: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&id[..], &(body.len() as u32).to_le_bytes(), body, &[0][..body.len() % 2]].concat()
}

struct Fmt {
    tag: u16,
    channels: u16,
    bits: u16,
    align: u16,
    byte_rate: u32,
}

const PLAIN: Fmt = Fmt { tag: 1, channels: 1, bits: 16, align: 2, byte_rate: 16_000 };

impl Fmt {
    fn body(&self) -> Vec<u8> {
        let mut body = [self.tag, self.channels].map(u16::to_le_bytes).concat();
        body.extend(8_000u32.to_le_bytes());
        body.extend(self.byte_rate.to_le_bytes());
        body.extend([self.align, self.bits].map(u16::to_le_bytes).concat());
        body
    }

    fn chunk(&self) -> Vec<u8> {
        chunk(b"fmt ", &self.body())
    }
}

/// An extensible header with `valid` of `bits` bits.
fn extensible(sub: u16, channels: u16, bits: u16, valid: u16) -> Vec<u8> {
    let mut body = Fmt { tag: 0xfffe, channels, bits, align: channels * bits / 8, byte_rate: 0 }.body();
    body.extend([22u16, valid, 4, 0, sub].map(u16::to_le_bytes).concat());
    body.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
    chunk(b"fmt ", &body)
}

fn file(tag: &[u8; 4], riff_size: u32, chunks: &[Vec<u8>]) -> Vec<u8> {
    [&tag[..], &riff_size.to_le_bytes(), b"WAVE", &chunks.concat()].concat()
}

fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    file(b"RIFF", chunks.iter().map(Vec::len).sum::<usize>() as u32 + 4, chunks)
}

/// A `data` chunk that states `length`.
fn stated(length: u32, audio: &[u8]) -> Vec<u8> {
    [b"data", &length.to_le_bytes()[..], audio].concat()
}

fn read(bytes: &[u8]) -> Result<(Vec<f32>, RecordingInfo), DecodeError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), bytes).unwrap();
    let info = probe(file.path())?;
    let recording = decode(file.path())?;
    assert_eq!(recording.samples.len() as u64, info.num_frames);
    // Short blocks cut the same frames elsewhere.
    let short = Decoder { block: vec![0; 61], channel: Channel::Mean }.decode(file.path())?;
    assert_eq!(short, recording);
    Ok((recording.samples, info))
}

fn same(what: &str, bytes: &[u8], notes: &[RecordingNote]) {
    let (samples, info) = read(bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(samples, expected(), "{what}");
    assert_eq!(info.notes, notes, "{what}");
}

#[test]
fn the_container_decides_how_samples_lie() {
    let audio = |bytes: usize| chunk(b"data", &integers(bytes));
    let floats32: Vec<u8> = expected().iter().flat_map(|s| s.to_le_bytes()).collect();
    let floats64: Vec<u8> = expected().iter().flat_map(|&s| f64::from(s).to_le_bytes()).collect();
    let low: Vec<u8> = sound().iter().flat_map(|s| (s << 16).to_le_bytes()).collect();
    let low_garbage: Vec<u8> = low.chunks(4).flat_map(|s| [s[0], s[1], s[2], 0xaa]).collect();
    let plain = |bits: u16, align: u16| Fmt { bits, align, ..PLAIN }.chunk();
    let float = |bits: u16| Fmt { tag: 3, bits, align: bits / 8, ..PLAIN }.chunk();
    for (what, chunks) in [
        ("16", vec![PLAIN.chunk(), audio(2)]),
        ("12 in 16", vec![plain(12, 2), audio(2)]),
        ("20 in 24", vec![plain(20, 3), audio(3)]),
        ("24", vec![plain(24, 3), audio(3)]),
        ("32", vec![plain(32, 4), audio(4)]),
        ("block align left out", vec![plain(24, 0), audio(3)]),
        ("arecord's S24_LE", vec![plain(24, 4), chunk(b"data", &low)]),
        ("arecord's S24_LE, fourth byte not cleared", vec![plain(24, 4), chunk(b"data", &low_garbage)]),
        ("extensible 16", vec![extensible(1, 1, 16, 16), audio(2)]),
        ("extensible, valid bits left out", vec![extensible(1, 1, 16, 0), audio(2)]),
        ("extensible 12 in 16", vec![extensible(1, 1, 16, 12), audio(2)]),
        ("extensible 20 in 24", vec![extensible(1, 1, 24, 20), audio(3)]),
        ("extensible 24 in 32", vec![extensible(1, 1, 32, 24), audio(4)]),
        ("extensible 16 in 32", vec![extensible(1, 1, 32, 16), audio(4)]),
        ("extensible 8 in 32", vec![extensible(1, 1, 32, 8), audio(4)]),
        ("float 32", vec![float(32), chunk(b"data", &floats32)]),
        ("float 64", vec![float(64), chunk(b"data", &floats64)]),
        ("extensible float 32", vec![extensible(3, 1, 32, 32), chunk(b"data", &floats32)]),
        ("extensible float 64", vec![extensible(3, 1, 64, 64), chunk(b"data", &floats64)]),
    ] {
        same(what, &riff(&chunks), &[]);
    }
    let unsigned: Vec<u8> = sound().iter().map(|s| (s + 128) as u8).collect();
    same("8", &riff(&[plain(8, 1), chunk(b"data", &unsigned)]), &[]);
    let both: Vec<u8> = integers(2).chunks(2).flat_map(|s| [s, s].concat()).collect();
    let stereo = Fmt { channels: 2, align: 4, ..PLAIN }.chunk();
    same("two channels", &riff(&[stereo, chunk(b"data", &both)]), &[]);
    same("extensible, two channels", &riff(&[extensible(1, 2, 16, 16), chunk(b"data", &both)]), &[]);
}

#[test]
fn redundant_fields_decide_nothing() {
    let audio = || chunk(b"data", &integers(2));
    for byte_rate in [0, 1, u32::MAX] {
        same("byte rate", &riff(&[Fmt { byte_rate, ..PLAIN }.chunk(), audio()]), &[]);
    }
    for size in [0, 36, 1000, u32::MAX] {
        same("RIFF size", &file(b"RIFF", size, &[PLAIN.chunk(), audio()]), &[]);
    }
    let fact = chunk(b"fact", &9u32.to_le_bytes());
    same("fact", &riff(&[PLAIN.chunk(), fact, audio()]), &[]);
    let long = |extra: usize| {
        let mut body = PLAIN.body();
        body.resize(16 + extra, 0x55);
        chunk(b"fmt ", &body)
    };
    same("cbSize", &riff(&[long(2), audio()]), &[]);
    same("a long `fmt `", &riff(&[long(62), audio()]), &[]);
}

#[test]
fn lengths_that_nobody_knew_mean_to_the_end_of_the_file() {
    let note = [RecordingNote::LengthUnknown];
    for length in [0, 0x7fff_0000, 0x7fff_f000, 0x7fff_ffff, 0x8000_0000, 0xffff_ff00, 0xffff_ffdb, u32::MAX]
    {
        let bytes = riff(&[PLAIN.chunk(), stated(length, &integers(2))]);
        same(&format!("{length:#x}"), &bytes, &note);
        let odd = [&bytes[..], &[1]].concat();
        same(
            &format!("{length:#x}, an odd byte"),
            &odd,
            &[RecordingNote::LengthUnknown, RecordingNote::PartialFrame],
        );
    }
    let odd = riff(&[PLAIN.chunk(), chunk(b"data", &[&integers(2)[..], &[1]].concat())]);
    same("an odd byte", &odd, &[RecordingNote::PartialFrame]);
    // Any other length is believed.
    let cut = riff(&[PLAIN.chunk(), stated(5000, &integers(2))]);
    assert!(matches!(read(&cut).unwrap_err().problem, DecodeProblem::Truncated { expected_bytes: 5000, .. }));
}

#[test]
fn long_files_state_their_length_apart() {
    let audio = integers(2);
    let ds64 = |bytes: u64| {
        let body: Vec<u8> = [0, bytes, 600].into_iter().flat_map(u64::to_le_bytes).collect();
        chunk(b"ds64", &[&body[..], &[0; 4]].concat())
    };
    for tag in [b"RF64", b"BW64"] {
        let rf64 = |bytes: u64| {
            let tail = chunk(b"LIST", b"INFO");
            file(tag, u32::MAX, &[ds64(bytes), PLAIN.chunk(), stated(u32::MAX, &audio), tail])
        };
        same("ds64", &rf64(1200), &[]);
        assert!(matches!(read(&rf64(9000)).unwrap_err().problem, DecodeProblem::Truncated { .. }));
        same("32 bits", &file(tag, 0, &[ds64(77), PLAIN.chunk(), stated(1200, &audio)]), &[]);
        let unknown = file(tag, u32::MAX, &[ds64(0), PLAIN.chunk(), stated(u32::MAX, &audio)]);
        same("unknown", &unknown, &[RecordingNote::LengthUnknown]);
        let without = file(tag, u32::MAX, &[PLAIN.chunk(), stated(u32::MAX, &audio)]);
        assert!(read(&without).unwrap_err().to_string().contains("`ds64`"));
    }
}

#[test]
fn other_chunks_are_passed_over_wherever_they_lie() {
    let audio = || chunk(b"data", &integers(2));
    let unpadded = |id: &[u8; 4], body: &[u8]| {
        let mut bytes = chunk(id, body);
        bytes.truncate(8 + body.len());
        bytes
    };
    for odd in [&[1; 7][..], &[b'a'; 301]] {
        for id in [b"junk", b"abcd", b"LIST"] {
            same("padded", &riff(&[PLAIN.chunk(), chunk(id, odd), audio()]), &[]);
            same("not padded", &riff(&[PLAIN.chunk(), unpadded(id, odd), audio()]), &[]);
            same("not padded, in front", &riff(&[unpadded(id, odd), PLAIN.chunk(), audio()]), &[]);
        }
    }
    same("far behind", &riff(&[chunk(b"bext", &[7; 9000]), PLAIN.chunk(), audio()]), &[]);
    let tags = [chunk(b"LIST", b"INFOdata"), chunk(b"id3 ", &[1; 33])].concat();
    same("after the audio", &riff(&[PLAIN.chunk(), audio(), tags, vec![0; 99]]), &[]);
    same("an empty one before", &riff(&[PLAIN.chunk(), chunk(b"data", b""), audio()]), &[]);
    let second = riff(&[PLAIN.chunk(), audio(), chunk(b"data", &[1; 40])]);
    same("a second one after", &second, &[RecordingNote::SecondDataChunk]);
    let pieces = riff(&[PLAIN.chunk(), chunk(b"LIST", &[b"wavl", &audio()[..]].concat())]);
    assert!(read(&pieces).unwrap_err().to_string().contains("`wavl`) is not supported"));
    let empty = riff(&[PLAIN.chunk(), chunk(b"data", b""), chunk(b"LIST", b"INFO")]);
    assert_eq!(read(&empty).unwrap_err().problem, DecodeProblem::Empty);
}

#[test]
fn constant_means_are_found_without_reading_on() {
    let constant = |audio: Vec<i16>, channels: u16| {
        let bytes: Vec<u8> = audio.iter().flat_map(|s| s.to_le_bytes()).collect();
        let fmt = Fmt { channels, align: 2 * channels, ..PLAIN }.chunk();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), riff(&[fmt, chunk(b"data", &bytes)])).unwrap();
        Decoder::of_headers(Channel::Mean).survey(file.path()).unwrap().1
    };
    let tone: Vec<i16> = (0..9000).map(|i| (i * i % 999) as i16).collect();
    assert!(!constant(tone.clone(), 1));
    assert!(constant(vec![0; 9000], 1));
    assert!(constant(vec![500; 9000], 1));
    assert!(constant(tone.iter().flat_map(|&s| [s, -s]).collect(), 2), "the channels cancel");
    let mut late = vec![0; 90_000];
    late[89_999] = 1;
    assert!(!constant(late, 1));
}
