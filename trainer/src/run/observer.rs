//! What rank 0 tells the person in front of it; the terminal layer implements it.

use std::path::Path;

use super::Banner;
use crate::coordinator::StopReason;
use crate::eval::Evaluation;

/// Where the run stands, after a step.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: u64,
    /// Optimizer steps of the run.
    pub total_steps: u64,
    /// Zero-based epoch of the step.
    pub epoch: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Loss of the global batch.
    pub loss: f64,
    /// Samples per second of the last steps, over all ranks.
    pub samples_per_sec: f64,
    /// Whether metrics of this step were logged.
    pub logged: bool,
}

/// Hears what happens.
pub trait Observer {
    /// Before the first step.
    fn started(&mut self, banner: &Banner);
    /// After each step.
    fn stepped(&mut self, progress: &Progress);
    /// After an evaluation; `last` at the end of the run.
    fn evaluated(&mut self, evaluation: &Evaluation, step: u64, last: bool);
    /// A checkpoint is durable.
    fn saved(&mut self, path: &Path, step: u64);
    /// The loop has ended.
    fn ended(&mut self, reason: &StopReason);
}

/// Hears nothing: ranks other than 0, and tests.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn started(&mut self, _: &Banner) {}
    fn stepped(&mut self, _: &Progress) {}
    fn evaluated(&mut self, _: &Evaluation, _: u64, _: bool) {}
    fn saved(&mut self, _: &Path, _: u64) {}
    fn ended(&mut self, _: &StopReason) {}
}
