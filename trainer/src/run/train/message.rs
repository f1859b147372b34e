//! Messages between ranks before each directive.

use serde::{Deserialize, Serialize};

use crate::checkpoint::FrameKind;
use crate::coordinator::Report;
use crate::run::agree::Told;

/// From every rank to rank 0.
pub(crate) const REPORT: FrameKind = FrameKind { name: "report", tag: *b"REPT", version: 3 };
/// From rank 0 to all.
pub(crate) const DIRECTIVE: FrameKind = FrameKind { name: "directive", tag: *b"DIRV", version: 3 };

/// What a rank says before each directive.
#[derive(Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) report: Report,
    /// Why it cannot go on.
    pub(crate) failure: Option<Told>,
}
