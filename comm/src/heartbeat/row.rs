//! What is known about a rank at a moment, as a value.

use std::time::Duration;

use super::calls::{Calls, ChannelId};
use super::clock::Moment;
use super::process::{ProcessId, ProcessState};
use super::stage::Stage;

/// What does not change about a rank.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Member {
    pub host: String,
    /// Index of its node.
    pub node: usize,
    pub process: ProcessId,
}

/// A rank at a moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Row {
    pub rank: usize,
    pub member: Member,
    pub life: Life,
    /// State of its process, as its own node sees it.
    pub process: ProcessState,
    /// Since the last beat; `None` before the first one.
    pub beat_age: Option<Duration>,
    pub stage: Stage,
    /// Time in the stage.
    pub stage_age: Duration,
    pub step: Option<u64>,
    pub channels: Vec<Calls>,
    /// Since the last news of its node; zero on its own node.
    pub heard_age: Duration,
    /// When it was read, for the ages of calls.
    pub now: Moment,
}

/// Whether a rank can still do something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Life {
    /// It beats.
    #[default]
    Alive,
    /// Nothing was ever heard: it has no slot that this process can see.
    Unknown,
    /// Its process was stopped.
    Stopped,
    /// Its process has ended.
    Gone,
    /// Its process is there and does not beat: frozen, or starved.
    Still,
    /// Its node has not been heard of for that long.
    Silent(Duration),
    /// It has left in good order.
    Finished,
}

impl Row {
    /// The calls of one communicator.
    pub fn calls(&self, id: ChannelId) -> Option<&Calls> {
        self.channels.iter().find(|calls| calls.id == id)
    }

    /// Whether it has begun call `number` of a communicator.
    pub fn has_begun(&self, id: ChannelId, number: u64) -> bool {
        self.calls(id).is_some_and(|calls| calls.begun >= number)
    }

    /// Whether it waits for others.
    pub fn is_waiting(&self) -> bool {
        self.channels.iter().any(Calls::is_waiting)
    }

    /// Whether it is doing work that may take long, rather than waiting for others that do.
    pub fn is_at_slow_work(&self) -> bool {
        self.life == Life::Alive && self.stage.is_slow() && !self.is_waiting()
    }

    /// Time since anything was noted.
    pub fn last_change(&self) -> Duration {
        let calls = self.channels.iter().filter_map(|calls| calls.since.age(self.now));
        calls.fold(self.stage_age, Duration::min)
    }
}
