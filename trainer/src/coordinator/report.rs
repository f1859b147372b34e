//! What a rank tells rank 0 before each directive.

use serde::{Deserialize, Serialize};

/// One rank's report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Samples that this rank has ready for the next step.
    pub ready_samples: u32,
    /// A signal that this rank has received.
    pub interrupt: Option<Interrupt>,
    /// Whether the gradients of the step before were finite; the same on all ranks, since it is decided after the
    /// all-reduce.
    pub last_step_finite: Option<bool>,
    /// The monitored metric, right after an evaluation.
    pub monitored: Option<f64>,
    /// Samples of the next batch that could not be read: id and reason.
    pub failed_samples: Vec<(u32, String)>,
}

/// A wish to end the run, from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Interrupt {
    /// The machine is wanted back (SIGTERM, SIGUSR1).
    Requeue,
    /// The user wants to stop (SIGINT).
    User,
}
