//! What comes from a relay's socket, as fuzzers and property tests give it: the exchange with a caller, byte by byte, and the
//! frames behind its seal.

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dtrain_fuzz_kit::{Parse, Target};

use super::super::calls::{Calls, ChannelId, MAX_CHANNELS};
use super::super::clock::Moment;
use super::super::operation::{Operation, Purpose};
use super::super::process::ProcessState;
use super::super::row::Row;
use super::super::stage::Stage;
use super::frame;
use super::seal::{Key, Meeting, Seal, Side};
use super::wire::{Wire, WireError};
use super::words;

const WORLD_SIZE: usize = 4;
const NODE: u32 = 1;
const MEETING: Meeting = Meeting { node: NODE, caller: [1; 16], listener: [2; 16] };

/// A frame behind its seal.
pub const FRAME: Target = Target {
    name: "relay_frame",
    parse: Parse::Bytes(parse_frame),
    seeds: frames,
    words: &["\x01\0\0\0", "\u{7f}"],
    bytes_per_input_byte: 64,
    constant_bytes: 64 << 10,
};

/// All that a caller says to rank 0 on one connection. Only what the holder of the key said in just this meeting, whole
/// and in its order, is accepted.
pub const CALL: Target = Target {
    name: "relay_call",
    parse: Parse::Bytes(parse_call),
    seeds: calls,
    words: &["dtrainH2", "dtrainH1", "\x01\0\0\0"],
    bytes_per_input_byte: 8,
    constant_bytes: 64 << 10,
};

fn key() -> Key {
    Key::new([7; 32])
}

/// Late enough for any age that a frame can name, so that none is cut short.
fn now() -> Moment {
    Moment::from_start(Duration::from_secs(10_000_000))
}

fn parse_frame(input: &[u8]) -> bool {
    let Some(news) = frame::decode(input, WORLD_SIZE, now()) else { return false };
    assert!(news.rows.len() <= WORLD_SIZE, "more rows than ranks");
    assert!(news.speaker.is_none_or(|rank| rank < WORLD_SIZE), "a speaker who is no rank");
    // What was understood can be said again, and means the same then.
    let again = frame::decode(&frame::encode(&news.rows, news.speaker), WORLD_SIZE, now());
    assert_eq!(again.as_ref(), Some(&news), "a frame changes when it is passed on");
    true
}

fn parse_call(input: &[u8]) -> bool {
    let ended = AtomicBool::new(false);
    let talk = || -> Result<Vec<Vec<u8>>, WireError> {
        let stream = Said { rest: input };
        let wire = Wire::new(stream, &ended, Duration::from_secs(5), frame::max_bytes(WORLD_SIZE));
        let (node, mut line) = wire.answer(&key(), MEETING.listener)?;
        assert_eq!(node, NODE, "a node that has proved nothing");
        let mut heard = Vec::new();
        loop {
            match line.receive() {
                Ok(frame) => heard.push(frame),
                Err(WireError::Closed) => return Ok(heard),
                Err(error) => return Err(error),
            }
        }
    };
    let Ok(heard) = talk() else { return false };
    // Nobody but the holder of the key can have said it; how long it went on is the caller's choice.
    let all = frames();
    assert!(heard.len() <= all.len() && heard.iter().zip(&all).all(|(heard, said)| heard == said), "forged");
    true
}

/// A socket whose other side has said everything, and listens to nothing.
struct Said<'a> {
    rest: &'a [u8],
}

impl Read for Said<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.rest.read(buffer)
    }
}

impl Write for Said<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn frames() -> Vec<Vec<u8>> {
    let id = ChannelId { purpose: Purpose::Nccl, number: 2 };
    let since = now().before(Duration::from_secs(3));
    let calls = Calls { id, begun: 9, ended: 8, operation: Operation::Group, since };
    let row = Row {
        rank: 3,
        process: ProcessState::Disk,
        stage: Stage::Saving,
        step: Some(7),
        heard_age: Duration::from_secs(2),
        stage_age: Duration::from_secs(5),
        channels: vec![calls; MAX_CHANNELS],
        now: now(),
        ..Row::default()
    };
    let idle =
        Row { rank: 0, step: None, channels: Vec::new(), beat_age: Some(Duration::ZERO), ..row.clone() };
    vec![
        frame::encode(&[], None),
        frame::encode(std::slice::from_ref(&idle), Some(0)),
        frame::encode(&[row, idle], Some(2)),
    ]
}

/// Connections of none up to all frames.
fn calls() -> Vec<Vec<u8>> {
    let all = frames();
    let call = |num_frames: usize| {
        let mut seal = Seal::new(&key(), &MEETING, Side::Caller);
        let frames = all.iter().take(num_frames).flat_map(|frame| words::sealed(&mut seal, frame));
        words::call(&key(), &MEETING).into_iter().chain(frames).collect()
    };
    (0..=all.len()).map(call).collect()
}
