//! What is said when a collective has waited for too long.

use std::fmt::{self, Write};

use super::calls::{Calls, ChannelId};
use super::diagnosis::{Standing, culprits, secs};
use super::operation::Operation;
use super::row::Row;
use super::wait_tracker::{Limits, Wait};

/// Rows of a table before those that have arrived are only counted.
const MAX_ROWS: usize = 32;

const HEADER: [&str; 8] = ["rank", "host", "pid", "state", "stage", "step", "collective", "since"];

/// A collective that has waited longer than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Whether this rank tells the person; the others only end.
    pub speaks: bool,
    /// The waiting rank.
    pub rank: usize,
    /// Number of ranks.
    pub world_size: usize,
    /// Who keeps it waiting, one sentence each.
    pub culprits: Vec<String>,
    /// The call, and how long it has lasted.
    pub wait: String,
    /// Key of the setting that limits it.
    pub limit_key: &'static str,
    /// All ranks: who has arrived, and what the others do.
    pub table: String,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n\n{}", self.culprits.join("\n"), self.wait, self.table)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Most runs have one of each kind; more are told apart.
        match self.number {
            0..=1 => f.write_str(self.purpose.name()),
            number => write!(f, "{} {number}", self.purpose.name()),
        }
    }
}

impl Stall {
    pub(super) fn new(rows: &[Row], wait: &Wait, rank: usize, limits: Limits, speaks: bool) -> Self {
        let world_size = rows.len();
        let Wait { id, number, operation, waited } = wait;
        let called = operation.name();
        Self {
            speaks,
            rank,
            world_size,
            culprits: culprits(rows, wait, rank, limits.slow),
            wait: format!(
                "{called} (call {number} of {id}) on rank {rank} of {world_size} has waited {}",
                secs(*waited)
            ),
            limit_key: match operation {
                Operation::Connect => "comm.connect_timeout_secs",
                _ => "comm.timeout_secs",
            },
            table: table(rows, wait),
        }
    }
}

