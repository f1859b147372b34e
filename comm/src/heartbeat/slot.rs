//! One rank's slot: what it is doing, as words that one process writes and any process of the node reads.
//!
//! # Memory model
//! Every word is an atomic of its own; zero bytes are a valid slot of a rank that has not been heard of. Words that belong
//! together (a stage and since when, a call and since when) share one word, so that no reader sees half of them. A call is
//! announced by its name (relaxed) and then by its number (release); a reader takes the number (acquire), the name, and
//! the number again, and looks once more if it has changed. Nothing else is ordered: the slots serve people who ask why
//! nothing happens, and what stands still is read right. Atomics work across processes, since all processes of a node map
//! the same memory and atomics of 64 bits need no lock there.

use std::sync::atomic::{AtomicU64, Ordering};

use super::calls::{Calls, ChannelId, MAX_CHANNELS};
use super::clock::Moment;
use super::operation::Operation;
use super::process::ProcessState;
use super::row::Row;
use super::stage::Stage;

/// A rank's slot.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// When the rank's heartbeat thread last ran.
    beat: AtomicU64,
    /// When a relay last wrote the slot; never on the rank's own node.
    heard: AtomicU64,
    /// State of the process as its own node sees it; used on other nodes only.
    process: AtomicU64,
    /// Stage and since when.
    stage: AtomicU64,
    /// One more than the step; 0 for none.
    step: AtomicU64,
    pub channels: [CallCounters; MAX_CHANNELS],
}

/// The calls of one communicator.
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct CallCounters {
    /// What it is for, and one more than its number; 0 while nobody has taken them.
    id: AtomicU64,
    /// Calls begun.
    begun: AtomicU64,
    /// Calls ended.
    ended: AtomicU64,
    /// The call that is under way, else the last one, and since when it is or is not.
    call: AtomicU64,
}

impl Slot {
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
        for (index, counters) in self.channels.iter().enumerate() {
            match news.channels.get(index) {
                Some(calls) => counters.copy(calls),
                None => counters.free(),
            }
        }
        self.beat(news.beat_age.map_or_else(Moment::default, |age| news.now.before(age)));
        self.heard.store(heard.bits(), Ordering::Relaxed);
    }

    /// All communicators that are open.
    pub fn calls(&self) -> impl Iterator<Item = Calls> {
        self.channels.iter().filter_map(CallCounters::read)
    }
}

impl CallCounters {
    /// Takes the counters if they are free.
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

    /// Takes over others.
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
        /// A writer that changes them more often than that is not stuck.
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

    use super::super::operation::Purpose;
    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_start(Duration::from_secs(secs))
    }

    #[test]
    fn a_slot_of_zeros_is_a_rank_that_was_not_heard_of() {
        let slot = Slot::default();
        assert_eq!((slot.last_beat().age(at(1)), slot.step(), slot.stage().0), (None, None, Stage::Working));
        assert_eq!(slot.calls().count(), 0);
    }

    #[test]
    fn what_is_written_is_read() {
        let slot = Slot::default();
        slot.set_stage(Stage::Saving, at(3));
        slot.set_step(Some(0));
        slot.beat(at(4));
        assert_eq!((slot.stage(), slot.step(), slot.last_beat()), ((Stage::Saving, at(3)), Some(0), at(4)));
        let id = ChannelId { purpose: Purpose::Tensors, number: 0 };
        let counters = &slot.channels[2];
        assert!(counters.take(id) && !counters.take(id));
        counters.begin(Operation::Barrier, at(5));
        counters.end(Operation::Barrier, at(6));
        counters.begin(Operation::AllReduce, at(7));
        let calls = slot.calls().next().unwrap();
        let expected = Calls { id, begun: 2, ended: 1, operation: Operation::AllReduce, since: at(7) };
        assert_eq!(calls, expected);
        assert!(calls.is_waiting());
        assert_eq!(calls.number(), 2);
        counters.free();
        assert_eq!(slot.calls().count(), 0);
    }
}
