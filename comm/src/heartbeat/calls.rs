//! The calls of a communicator, as values: which communicator, how many have begun and ended, and what is under way.

use super::clock::Moment;
use super::operation::{Operation, Purpose};

/// Communicators of a rank that others can see at a time. A run has two or three.
pub(crate) const MAX_CHANNELS: usize = 8;

/// A communicator, the same on all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ChannelId {
    pub purpose: Purpose,
    /// In the order in which the ranks have opened them.
    pub number: u64,
}

impl ChannelId {
    /// Never 0.
    pub fn word(self) -> u64 {
        u64::from(self.purpose.code()) << 56 | (self.number + 1)
    }

    pub fn of_word(word: u64) -> Option<Self> {
        let number = (word & ((1 << 56) - 1)).checked_sub(1)?;
        Some(Self { purpose: Purpose::of_code((word >> 56) as u8), number })
    }
}

/// The calls of a communicator, as a reader saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Calls {
    pub id: ChannelId,
    pub begun: u64,
    pub ended: u64,
    pub operation: Operation,
    /// Since when it waits, or does not.
    pub since: Moment,
}

impl Calls {
    pub fn is_waiting(&self) -> bool {
        self.begun > self.ended
    }

    /// Number of the oldest call under way, else of the last one; the first call is 1.
    pub fn number(&self) -> u64 {
        if self.is_waiting() { self.ended + 1 } else { self.ended }
    }
}
