//! Everything besides the engine that a run needs to go on exactly: one struct, saved with every checkpoint in
//! sections of `state.bin`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::alarms::{AlarmStates, Judgement};
use crate::checkpoint::{CheckpointError, FrameKind, Sections};
use crate::coordinator::{CoordinatorState, WayBack};
use crate::run::prepare::Resolved;

/// Raised with every change of [`CoordinatorState`].
const COORDINATOR: FrameKind = FrameKind { name: "coordinator", tag: *b"COOR", version: 1 };
const LOOP: FrameKind = FrameKind { name: "loop", tag: *b"LOOP", version: 1 };
/// Raised with every change of [`Resolved`].
const RUN: FrameKind = FrameKind { name: "run", tag: *b"RUNS", version: 1 };
/// Not there while there is nothing to say, as in checkpoints of old.
const EVALUATION: FrameKind = FrameKind { name: "evaluation", tag: *b"EVAL", version: 1 };

/// Raised with every change of [`AlarmStates`]. Checkpoints that are older than alarms do not have it.
const ALARMS: FrameKind = FrameKind { name: "alarms", tag: *b"ALRM", version: 1 };
/// Not there in a run that does not go back. Raised with every change of [`WayBack`].
const WAY_BACK: FrameKind = FrameKind { name: "way_back", tag: *b"BACK", version: 2 };

/// A sample that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DroppedSample {
    /// Its id in the data set.
    pub id: u32,
    /// Step at which it was to be used.
    pub step: u64,
    /// Why.
    pub reason: String,
}

/// The loop's state. The position in the data is `coordinator.step`: batches are a pure function of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoopState {
    /// Step, evaluations, best metric.
    pub coordinator: CoordinatorState,
    /// Seconds of training so far.
    pub wall_secs: f64,
    /// Samples that could not be read; they stay out for the rest of the run.
    pub dropped: Vec<DroppedSample>,
    /// Last value of every metric.
    pub metrics: BTreeMap<String, f64>,
    /// Fingerprint of names, sizes and labels of the data.
    pub data_fingerprint: u64,
    /// Automatic choices, made once.
    pub resolved: Resolved,
    /// Ranks that wrote the checkpoint.
    pub world_size: usize,
    /// Whether the last step was finite, where rank 0 has not heard it yet.
    pub unreported_finite: Option<bool>,
    /// Samples of val and train together that evaluations during training look at, once that was decided.
    pub evaluated_samples: Option<u64>,
    /// Alarms, and the evidence before them.
    pub alarms: AlarmStates,
    /// Judgements that rank 0 has not heard of yet.
    pub unreported_alarms: Vec<Judgement>,
    /// What an alarm may take the run back to, where one does.
    pub way_back: Option<WayBack>,
}

impl LoopState {
    /// Names of its sections.
    pub const SECTIONS: [&'static str; 6] =
        [COORDINATOR.name, LOOP.name, RUN.name, EVALUATION.name, ALARMS.name, WAY_BACK.name];

    /// Adds its sections.
    ///
    /// # Errors
    /// Sections of these names that are there already.
    pub fn put(&self, sections: &mut Sections) -> Result<(), CheckpointError> {
        // Field by field, so that a new one does not compile until it has its place.
        let Self {
            coordinator,
            wall_secs,
            dropped,
            metrics,
            data_fingerprint,
            resolved,
            world_size,
            unreported_finite,
            evaluated_samples,
            alarms,
            unreported_alarms,
            way_back,
        } = self;
        if let Some(way_back) = way_back {
            sections.put(&WAY_BACK, way_back)?;
        }
        if let Some(samples) = evaluated_samples {
            sections.put(&EVALUATION, samples)?;
        }
        sections.put(&COORDINATOR, coordinator)?;
        sections.put(&LOOP, &(wall_secs, dropped, metrics, unreported_finite))?;
        sections.put(&RUN, &(data_fingerprint, resolved, world_size))?;
        sections.put(&ALARMS, &(alarms, unreported_alarms))
    }

    /// Reads its sections.
    ///
    /// # Errors
    /// One that is missing or of another version is named.
    pub fn get(sections: &Sections) -> Result<Self, CheckpointError> {
        let coordinator = sections.get(&COORDINATOR)?;
        let (wall_secs, dropped, metrics, unreported_finite) = sections.get(&LOOP)?;
        let (data_fingerprint, resolved, world_size) = sections.get(&RUN)?;
        let is_decided = sections.contains(EVALUATION.name);
        let evaluated_samples = is_decided.then(|| sections.get(&EVALUATION)).transpose()?;
        let has_alarms = sections.contains(ALARMS.name);
        let (alarms, unreported_alarms) =
            if has_alarms { sections.get(&ALARMS)? } else { Default::default() };
        let has_way_back = sections.contains(WAY_BACK.name);
        let way_back = has_way_back.then(|| sections.get(&WAY_BACK)).transpose()?;
        Ok(Self {
            coordinator,
            wall_secs,
            dropped,
            metrics,
            data_fingerprint,
            resolved,
            world_size,
            unreported_finite,
            evaluated_samples,
            alarms,
            unreported_alarms,
            way_back,
        })
    }
}

/// Whether `section` is one of the loop's: for the fuzzer, which cannot make checksums.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse_section(payload: &[u8]) -> bool {
    use crate::checkpoint::{decode, format::seal};
    type Loop = (f64, Vec<DroppedSample>, BTreeMap<String, f64>, Option<bool>);
    decode::<CoordinatorState>(&COORDINATOR, &seal(&COORDINATOR, payload)).is_ok()
        || decode::<Loop>(&LOOP, &seal(&LOOP, payload)).is_ok()
        || decode::<(u64, Resolved, usize)>(&RUN, &seal(&RUN, payload)).is_ok()
        || decode::<u64>(&EVALUATION, &seal(&EVALUATION, payload)).is_ok()
        || decode::<(AlarmStates, Vec<Judgement>)>(&ALARMS, &seal(&ALARMS, payload)).is_ok()
        || decode::<WayBack>(&WAY_BACK, &seal(&WAY_BACK, payload)).is_ok()
}
