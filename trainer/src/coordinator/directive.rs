//! What all ranks are told to do.

use dtrain_configs::schema::Alarm;
use serde::{Deserialize, Serialize};

use super::Interrupt;

/// One decision of rank 0, heard by all ranks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Directive {
    /// One optimizer step.
    Step(StepPlan),
    /// Probe the embedding.
    Evaluate {
        /// Optimizer steps done.
        step: u64,
        /// Whether the run ends here: all probes on all parts.
        last: bool,
    },
    /// Write a checkpoint.
    Save {
        /// Optimizer steps done.
        step: u64,
        /// Why.
        kind: SaveKind,
    },
    /// End the loop.
    Stop(StopReason),
}

impl Directive {
    /// The step it belongs to, for log lines; `None` at the end.
    pub fn step(&self) -> Option<u64> {
        match self {
            Directive::Step(plan) => Some(plan.step),
            Directive::Evaluate { step, .. } | Directive::Save { step, .. } => Some(*step),
            Directive::Stop(_) => None,
        }
    }
}

/// An optimizer step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// Zero-based number of the step.
    pub step: u64,
    /// Zero-based epoch.
    pub epoch: u64,
    /// Zero-based phase: what is trained and how.
    pub phase: u32,
    /// Samples that each rank brings; samples that could not be read are not among them.
    pub counts: Vec<u32>,
    /// Their sum.
    pub global_samples: u64,
}

impl StepPlan {
    /// Position of a rank's first sample in the global batch.
    pub fn offset(&self, rank: usize) -> u64 {
        self.counts.iter().take(rank).map(|&n| u64::from(n)).sum()
    }
}

/// Why a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaveKind {
    /// It was time.
    Periodic,
    /// It was time for one on the fast tier, near rank 0.
    Local,
    /// The run ends here.
    Final,
}

/// Why the run ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// All steps are done.
    Finished,
    /// Ctrl-C or SIGINT.
    Interrupted,
    /// The metric of `stop.monitor` has not improved for long enough.
    EarlyStopped,
    /// An alarm was raised that stops the run.
    Alarm,
    /// An alarm was raised that takes the run back: it ends here, to go on from a checkpoint of before.
    Rollback(Cause),
    /// SIGTERM, SIGUSR1 or the time limit: the machine is wanted back; saved, to be continued.
    Requeue,
    /// Too many non-finite steps in a row.
    NonFinite,
}

/// Why a run goes back, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Whose rule.
    pub alarm: Alarm,
    /// Step at which its evidence began.
    pub since: u64,
    /// Steps done.
    pub step: u64,
    /// Step of the newest checkpoint of weights that count as healthy.
    pub to_step: u64,
}

impl StopReason {
    /// As written to `result.json`.
    pub fn as_str(&self) -> &'static str {
        match self {
            StopReason::Finished => "finished",
            StopReason::EarlyStopped => "early_stopped",
            StopReason::Alarm => "alarm",
            StopReason::Rollback(_) => "rollback",
            StopReason::Interrupted => "interrupted",
            StopReason::Requeue => "requeue",
            StopReason::NonFinite => "non_finite",
        }
    }
}

impl From<Interrupt> for StopReason {
    fn from(interrupt: Interrupt) -> Self {
        match interrupt {
            Interrupt::User => StopReason::Interrupted,
            Interrupt::Requeue => StopReason::Requeue,
        }
    }
}
