//! One rank's page: what it is doing, as words that one process writes and any process of the node reads.
//!
//! # Memory model
//! Every word is an atomic of its own; zero bytes are a valid page of a rank that has not been heard of. Words that belong
//! together (a stage and since when, a call and since when) share one word, so that no reader sees half of them. A call is
//! announced by its name (relaxed) and then by its number (release); a reader takes the number (acquire), the name, and
//! the number again, and looks once more if it has changed. Nothing else is ordered: the pages serve people who ask why
//! nothing happens, and what stands still is read right. Atomics work across processes, since all processes of a node map
//! the same memory and atomics of 64 bits need no lock there.

use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::Moment;
use super::operation::{Operation, Purpose};
use super::process::ProcessState;
use super::stage::Stage;
use super::table::Row;

/// Communicators of a rank that others can see at a time. A run has two or three.
pub(crate) const MAX_CHANNELS: usize = 8;

/// A rank's page.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Page {
    /// When the rank's heartbeat thread last ran.
    beat: AtomicU64,
    /// When a relay last wrote the page; never on the rank's own node.
    heard: AtomicU64,
    /// State of the process as its own node sees it; used on other nodes only.
    process: AtomicU64,
    /// Stage and since when.
    stage: AtomicU64,
    /// One more than the step; 0 for none.
    step: AtomicU64,
    pub slots: [Slot; MAX_CHANNELS],
}

/// The calls of one communicator.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Slot {
    /// What it is for, and one more than its number; 0 while the slot is free.
    id: AtomicU64,
    /// Calls begun.
    begun: AtomicU64,
    /// Calls ended.
    ended: AtomicU64,
    /// The call that is under way, else the last one, and since when it is or is not.
    call: AtomicU64,
}

/// A communicator, the same on all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ChannelId {
    pub purpose: Purpose,
    /// In the order in which the ranks have opened them.
    pub number: u64,
}

impl ChannelId {
    /// Never 0.
    fn word(self) -> u64 {
        u64::from(self.purpose.code()) << 56 | (self.number + 1)
    }

    fn of_word(word: u64) -> Option<Self> {
        let number = (word & ((1 << 56) - 1)).checked_sub(1)?;
        Some(Self { purpose: Purpose::of_code((word >> 56) as u8), number })
    }
}

/// What a reader saw of a [`Slot`].
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

impl Page {
    pub fn beat(&self, now: Moment) {
        self.beat.store(now.bits(), Ordering::Relaxed);
    }

    pub fn last_beat(&self) -> Moment {
        Moment::of_bits(self.beat.load(Ordering::Relaxed))
    }

    pub fn last_heard(&self) -> Moment {
        Moment::of_bits(self.heard.load(Ordering::Relaxed))
    }

    pub fn set_stage(&self, stage: Stage, since: Moment) {
        self.stage.store(since.with_code(stage.code()), Ordering::Relaxed);
    }

    pub fn stage(&self) -> (Stage, Moment) {
        let (code, since) = Moment::split(self.stage.load(Ordering::Relaxed));
        (Stage::of_code(code), since)
    }

    pub fn set_step(&self, step: Option<u64>) {
        self.step.store(step.map_or(0, |step| step.saturating_add(1)), Ordering::Relaxed);
    }

    pub fn step(&self) -> Option<u64> {
        self.step.load(Ordering::Relaxed).checked_sub(1)
    }

    pub fn process(&self) -> ProcessState {
        ProcessState::of_code(self.process.load(Ordering::Relaxed))
    }

    /// Copies what was heard of a rank of another node, when it was `heard`.
    pub fn take_news(&self, news: &Row, heard: Moment) {
        self.set_stage(news.stage, news.now.before(news.stage_age));
        self.set_step(news.step);
        self.process.store(u64::from(news.process.code()), Ordering::Relaxed);
        for (index, slot) in self.slots.iter().enumerate() {
            match news.channels.get(index) {
                Some(calls) => slot.copy(calls),
                None => slot.free(),
            }
        }
        self.beat(news.beat_age.map_or_else(Moment::default, |age| news.now.before(age)));
        self.heard.store(heard.bits(), Ordering::Relaxed);
    }

