//! How long this rank has waited in which call, and when that is too long. Values in, verdict out: no clock, no thread.

use std::time::Duration;

use super::calls::{Calls, ChannelId};
use super::clock::Moment;
use super::operation::Operation;
use super::row::{Life, Row};

/// The most that may count between two looks: a process that was stopped, or a machine that slept, has not waited
/// meanwhile, and neither have the others.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// A process that is gone never comes. The launcher is given this long to notice and to end the job itself.
const GONE: Duration = Duration::from_secs(5);

/// How long is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// For ordinary waits.
    pub ordinary: Duration,
    /// For slow work that was announced.
    pub slow: Duration,
    /// For connecting, which all ranks do together.
    pub connect: Duration,
}

impl Limits {
    /// For a wait in `operation`.
    fn of(&self, operation: Operation) -> Duration {
        if operation == Operation::Connect { self.connect } else { self.ordinary }
    }
}

/// The call in which this rank waits longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub id: ChannelId,
    pub number: u64,
    pub operation: Operation,
    /// As far as this rank has looked on.
    pub waited: Duration,
}

/// Looks at the calls of this rank from time to time.
#[derive(Debug)]
pub(super) struct WaitTracker {
    limits: Limits,
    last_look: Option<Moment>,
    /// The calls under way at the last look.
    known: Vec<Known>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    wait: Wait,
    /// What it had waited when somebody was last seen at slow work.
    excused: Duration,
}

impl WaitTracker {
    pub fn new(limits: Limits) -> Self {
        Self { limits, last_look: None, known: Vec::new() }
    }

    /// The longest wait, if it is too long. `rows` is asked for once a wait is worth the trouble.
    pub fn look(
        &mut self,
        calls: &[Calls],
        now: Moment,
        rows: impl FnOnce() -> Vec<Row>,
    ) -> Option<(Wait, Vec<Row>)> {
        let passed = self.last_look.and_then(|last| last.age(now)).unwrap_or_default().min(LONGEST_LOOK);
        self.last_look = Some(now);
        let known = std::mem::take(&mut self.known);
        let waiting = calls.iter().filter(|calls| calls.is_waiting());
        self.known = waiting.map(|calls| Known::of(calls, &known, passed)).collect();
        let limits = self.limits;
        let longest = self.known.iter_mut().max_by_key(|known| known.wait.waited)?;
        let wait = longest.wait;
        let limit = limits.of(wait.operation);
        if wait.waited <= limit.min(GONE) {
            return None;
        }
        let rows = rows();
        let is_gone = rows.iter().any(|row| row.life == Life::Gone);
        if !is_gone && wait.waited <= limit {
            return None;
        }
        if !is_gone && is_excused(&rows, &wait, limits) {
            longest.excused = wait.waited;
        }
        let is_too_slow = rows.iter().any(|row| row.is_at_slow_work() && row.stage_age > limits.slow);
        let waited = wait.waited.saturating_sub(longest.excused);
        (is_gone || is_too_slow || waited > limit).then_some((wait, rows))
    }
}

impl Known {
    fn of(calls: &Calls, before: &[Self], passed: Duration) -> Self {
        let (id, number, operation) = (calls.id, calls.number(), calls.operation);
        let same = before.iter().find(|known| known.wait.id == id && known.wait.number == number);
        let waited = same.map_or(Duration::ZERO, |known| known.wait.waited + passed);
        let excused = same.map_or(Duration::ZERO, |known| known.excused);
        Self { wait: Wait { id, number, operation, waited }, excused }
    }
}

