//! What is known about every rank at a moment: its page, and whether its process runs.

use std::time::Duration;

use super::clock::Moment;
use super::page::{Calls, ChannelId, Page};
use super::process::{ProcessId, ProcessState};
use super::pulse::Heartbeat;
use super::stage::Stage;

/// A page that nobody has written for longer is old. A beat comes every quarter of a second, news of other nodes every
/// second.
pub(super) const STALE: Duration = Duration::from_secs(4);

/// A process that is not in `/proc` and has not beaten for longer has ended.
const MISSED: Duration = Duration::from_secs(1);

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
    /// Nothing was ever heard: it has no page that this process can see.
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

impl Heartbeat {
    /// The calls of this rank.
    pub(super) fn own_calls(&self) -> Vec<Calls> {
        self.memory().page(self.rank()).map(|page| page.calls().collect()).unwrap_or_default()
    }

    /// All ranks as this process sees them.
    pub(crate) fn rows(&self, now: Moment) -> Vec<Row> {
        let own_node = self.members().get(self.rank()).map(|member| member.node);
        let ranks = self.members().iter().enumerate();
        ranks
            .filter_map(|(rank, member)| {
                let page = self.memory().page(rank)?;
                Some(read(rank, member, page, Some(member.node) == own_node, now))
            })
            .collect()
    }

    /// Those of one node.
    pub(crate) fn rows_of_node(&self, node: usize, now: Moment) -> Vec<Row> {
        self.rows(now).into_iter().filter(|row| row.member.node == node).collect()
    }
}

fn read(rank: usize, member: &Member, page: &Page, is_here: bool, now: Moment) -> Row {
    let beat_age = page.last_beat().age(now);
    let (stage, since) = page.stage();
    let process = if is_here { ProcessState::of(member.process) } else { page.process() };
    let heard_age = if is_here { None } else { page.last_heard().age(now) };
    let silent = heard_age.filter(|age| *age > STALE);
    let life = match (beat_age, silent) {
        _ if stage == Stage::Finished => Life::Finished,
        (None, _) => Life::Unknown,
        (_, Some(age)) => Life::Silent(age),
        _ if process == ProcessState::Stopped => Life::Stopped,
        // A process that beats is there, whatever this one may see in `/proc`.
        (Some(age), None) if process == ProcessState::Gone && age > MISSED => Life::Gone,
        (Some(age), None) if age <= STALE => Life::Alive,
        _ => Life::Still,
    };
    Row {
        rank,
        member: member.clone(),
        life,
        process,
        beat_age,
        stage,
        stage_age: since.age(now).unwrap_or_default(),
        step: page.step(),
        channels: page.calls().collect(),
        heard_age: heard_age.unwrap_or_default(),
        now,
    }
}
