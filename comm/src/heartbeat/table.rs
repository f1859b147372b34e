//! Reads every rank at a moment: its slot, and whether its process runs.

use std::time::Duration;

use super::calls::Calls;
use super::clock::Moment;
use super::process::ProcessState;
use super::row::{Life, Member, Row};
use super::slot::Slot;
use super::stage::Stage;
use super::writer::Heartbeat;

/// A slot that nobody has written for longer is old. A beat comes every quarter of a second, news of other nodes every
/// second.
pub(super) const STALE: Duration = Duration::from_secs(4);

/// A process that is not in `/proc` and has not beaten for longer has ended.
const MISSED: Duration = Duration::from_secs(1);

impl Heartbeat {
    /// The calls of this rank.
    pub(super) fn own_calls(&self) -> Vec<Calls> {
        self.memory().slot(self.rank()).map(|slot| slot.calls().collect()).unwrap_or_default()
    }

    /// All ranks as this process sees them.
    pub(crate) fn rows(&self, now: Moment) -> Vec<Row> {
        let own_node = self.members().get(self.rank()).map(|member| member.node);
        let ranks = self.members().iter().enumerate();
        ranks
            .filter_map(|(rank, member)| {
                let slot = self.memory().slot(rank)?;
                Some(read(rank, member, slot, Some(member.node) == own_node, now))
            })
            .collect()
    }

    /// Those of one node.
    pub(crate) fn rows_of_node(&self, node: usize, now: Moment) -> Vec<Row> {
        self.rows(now).into_iter().filter(|row| row.member.node == node).collect()
    }
}

fn read(rank: usize, member: &Member, slot: &Slot, is_here: bool, now: Moment) -> Row {
    let beat_age = slot.last_beat().age(now);
    let (stage, since) = slot.stage();
    let process = if is_here { ProcessState::of(member.process) } else { slot.process() };
    let heard_age = if is_here { None } else { slot.last_heard().age(now) };
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
        step: slot.step(),
        channels: slot.calls().collect(),
        heard_age: heard_age.unwrap_or_default(),
        now,
    }
}
