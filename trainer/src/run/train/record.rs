//! What a session writes down while it trains: metrics in the run's files, their last values, and the time.

use std::collections::BTreeMap;
use std::time::Instant;

use dtrain_configs::RunDir;

use crate::error::TrainError;
use crate::run::checkpoints::LoopState;
use crate::run::report::Tracker;

/// Metrics and time of a run in progress. Only rank 0's writes files.
pub(super) struct Recorder {
    pub(super) run_dir: Option<RunDir>,
    pub(super) tracker: Tracker,
    /// Last value of every metric.
    metrics: BTreeMap<String, f64>,
    /// What was measured after the step named first, on its weights.
    measured: (u64, BTreeMap<String, f64>),
    /// A failure of this rank alone, such as a full disk under the metrics, until the others hear of it.
    failure: Option<TrainError>,
    started: Instant,
    earlier_secs: f64,
}

impl Recorder {
    /// Goes on from `state`.
    pub(super) fn new(run_dir: Option<RunDir>, tracker: Tracker, state: Option<&LoopState>) -> Self {
        Self {
            run_dir,
            tracker,
            metrics: state.map_or_else(BTreeMap::new, |state| state.metrics.clone()),
            measured: Default::default(),
            failure: None,
            started: Instant::now(),
            earlier_secs: state.map_or(0.0, |state| state.wall_secs),
        }
    }

    /// Writes metrics and remembers their last values.
    pub(super) fn record(&mut self, step: u64, epoch: u64, values: Vec<(String, f64)>) {
        if let Err(error) = self.tracker.record(step, epoch, self.wall_secs(), &values) {
            self.fail_with(error.into());
        }
        if self.measured.0 != step {
            self.measured = (step, BTreeMap::new());
        }
        self.measured.1.extend(values.iter().cloned());
        self.metrics.extend(values);
    }

    /// Adds to what [`Self::measured_at`] says, unless it says so already.
    pub(super) fn note_measured(&mut self, step: u64, name: String, value: f64) {
        if self.measured.0 == step {
            self.measured.1.entry(name).or_insert(value);
        }
    }

    /// What was measured on the weights after `step`; values of earlier steps belong to other weights.
    pub(super) fn measured_at(&self, step: u64) -> BTreeMap<String, f64> {
        if self.measured.0 == step { self.measured.1.clone() } else { BTreeMap::new() }
    }

    /// A metric of the weights after `step`. A probe that is not part of every evaluation says nothing until its next turn; a
    /// training metric is as last logged.
    pub(super) fn value_after(&self, step: u64, name: &str) -> Option<f64> {
        let measured = if self.measured.0 == step { self.measured.1.get(name) } else { None };
        let is_probe = ["val/", "test/"].iter().any(|part| name.starts_with(part));
        measured.or_else(|| self.metrics.get(name).filter(|_| !is_probe)).copied()
    }

    /// Last value of every metric.
    pub(super) fn metrics(&self) -> &BTreeMap<String, f64> {
        &self.metrics
    }

    /// Seconds of training so far, those of earlier starts included.
    pub(super) fn wall_secs(&self) -> f64 {
        self.earlier_secs + self.started.elapsed().as_secs_f64()
    }

    /// Keeps a failure of this rank until the others hear of it.
    pub(super) fn fail_with(&mut self, error: TrainError) {
        self.failure.get_or_insert(error);
    }

    /// The failure that the others are to hear of now.
    pub(super) fn take_failure(&mut self) -> Option<TrainError> {
        self.failure.take()
    }
}
