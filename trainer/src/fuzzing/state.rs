//! `state.bin`.

use std::collections::BTreeMap;

use dtrain_configs::schema::{Alarm, CommBackend};
use dtrain_fuzz_kit::{Parse, Target};
use serde::de::DeserializeOwned;

use crate::alarms::{AlarmStates, Judgement};
use crate::checkpoint::{FrameKind, STATE, Sections, decode, encode, format};
use crate::coordinator::{CoordinatorState, WayBack};
use crate::engine::Arithmetic;
use crate::run::{DroppedSample, LoopState, Resolved, parse_section};

/// Memory that the decoder of a frame may hold beyond its input: a claimed length reserves at most a mebibyte ahead of
/// the elements that are there.
pub(super) const FRAME_CONSTANT_BYTES: usize = 2 << 20;
/// Maps and names take more in memory than in a frame.
pub(super) const FRAME_BYTES_PER_BYTE: usize = 24;

/// The loop's state: a whole file, a file's payload, a section's payload.
pub const STATE_BIN: Target = Target {
    name: "state",
    parse: Parse::Bytes(|input| {
        let is_state = |file: &[u8]| Sections::parse(file).and_then(|found| LoopState::get(&found)).is_ok();
        let (file, payload) = (is_state(input), is_state(&format::seal(&STATE, input)));
        file || payload || parse_section(input)
    }),
    seeds: || [state(false), state(true)].iter().flat_map(files_and_payloads).collect(),
    words: &["DTRN", "STAT", "coordinator", "loop", "run", "alarms"],
    bytes_per_input_byte: FRAME_BYTES_PER_BYTE,
    constant_bytes: FRAME_CONSTANT_BYTES,
};

fn files_and_payloads(state: &LoopState) -> Vec<Vec<u8>> {
    let mut sections = Sections::default();
    state.put(&mut sections).expect("four sections of different names");
    let file = sections.to_bytes().expect("a small value can be framed");
    let frames = std::iter::once(file.as_slice()).chain(sections.raw().map(|(_, section)| section));
    let payloads = frames.map(|frame| frame.get(format::HEADER_BYTES..).unwrap_or_default().to_vec());
    let mut seeds: Vec<Vec<u8>> = payloads.collect();
    seeds.push(file);
    seeds
}

/// The input as a frame, and as the payload of one whose checksum is right.
pub(super) fn parse_frame<T: DeserializeOwned>(kind: &FrameKind, input: &[u8]) -> bool {
    let as_it_is = decode::<T>(kind, input).is_ok();
    let payload = decode::<T>(kind, &format::seal(kind, input)).is_ok();
    as_it_is || payload
}

/// Each value as a frame and as a payload.
pub(super) fn both_ways<T: serde::Serialize>(kind: &FrameKind, values: &[&T]) -> Vec<Vec<u8>> {
    let frames = values.iter().map(|value| encode(kind, *value).expect("a small value can be framed"));
    let frames: Vec<Vec<u8>> = frames.collect();
    let payloads = frames.iter().map(|frame| frame.get(format::HEADER_BYTES..).unwrap_or_default().to_vec());
    payloads.chain(frames.iter().cloned()).collect()
}

fn state(in_progress: bool) -> LoopState {
    let judgement =
        |step| Judgement { alarm: Alarm::Uniformity, step, evidence: in_progress.then(|| "it is 0".into()) };
    let mut alarms = AlarmStates::default();
    (1..4).for_each(|step| drop(alarms.take_in(&judgement(step), 2)));
    let dropped = DroppedSample { id: 17, step: 30, reason: "`a.wav`: truncated".into() };
    LoopState {
        coordinator: CoordinatorState {
            step: 40,
            samples_seen: 320,
            best: in_progress.then_some((0.75, 20)),
            evaluated_at: in_progress.then_some(20),
            ..CoordinatorState::default()
        },
        wall_secs: 12.5,
        dropped: if in_progress { vec![dropped] } else { Vec::new() },
        metrics: BTreeMap::from([("train/loss".into(), 0.5), ("opt/lr".into(), f64::NAN)]),
        data_fingerprint: 0x0123_4567_89ab_cdef,
        resolved: Resolved {
            on_gpu: false,
            arithmetic: Arithmetic::Fp32,
            threads: 2,
            loader_threads: 1,
            micro_batch: in_progress.then_some(8),
            tile: 512,
            sync_bn: true,
            backend: CommBackend::Mpi,
            overlap: false,
        },
        world_size: 2,
        unreported_finite: in_progress.then_some(true),
        evaluated_samples: in_progress.then_some(12_000),
        alarms,
        unreported_alarms: vec![judgement(40)],
        way_back: in_progress.then(|| WayBack::from_checkpoint(10)),
    }
}
