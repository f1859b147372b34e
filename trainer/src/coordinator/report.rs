//! What a rank tells rank 0 before each directive.

use serde::{Deserialize, Serialize};

use crate::alarms::Judgement;

/// One rank's report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Samples that this rank has ready for the next step.
    pub ready_samples: u32,
    /// A stop request that has reached this rank: a signal, the time limit, `dtrain stop`.
    pub interrupt: Option<Interrupt>,
    /// Whether the gradients of the step before were finite; the same on all ranks, since it is decided after the
    /// all-reduce.
    pub last_step_finite: Option<bool>,
    /// The metric that names the best checkpoint, right after an evaluation.
    pub monitored: Option<f64>,
    /// The metric that early stopping watches, right after an evaluation.
    pub watched: Option<f64>,
    /// What the rules of alarms say of what was recorded since the last report.
    pub alarms: Vec<Judgement>,
    /// Samples of the next batch that could not be read: id and reason.
    pub failed_samples: Vec<(u32, String)>,
}

/// A request to end the run, from outside; the later of the two is the stronger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Interrupt {
    /// The machine is wanted back (SIGTERM, SIGUSR1, the time limit, `dtrain stop --requeue`).
    Requeue,
    /// The user wants to stop (SIGINT, `dtrain stop`).
    User,
}