/// Whether the wait is for slow work that goes on or for a rank that still connects, with nobody lost.
fn is_excused(rows: &[Row], wait: &Wait, limits: Limits) -> bool {
    let is_lost = |row: &Row| matches!(row.life, Life::Stopped | Life::Gone | Life::Still | Life::Silent(_));
    let connects = |row: &Row| {
        let age = |calls: &Calls| calls.since.age(row.now).unwrap_or_default();
        row.channels.iter().any(|calls| {
            calls.is_waiting() && calls.operation == Operation::Connect && age(calls) <= limits.connect
        })
    };
    let works = |row: &Row| row.is_at_slow_work() && row.stage_age <= limits.slow;
    let is_awaited = |row: &Row| !row.has_begun(wait.id, wait.number) && (works(row) || connects(row));
    rows.iter().any(is_awaited) && !rows.iter().any(is_lost)
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;

    const LIMITS: Limits = Limits {
        ordinary: Duration::from_secs(10),
        slow: Duration::from_secs(100),
        connect: Duration::from_secs(50),
    };

    fn at(secs: u64) -> Moment {
        Moment::from_start(Duration::from_secs(1000 + secs))
    }

    fn call(begun: u64, ended: u64) -> Vec<Calls> {
        vec![Calls { begun, ended, operation: Operation::Barrier, ..Calls::default() }]
    }

    fn waited(secs: u64, number: u64) -> Wait {
        let operation = Operation::Barrier;
        Wait { id: ChannelId::default(), number, operation, waited: Duration::from_secs(secs) }
    }

    /// Another rank that has not come.
    fn other(stage: Stage, life: Life, stage_secs: u64) -> Vec<Row> {
        let stage_age = Duration::from_secs(stage_secs);
        vec![Row { rank: 1, life, stage, stage_age, ..Row::default() }]
    }

    /// What the tracker says at each of `secs`, given what the other rank does then.
    fn verdicts(
        tracker: &mut WaitTracker,
        secs: impl IntoIterator<Item = u64>,
        other: impl Fn(u64) -> Vec<Row>,
    ) -> Option<u64> {
        secs.into_iter().find(|&sec| tracker.look(&call(1, 0), at(sec), || other(sec)).is_some())
    }

    #[test]
    fn only_a_single_call_that_lasts_longer_than_the_limit_is_stuck() {
        let mut tracker = WaitTracker::new(LIMITS);
        // A call per second, each shorter than the limit although one is always under way.
        for secs in 0..30 {
            assert_eq!(
                tracker.look(&call(secs + 1, secs), at(secs), || other(Stage::Forward, Life::Alive, 0)),
                None
            );
        }
        let rows = || other(Stage::Forward, Life::Alive, 0);
        for secs in 30..=40 {
            assert_eq!(tracker.look(&call(31, 30), at(secs), rows), None, "{secs}");
        }
        let stuck = tracker.look(&call(31, 30), at(41), rows).unwrap();
        assert_eq!((stuck.0, stuck.1.len()), (waited(11, 31), 1));
        assert_eq!(tracker.look(&call(31, 31), at(42), rows), None);
    }

    #[test]
    fn jumps_of_the_clock_and_pauses_of_the_process_count_as_a_second() {
        let rows = |_| other(Stage::Forward, Life::Alive, 0);
        let mut tracker = WaitTracker::new(LIMITS);
        // Stopped for an hour, back by a minute, then as usual.
        let secs = (0..5).chain([3600, 3540]).chain(3541..3560);
        let stuck = verdicts(&mut tracker, secs, rows);
        // Four seconds before, one for the hour, none for the way back, six after.
        assert_eq!(stuck, Some(3546));
    }

    #[test]
    fn announced_slow_work_trips_nobody_until_its_own_limit() {
        let mut tracker = WaitTracker::new(LIMITS);
        let saving = |sec| other(Stage::Saving, Life::Alive, sec);
        assert_eq!(verdicts(&mut tracker, 0..=100, saving), None);
        assert_eq!(verdicts(&mut tracker, 101..200, saving), Some(101));
    }

    #[test]
    fn the_limit_starts_again_when_slow_work_is_done() {
        let mut tracker = WaitTracker::new(LIMITS);
        let done_at_50 = |sec| match sec {
            0..=50 => other(Stage::Saving, Life::Alive, sec),
            _ => other(Stage::Forward, Life::Alive, sec - 51),
        };
        assert_eq!(verdicts(&mut tracker, 0..200, done_at_50), Some(61));
    }

    #[test]
    fn slow_work_of_a_process_that_is_stopped_is_none() {
        let mut tracker = WaitTracker::new(LIMITS);
        let stopped_at_20 =
            |sec| other(Stage::Saving, if sec < 20 { Life::Alive } else { Life::Stopped }, sec);
        assert_eq!(verdicts(&mut tracker, 0..200, stopped_at_20), Some(30));
    }

    #[test]
    fn connecting_has_a_limit_of_its_own_for_who_connects_and_for_who_waits_for_that() {
        let connect = |id, sec| Calls {
            id,
            begun: 1,
            operation: Operation::Connect,
            since: at(0),
            ..call(sec, sec)[0]
        };
        let connecting = |now: u64| {
            let nccl = ChannelId { number: 1, ..ChannelId::default() };
            let row = Row { channels: vec![connect(nccl, 0)], now: at(now), ..Row::default() };
            vec![Row { rank: 1, life: Life::Alive, stage: Stage::Connecting, ..row }]
        };
        let mut own = WaitTracker::new(LIMITS);
        let calls = [connect(ChannelId::default(), 0)];
        let stuck = (0..200).find(|&sec| own.look(&calls, at(sec), || connecting(sec)).is_some());
        assert_eq!(stuck, Some(51));
        // In another call, for a rank that still connects: excused until that one's limit, then the ordinary one counts.
        assert_eq!(verdicts(&mut WaitTracker::new(LIMITS), 0..200, connecting), Some(61));
    }

    #[test]
    fn nobody_waits_long_for_a_process_that_is_gone() {
        let mut tracker = WaitTracker::new(LIMITS);
        let gone = |_| other(Stage::Forward, Life::Gone, 0);
        assert_eq!(verdicts(&mut tracker, 0..200, gone), Some(6));
    }
}
