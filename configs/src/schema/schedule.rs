//! How the learning rate moves.

use serde::{Deserialize, Serialize};

/// The learning rate over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Shape after the warm-up.
    pub kind: ScheduleKind,
    /// Epochs of linear warm-up from 0 (may be a fraction).
    pub warmup_epochs: f64,
    /// `cosine`: learning rate at the end as a fraction of the peak.
    pub final_lr_fraction: f64,
    /// `step`: epochs between two steps.
    pub step_epochs: u64,
    /// `step`: factor of a step.
    pub gamma: f64,
    /// How the learning rate follows `trainer.batch_size`, against `reference_batch`.
    pub lr_scaling: LrScaling,
    /// Samples of the batch for which `optimizer.lr` is meant; matters where `lr_scaling` is not `none`.
    pub reference_batch: usize,
    /// What a schedule that ends with the run, and phases that share its steps, do when `dtrain resume` gives the run
    /// another length. Without a word such a run is refused. A word is about the start that it is typed for; what it led to
    /// is `made_for`.
    pub length: Option<ScheduleLength>,
    /// Lengths that schedule and phases are computed for, each from a step on; empty: that of the run. Written by
    /// `schedule.length` when a run goes on; no need to set it.
    pub made_for: Vec<MadeFor>,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            kind: ScheduleKind::Cosine,
            warmup_epochs: 0.0,
            final_lr_fraction: 0.0,
            step_epochs: 10,
            gamma: 0.1,
            lr_scaling: LrScaling::None,
            reference_batch: 256,
            length: None,
            made_for: Vec::new(),
        }
    }
}

/// What becomes of a schedule when its run gets another length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleLength {
    /// It keeps the length that it was made for: it goes on to its old end and stays at its last value from there on. Phases
    /// keep their steps, and the last one goes on.
    Keep,
    /// From the step at which the run goes on it is that of a run which had the new length from the beginning; the learning
    /// rate jumps there. So are phases.
    New,
}

impl ScheduleLength {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            ScheduleLength::Keep => "keep",
            ScheduleLength::New => "new",
        }
    }
}

/// A length of the run that schedule and phases are computed for, in the words of `trainer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MadeFor {
    /// First step that it holds for, counted from 0 over the whole run.
    pub from_step: u64,
    /// `trainer.max_epochs` of that length.
    pub max_epochs: Option<u64>,
    /// `trainer.max_steps` of that length.
    pub max_steps: Option<u64>,
}

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine down to the final fraction.
    Cosine,
    /// Stays at the peak.
    Constant,
    /// Falls by the factor `gamma` every `step_epochs` epochs, counted from the beginning (PyTorch's `StepLR`).
    Step,
}

/// How the learning rate follows the global batch B, with reference batch R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LrScaling {
    /// The learning rate is `optimizer.lr`, whatever the batch.
    None,
    /// lr * B / R, as is usual for SGD and LARS (Goyal et al. 2017).
    Linear,
    /// lr * sqrt(B / R), as is usual for Adam.
    Sqrt,
}