/// One line for each rank; of a large world only those that have not arrived.
fn table(rows: &[Row], wait: &Wait) -> String {
    let is_shown = |row: &&Row| rows.len() <= MAX_ROWS || Standing::of(row, wait) != Standing::Arrived;
    let shown: Vec<&Row> = rows.iter().filter(is_shown).take(MAX_ROWS).collect();
    let mut lines = vec![HEADER.map(str::to_owned)];
    lines.extend(shown.iter().map(|row| line(row, wait)));
    let mut widths = [0; HEADER.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut row = String::new();
        for (index, (cell, width)) in line.iter().zip(widths).enumerate() {
            let is_number = [0, 2, 5, 7].contains(&index);
            let gap = if index == 0 { "" } else { "  " };
            let written = if is_number {
                write!(row, "{gap}{cell:>width$}")
            } else {
                write!(row, "{gap}{cell:<width$}")
            };
            // Writing to a string does not fail.
            let _ = written;
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    let hidden = rows.len() - shown.len();
    if hidden > 0 {
        text.push_str(&format!("and {hidden} more ranks\n"));
    }
    text.truncate(text.trim_end().len());
    text
}

fn line(row: &Row, wait: &Wait) -> [String; HEADER.len()] {
    let standing = Standing::of(row, wait);
    if standing == Standing::Unknown {
        let dash = || "-".to_owned();
        let (host, pid) = (row.member.host.clone(), row.member.process.pid.to_string());
        return [row.rank.to_string(), host, pid, standing.name().to_owned(), dash(), dash(), dash(), dash()];
    }
    [
        row.rank.to_string(),
        row.member.host.clone(),
        row.member.process.pid.to_string(),
        standing.name().to_owned(),
        row.stage.name().to_owned(),
        row.step.map_or_else(|| "-".to_owned(), |step| step.to_string()),
        collective(row, wait),
        secs(row.last_change()),
    ]
}

/// Where it stands on the communicator in question, or in which other call it waits.
fn collective(row: &Row, wait: &Wait) -> String {
    let here = row.calls(wait.id);
    if let Some(other) = row.channels.iter().find(|calls| calls.is_waiting())
        && !here.is_some_and(Calls::is_waiting)
    {
        return format!("in {}, call {} of {}", other.operation.name(), other.number(), other.id);
    }
    match here {
        Some(calls) if calls.is_waiting() => {
            format!("in {}, call {}", calls.operation.name(), calls.number())
        }
        // How calls end that go on by themselves is seen later, and their names are not kept.
        Some(calls) if calls.ended > 0 && calls.operation == Operation::Unknown => {
            format!("after call {}", calls.ended)
        }
        Some(calls) if calls.ended > 0 => format!("after {}, call {}", calls.operation.name(), calls.ended),
        _ => "none yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::clock::Moment;
    use super::super::operation::Purpose;
    use super::super::process::{ProcessId, ProcessState};
    use super::super::row::{Life, Member};
    use super::super::stage::Stage;
    use super::*;

    const LIMITS: Limits = Limits {
        ordinary: Duration::from_secs(10),
        slow: Duration::from_secs(3600),
        connect: Duration::from_secs(10),
    };
    const TENSORS: ChannelId = ChannelId { purpose: Purpose::Tensors, number: 1 };

    fn now() -> Moment {
        Moment::from_start(Duration::from_secs(5000))
    }

    fn ago(secs: f64) -> Moment {
        now().before(Duration::from_secs_f64(secs))
    }

    fn calls(begun: u64, ended: u64, operation: Operation, secs: f64) -> Calls {
        Calls { id: ChannelId::default(), begun, ended, operation, since: ago(secs) }
    }

    fn row(rank: usize, life: Life, stage: Stage, secs: f64, channels: Vec<Calls>) -> Row {
        let member = Member {
            host: format!("n{:02}", rank / 2),
            node: rank / 2,
            process: ProcessId { pid: 4711 + rank as u32, start: 1 },
        };
        Row {
            rank,
            member,
            life,
            process: ProcessState::Running,
            beat_age: Some(Duration::from_secs_f64(if life == Life::Alive { 0.1 } else { secs })),
            stage,
            stage_age: Duration::from_secs_f64(secs),
            step: Some(41),
            channels,
            heard_age: Duration::ZERO,
            now: now(),
        }
    }

    fn waiting(rank: usize, secs: f64) -> Row {
        row(rank, Life::Alive, Stage::Reporting, secs, vec![calls(124, 123, Operation::AllGather, secs)])
    }

    fn done(life: Life, rank: usize, stage: Stage, secs: f64) -> Row {
        row(rank, life, stage, secs, vec![calls(123, 123, Operation::AllReduce, secs + 0.5)])
    }

    fn said(rows: &[Row]) -> String {
        let wait = Wait {
            id: ChannelId::default(),
            number: 124,
            operation: Operation::AllGather,
            waited: Duration::from_secs_f64(10.1),
        };
        let own = super::super::diagnosis::speaker(rows).unwrap();
        Stall::new(rows, &wait, own, LIMITS, true).to_string()
    }

    #[test]
    fn a_stopped_rank_is_named() {
        let rows = [waiting(0, 10.1), waiting(1, 10.2), done(Life::Stopped, 2, Stage::Forward, 12.3)];
        insta::assert_snapshot!(said(&rows), @r"
        rank 2 has not arrived: stopped (SIGSTOP), last seen in forward, step 41, 12.3 s ago
        all_gather (call 124 of control) on rank 0 of 3 has waited 10.1 s

        rank  host   pid  state    stage      step  collective                   since
           0  n00   4711  arrived  reporting    41  in all_gather, call 124     10.1 s
           1  n00   4712  arrived  reporting    41  in all_gather, call 124     10.2 s
           2  n01   4713  stopped  forward      41  after all_reduce, call 123  12.3 s
        ");
    }

    #[test]
    fn a_rank_zero_that_is_gone_is_named_by_another() {
        insta::assert_snapshot!(said(&[done(Life::Gone, 0, Stage::Update, 12.3), waiting(1, 10.1)]), @r"
        rank 0 is gone: process 4711 on n00 has ended, last seen in optimizer, step 41, 12.3 s ago
        all_gather (call 124 of control) on rank 1 of 2 has waited 10.1 s

        rank  host   pid  state         stage      step  collective                   since
           0  n00   4711  process gone  optimizer    41  after all_reduce, call 123  12.3 s
           1  n00   4712  arrived       reporting    41  in all_gather, call 124     10.1 s
        ");
    }

    #[test]
    fn a_rank_that_works_for_too_long_is_named_with_its_stage() {
        let mut disk = done(Life::Alive, 1, Stage::Data, 11.0);
        disk.process = ProcessState::Disk;
        insta::assert_snapshot!(said(&[waiting(0, 10.1), disk, done(Life::Alive, 2, Stage::Device, 11.5)]), @r"
        rank 1 has not arrived: waiting for a batch, step 41, for 11.0 s, in a system call to a disk or a network file system
        rank 2 has not arrived: waiting for the device, step 41, for 11.5 s
        all_gather (call 124 of control) on rank 0 of 3 has waited 10.1 s

        rank  host   pid  state        stage                   step  collective                   since
           0  n00   4711  arrived      reporting                 41  in all_gather, call 124     10.1 s
           1  n00   4712  NOT ARRIVED  waiting for a batch       41  after all_reduce, call 123  11.0 s
           2  n01   4713  NOT ARRIVED  waiting for the device    41  after all_reduce, call 123  11.5 s
        ");
    }

    #[test]
    fn slow_work_beyond_its_limit_is_named_with_the_setting() {
        insta::assert_snapshot!(said(&[done(Life::Alive, 0, Stage::Saving, 3601.0), waiting(1, 3600.5)]), @r"
        rank 0 has not arrived: saving, step 41, for 3601.0 s, which is longer than `comm.slow_work_timeout_secs`
        all_gather (call 124 of control) on rank 1 of 2 has waited 10.1 s

        rank  host   pid  state        stage      step  collective                     since
           0  n00   4711  NOT ARRIVED  saving       41  after all_reduce, call 123  3601.0 s
           1  n00   4712  arrived      reporting    41  in all_gather, call 124     3600.5 s
        ");
    }

    #[test]
    fn a_silent_node_is_named_once() {
        let silent = Life::Silent(Duration::from_secs_f64(7.2));
        let rows = [
            waiting(0, 10.1),
            waiting(1, 10.1),
            done(silent, 2, Stage::Forward, 9.0),
            done(silent, 3, Stage::Forward, 9.0),
        ];
        insta::assert_snapshot!(said(&rows), @r"
        ranks 2-3 on n01 (node 1) not heard of for 7.2 s
        all_gather (call 124 of control) on rank 0 of 4 has waited 10.1 s

        rank  host   pid  state        stage      step  collective                   since
           0  n00   4711  arrived      reporting    41  in all_gather, call 124     10.1 s
           1  n00   4712  arrived      reporting    41  in all_gather, call 124     10.1 s
           2  n01   4713  node silent  forward      41  after all_reduce, call 123   9.0 s
           3  n01   4714  node silent  forward      41  after all_reduce, call 123   9.0 s
        ");
    }

    /// News of the other nodes pass through the node of rank 0, which is the one that is lost.
    #[test]
    fn only_the_node_of_rank_zero_is_blamed_when_it_is_silent() {
        let silent = Life::Silent(Duration::from_secs_f64(7.2));
        let rows = [
            done(silent, 0, Stage::Forward, 9.0),
            done(silent, 1, Stage::Forward, 9.0),
            waiting(2, 10.1),
            waiting(3, 10.1),
            done(silent, 4, Stage::Forward, 9.0),
        ];
        insta::assert_snapshot!(said(&rows), @r"
        ranks 0-1 on n00 (node 0) not heard of for 7.2 s
        all_gather (call 124 of control) on rank 2 of 5 has waited 10.1 s

        rank  host   pid  state        stage      step  collective                   since
           0  n00   4711  node silent  forward      41  after all_reduce, call 123   9.0 s
           1  n00   4712  node silent  forward      41  after all_reduce, call 123   9.0 s
           2  n01   4713  arrived      reporting    41  in all_gather, call 124     10.1 s
           3  n01   4714  arrived      reporting    41  in all_gather, call 124     10.1 s
           4  n02   4715  node silent  forward      41  after all_reduce, call 123   9.0 s
        ");
    }

    #[test]
    fn ranks_that_call_different_things_are_named() {
        let mut other = waiting(1, 10.0);
        other.channels = vec![calls(124, 123, Operation::Barrier, 10.0)];
        insta::assert_snapshot!(said(&[waiting(0, 10.1), other]), @r"
        the ranks have parted ways: rank 0 waits in all_gather (call 124 of control), rank 1 in barrier (call 124 of control)
        all_gather (call 124 of control) on rank 0 of 2 has waited 10.1 s

        rank  host   pid  state    stage      step  collective                since
           0  n00   4711  arrived  reporting    41  in all_gather, call 124  10.1 s
           1  n00   4712  arrived  reporting    41  in barrier, call 124     10.0 s
        ");
    }

    #[test]
    fn ranks_that_wait_on_different_communicators_are_named() {
        let mut other = done(Life::Alive, 1, Stage::Backward, 10.0);
        other.channels.push(Calls { id: TENSORS, ..calls(7, 6, Operation::AllReduce, 10.0) });
        insta::assert_snapshot!(said(&[waiting(0, 10.1), other]), @r"
        the ranks have parted ways: rank 0 waits in all_gather (call 124 of control), rank 1 in all_reduce (call 7 of tensors)
        all_gather (call 124 of control) on rank 0 of 2 has waited 10.1 s

        rank  host   pid  state        stage      step  collective                         since
           0  n00   4711  arrived      reporting    41  in all_gather, call 124           10.1 s
           1  n00   4712  NOT ARRIVED  backward     41  in all_reduce, call 7 of tensors  10.0 s
        ");
    }

    #[test]
    fn a_network_that_is_stuck_is_nobody_s_fault() {
        insta::assert_snapshot!(said(&[waiting(0, 10.1), waiting(1, 10.1)]), @r"
        all ranks have arrived, and nothing moves: the network or MPI is stuck
        all_gather (call 124 of control) on rank 0 of 2 has waited 10.1 s

        rank  host   pid  state    stage      step  collective                since
           0  n00   4711  arrived  reporting    41  in all_gather, call 124  10.1 s
           1  n00   4712  arrived  reporting    41  in all_gather, call 124  10.1 s
        ");
    }

    #[test]
    fn ranks_that_cannot_be_seen_are_said_to_be_so() {
        let unknown =
            Row { beat_age: None, channels: Vec::new(), ..done(Life::Unknown, 1, Stage::Working, 0.0) };
        insta::assert_snapshot!(said(&[waiting(0, 10.1), unknown]), @r"
        rank 1 is not visible to rank 0, and nobody else is missing
        all_gather (call 124 of control) on rank 0 of 2 has waited 10.1 s

        rank  host   pid  state        stage      step  collective                since
           0  n00   4711  arrived      reporting    41  in all_gather, call 124  10.1 s
           1  n00   4712  not visible  -             -  -                             -
        ");
    }

    #[test]
    fn of_a_large_world_only_those_who_are_missing_are_listed() {
        let mut rows: Vec<Row> = (0..100).map(|rank| waiting(rank, 10.1)).collect();
        for rank in [40, 41, 50, 60, 70, 99] {
            rows[rank] = done(Life::Stopped, rank, Stage::Forward, 12.3);
        }
        insta::assert_snapshot!(said(&rows), @r"
        rank 40 has not arrived: stopped (SIGSTOP), last seen in forward, step 41, 12.3 s ago
        rank 41 has not arrived: stopped (SIGSTOP), last seen in forward, step 41, 12.3 s ago
        rank 50 has not arrived: stopped (SIGSTOP), last seen in forward, step 41, 12.3 s ago
        rank 60 has not arrived: stopped (SIGSTOP), last seen in forward, step 41, 12.3 s ago
        and 2 more
        all_gather (call 124 of control) on rank 0 of 100 has waited 10.1 s

        rank  host   pid  state    stage    step  collective                   since
          40  n20   4751  stopped  forward    41  after all_reduce, call 123  12.3 s
          41  n20   4752  stopped  forward    41  after all_reduce, call 123  12.3 s
          50  n25   4761  stopped  forward    41  after all_reduce, call 123  12.3 s
          60  n30   4771  stopped  forward    41  after all_reduce, call 123  12.3 s
          70  n35   4781  stopped  forward    41  after all_reduce, call 123  12.3 s
          99  n49   4810  stopped  forward    41  after all_reduce, call 123  12.3 s
        and 94 more ranks
        ");
    }
}
