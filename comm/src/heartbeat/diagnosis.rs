//! Who keeps the others waiting. Rows in, names out.

use std::time::Duration;

use super::calls::ChannelId;
use super::process::ProcessState;
use super::row::{Life, Row};
use super::wait_tracker::Wait;
use super::writer::LastStage;
use crate::agree::rank_list;

/// Sentences before the rest is only counted.
const MAX_SENTENCES: usize = 4;

/// How a rank stands to the call that another one waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Arrived,
    NotArrived,
    Stopped,
    Gone,
    Still,
    Silent,
    Unknown,
    Finished,
}

impl Standing {
    pub fn of(row: &Row, wait: &Wait) -> Self {
        match row.life {
            Life::Stopped => Self::Stopped,
            Life::Gone => Self::Gone,
            Life::Still => Self::Still,
            Life::Silent(_) => Self::Silent,
            Life::Unknown => Self::Unknown,
            Life::Finished => Self::Finished,
            Life::Alive if row.has_begun(wait.id, wait.number) => Self::Arrived,
            Life::Alive => Self::NotArrived,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::NotArrived => "NOT ARRIVED",
            Self::Stopped => "stopped",
            Self::Gone => "process gone",
            Self::Still => "no heartbeat",
            Self::Silent => "node silent",
            Self::Unknown => "not visible",
            Self::Finished => "finished",
        }
    }
}

/// The rank that tells the person: the lowest one that waits and lives.
pub(super) fn speaker(rows: &[Row]) -> Option<usize> {
    rows.iter().find(|row| row.life == Life::Alive && row.is_waiting()).map(|row| row.rank)
}

/// Whether news of other nodes cannot come, since they pass through the node of rank 0.
pub(super) fn is_cut_off(rows: &[Row], own_rank: usize) -> bool {
    let node_of = |rank: usize| rows.iter().find(|row| row.rank == rank).map(|row| row.member.node);
    let hub_is_silent = rows.first().is_some_and(|row| matches!(row.life, Life::Silent(_)));
    hub_is_silent && node_of(own_rank) != node_of(0)
}

/// One sentence for each rank or node that keeps `own_rank` waiting.
pub(super) fn culprits(rows: &[Row], wait: &Wait, own_rank: usize, slow: Duration) -> Vec<String> {
    let hub = rows.first().map(|row| row.member.node).filter(|_| is_cut_off(rows, own_rank));
    let is_lost = |row: &&Row| match row.life {
        Life::Stopped | Life::Gone | Life::Still => true,
        Life::Silent(_) => hub.is_none_or(|hub| row.member.node == hub),
        Life::Alive | Life::Unknown | Life::Finished => false,
    };
    let lost: Vec<&Row> = rows.iter().filter(is_lost).collect();
    if !lost.is_empty() {
        return shortened(lost_sentences(&lost, wait));
    }
    let is_absent = |row: &&Row| Standing::of(row, wait) == Standing::NotArrived && !row.is_waiting();
    let absent: Vec<String> = rows.iter().filter(is_absent).map(|row| absent_sentence(row, slow)).collect();
    if !absent.is_empty() {
        return shortened(absent);
    }
    let unknown: Vec<usize> =
        rows.iter().filter(|row| row.life == Life::Unknown).map(|row| row.rank).collect();
    if !unknown.is_empty() {
        let (who, verb) = subject(&unknown);
        return vec![format!("{who} {verb} not visible to rank {own_rank}, and nobody else is missing")];
    }
    vec![parted(rows, wait, own_rank)]
}

fn subject(ranks: &[usize]) -> (String, &'static str) {
    (rank_list(ranks), if ranks.len() == 1 { "is" } else { "are" })
}

fn shortened(mut sentences: Vec<String>) -> Vec<String> {
    let more = sentences.len().saturating_sub(MAX_SENTENCES);
    if more > 0 {
        sentences.truncate(MAX_SENTENCES);
        sentences.push(format!("and {more} more"));
    }
    sentences
}

/// A silent node is named once.
fn lost_sentences(lost: &[&Row], wait: &Wait) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut silent: Vec<usize> = Vec::new();
    for row in lost {
        let Life::Silent(age) = row.life else {
            sentences.push(lost_sentence(row, wait));
            continue;
        };
        let node = row.member.node;
        if silent.contains(&node) {
            continue;
        }
        silent.push(node);
        let ranks: Vec<usize> = lost.iter().filter(|r| r.member.node == node).map(|r| r.rank).collect();
        let (host, ranks) = (&row.member.host, rank_list(&ranks));
        sentences.push(format!("{ranks} on {host} (node {node}) not heard of for {}", secs(age)));
    }
    sentences
}

fn lost_sentence(row: &Row, wait: &Wait) -> String {
    let rank = row.rank;
    let seen = last_seen(row);
    let ago = secs(row.beat_age.unwrap_or_default());
    let member = &row.member;
    match row.life {
        Life::Gone => format!(
            "rank {rank} is gone: process {} on {} has ended, last seen in {seen}, {ago} ago",
            member.process.pid, member.host
        ),
        Life::Stopped if row.has_begun(wait.id, wait.number) => {
            format!("rank {rank} is stopped (SIGSTOP) inside the call, last seen in {seen}, {ago} ago")
        }
        Life::Stopped => {
            format!("rank {rank} has not arrived: stopped (SIGSTOP), last seen in {seen}, {ago} ago")
        }
        _ => format!("rank {rank} shows no life: frozen or starved, last seen in {seen}, {ago} ago"),
    }
}

fn absent_sentence(row: &Row, slow: Duration) -> String {
    let mut text =
        format!("rank {} has not arrived: {}, for {}", row.rank, last_seen(row), secs(row.stage_age));
    if row.stage.is_slow() && row.stage_age > slow {
        text.push_str(", which is longer than `comm.slow_work_timeout_secs`");
    }
    if row.process == ProcessState::Disk {
        text.push_str(", in a system call to a disk or a network file system");
    }
    text
}

fn last_seen(row: &Row) -> LastStage {
    LastStage { stage: row.stage, step: row.step }
}

/// Everybody waits: for each other in different calls, or for the network.
fn parted(rows: &[Row], wait: &Wait, own_rank: usize) -> String {
    let elsewhere =
        rows.iter().filter(|row| row.rank != own_rank && row.life == Life::Alive).find_map(|row| {
            let same = row.calls(wait.id).filter(|calls| calls.is_waiting());
            let same =
                same.filter(|calls| calls.number() == wait.number && calls.operation == wait.operation);
            let other = row.channels.iter().find(|calls| calls.is_waiting());
            if same.is_some() { None } else { other.map(|calls| (row.rank, calls)) }
        });
    let name = |operation: &str, number: u64, id: ChannelId| format!("{operation} (call {number} of {})", id);
    match elsewhere {
        Some((rank, calls)) => format!(
            "the ranks have parted ways: rank {own_rank} waits in {}, rank {rank} in {}",
            name(wait.operation.name(), wait.number, wait.id),
            name(calls.operation.name(), calls.number(), calls.id),
        ),
        None => "all ranks have arrived, and nothing moves: the network or MPI is stuck".to_owned(),
    }
}

pub(super) fn secs(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