    /// All communicators that are open.
    pub fn calls(&self) -> impl Iterator<Item = Calls> {
        self.slots.iter().filter_map(Slot::read)
    }
}

impl Slot {
    /// Takes the slot if it is free.
    pub fn take(&self, id: ChannelId) -> bool {
        if self.id.load(Ordering::Relaxed) != 0 {
            return false;
        }
        for word in [&self.begun, &self.ended, &self.call] {
            word.store(0, Ordering::Relaxed);
        }
        self.id.store(id.word(), Ordering::Release);
        true
    }

    /// Takes over another slot.
    fn copy(&self, calls: &Calls) {
        self.write(calls);
        self.id.store(calls.id.word(), Ordering::Release);
    }

    pub fn free(&self) {
        self.id.store(0, Ordering::Release);
    }

    /// The next call begins. One at a time.
    pub fn begin(&self, operation: Operation, now: Moment) {
        self.call.store(now.with_code(operation.code()), Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Release);
    }

    /// The call ends.
    pub fn end(&self, operation: Operation, now: Moment) {
        self.ended.fetch_add(1, Ordering::Release);
        self.call.store(now.with_code(operation.code()), Ordering::Relaxed);
    }

    /// Puts down everything at once; for writers that learn of calls later.
    pub fn write(&self, calls: &Calls) {
        self.call.store(calls.since.with_code(calls.operation.code()), Ordering::Relaxed);
        self.ended.store(calls.ended, Ordering::Release);
        self.begun.store(calls.begun, Ordering::Release);
    }

    pub fn read(&self) -> Option<Calls> {
        /// A writer that changes the slot more often than that is not stuck.
        const LOOKS: usize = 4;
        let mut seen = None;
        for _ in 0..LOOKS {
            let id = self.id.load(Ordering::Acquire);
            let begun = self.begun.load(Ordering::Acquire);
            let ended = self.ended.load(Ordering::Acquire);
            let (code, since) = Moment::split(self.call.load(Ordering::Relaxed));
            let operation = Operation::of_code(code);
            seen = Some(Calls { id: ChannelId::of_word(id)?, begun, ended, operation, since });
            if self.begun.load(Ordering::Acquire) == begun && self.id.load(Ordering::Acquire) == id {
                break;
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_start(Duration::from_secs(secs))
    }

    #[test]
    fn a_page_of_zeros_is_a_rank_that_was_not_heard_of() {
        let page = Page::default();
        assert_eq!((page.last_beat().age(at(1)), page.step(), page.stage().0), (None, None, Stage::Working));
        assert_eq!(page.calls().count(), 0);
    }

    #[test]
    fn what_is_written_is_read() {
        let page = Page::default();
        page.set_stage(Stage::Saving, at(3));
        page.set_step(Some(0));
        page.beat(at(4));
        assert_eq!((page.stage(), page.step(), page.last_beat()), ((Stage::Saving, at(3)), Some(0), at(4)));
        let id = ChannelId { purpose: Purpose::Tensors, number: 0 };
        let slot = &page.slots[2];
        assert!(slot.take(id) && !slot.take(id));
        slot.begin(Operation::Barrier, at(5));
        slot.end(Operation::Barrier, at(6));
        slot.begin(Operation::AllReduce, at(7));
        let calls = page.calls().next().unwrap();
        let expected = Calls { id, begun: 2, ended: 1, operation: Operation::AllReduce, since: at(7) };
        assert_eq!(calls, expected);
        assert!(calls.is_waiting());
        assert_eq!(calls.number(), 2);
        slot.free();
        assert_eq!(page.calls().count(), 0);
    }
}
