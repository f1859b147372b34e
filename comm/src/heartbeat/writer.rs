//! A rank's own slot: stages, steps and calls are written down as they happen, and a thread shows that the process lives.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::calls::ChannelId;
use super::clock::Moment;
use super::memory::Memory;
use super::operation::{Operation, Purpose};
use super::row::Member;
use super::slot::{CallCounters, Slot};
use super::stage::Stage;
use crate::world::World;

/// Time between two beats.
pub(super) const BEAT: Duration = Duration::from_millis(250);

/// The heartbeat that [`last_stage`] speaks of.
static OF_THIS_PROCESS: RwLock<Option<Heartbeat>> = RwLock::new(None);

/// Where a rank notes what it is doing. Clones write the same slot.
///
/// A mark costs a reading of the clock and one or two atomic stores; nobody is called or waited for. Marks come from the
/// rank's main thread.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    memory: Arc<Memory>,
    rank: usize,
    members: Vec<Member>,
    /// Channels opened so far.
    num_opened: AtomicU64,
    _beats: Option<Beats>,
}

/// A stage under way; the one before it goes on when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the stage"]
pub struct StageGuard {
    heartbeat: Heartbeat,
    before: (Stage, Moment),
}

/// What a rank was doing last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastStage {
    /// The stage.
    pub stage: Stage,
    /// Optimizer steps done before it; `None` outside of a training loop.
    pub step: Option<u64>,
}

impl fmt::Display for LastStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "{}, step {step}", self.stage),
            None => write!(f, "{}", self.stage),
        }
    }
}

/// What this process was doing last; `None` before it has connected.
#[must_use]
pub fn last_stage() -> Option<LastStage> {
    let heartbeat = OF_THIS_PROCESS.read().unwrap_or_else(PoisonError::into_inner);
    heartbeat.as_ref().and_then(Heartbeat::last_stage)
}

impl Heartbeat {
    /// Of a rank that nobody watches: alone, or a thread among threads.
    pub(crate) fn detached(world: &World) -> Self {
        let members = (0..world.world_size).map(|_| Member::default()).collect();
        let memory = Arc::new(Memory::private(world.world_size));
        Self::new(memory, world.rank, members, None)
    }

    /// Of a process whose thread shows in `memory` that it lives.
    pub(crate) fn start(memory: Memory, rank: usize, members: Vec<Member>) -> std::io::Result<Self> {
        let memory = Arc::new(memory);
        // The others see it from now on, whatever happens before the thread runs.
        if let Some(slot) = memory.slot(rank) {
            slot.beat(Moment::now());
        }
        let beats = Beats::start(memory.clone(), rank)?;
        Ok(Self::new(memory, rank, members, Some(beats)))
    }

    fn new(memory: Arc<Memory>, rank: usize, members: Vec<Member>, beats: Option<Beats>) -> Self {
        let inner = Inner { memory, rank, members, num_opened: AtomicU64::new(0), _beats: beats };
        let heartbeat = Self(Arc::new(inner));
        heartbeat.on_slot(|slot| slot.set_stage(Stage::Working, Moment::now()));
        heartbeat
    }

    /// Makes it the one of this process.
    pub(crate) fn publish(&self) {
        *OF_THIS_PROCESS.write().unwrap_or_else(PoisonError::into_inner) = Some(self.clone());
    }

    /// Announces a stage until the guard is dropped. What is done within slow work is part of it: an ordinary stage changes
    /// nothing there, but for connecting, which waits for others.
    pub fn enter(&self, stage: Stage) -> StageGuard {
        let before = self.0.memory.slot(self.0.rank).map(Slot::stage).unwrap_or_default();
        if stage.is_slow() || stage == Stage::Connecting || !before.0.is_slow() {
            self.on_slot(|slot| slot.set_stage(stage, Moment::now()));
        }
        StageGuard { heartbeat: self.clone(), before }
    }

    /// Notes how many optimizer steps are done.
    pub fn set_step(&self, step: u64) {
        self.on_slot(|slot| slot.set_step(Some(step)));
    }

    /// What this rank was doing last.
    fn last_stage(&self) -> Option<LastStage> {
        let slot = self.0.memory.slot(self.0.rank)?;
        Some(LastStage { stage: slot.stage().0, step: slot.step() })
    }

    /// A place where a communicator notes its calls. All ranks open theirs in the same order.
    pub(crate) fn open(&self, purpose: Purpose) -> Channel {
        let number = self.0.num_opened.fetch_add(1, Ordering::Relaxed);
        let id = ChannelId { purpose, number };
        let slot = self.0.memory.slot(self.0.rank);
        let index = slot.and_then(|slot| slot.channels.iter().position(|counters| counters.take(id)));
        Channel { memory: self.0.memory.clone(), rank: self.0.rank, id, index }
    }

    /// Whether another rank has ended call `number` of the communicator of `channel`, as far as is known here.
    pub(crate) fn has_another_ended(&self, channel: &Channel, number: u64) -> bool {
        (0..self.0.members.len()).filter(|&rank| rank != self.0.rank).any(|rank| {
            let mut calls = self.0.memory.slot(rank).into_iter().flat_map(Slot::calls);
            calls.any(|calls| calls.id == channel.id && calls.ended >= number)
        })
    }

    /// Left the world in good order: the end of the process is no loss.
    pub(crate) fn finish(&self) {
        self.on_slot(|slot| slot.set_stage(Stage::Finished, Moment::now()));
    }

    pub(super) fn rank(&self) -> usize {
        self.0.rank
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.0.members
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.0.memory
    }

    fn on_slot(&self, write: impl FnOnce(&Slot)) {
        if let Some(slot) = self.0.memory.slot(self.0.rank) {
            write(slot);
        }
    }
}

impl Drop for StageGuard {
    fn drop(&mut self) {
        let (stage, since) = self.before;
        self.heartbeat.on_slot(|slot| slot.set_stage(stage, since));
    }
}

/// Where one communicator of this rank notes its calls; without free counters it notes nothing.
#[derive(Debug)]
pub(crate) struct Channel {
    memory: Arc<Memory>,
    rank: usize,
    id: ChannelId,
    index: Option<usize>,
}

/// A call under way; dropping it notes the end.
#[derive(Debug)]
pub(crate) struct Noted<'a> {
    counters: Option<&'a CallCounters>,
    operation: Operation,
}

impl Channel {
    /// Notes that a call begins. One call of a communicator is under way at a time.
    pub fn begin(&self, operation: Operation) -> Noted<'_> {
        let counters = self.counters();
        if let Some(counters) = counters {
            counters.begin(operation, Moment::now());
        }
        Noted { counters, operation }
    }

    /// Notes which calls have begun and ended, where calls go on by themselves; `waits` since it was first said.
    pub fn note(&self, begun: u64, ended: u64, operation: Operation) {
        let Some(counters) = self.counters() else { return };
        let Some(mut calls) = counters.read() else { return };
        if (calls.begun, calls.ended) != (begun, ended) {
            (calls.begun, calls.ended, calls.operation) = (begun, ended, operation);
            calls.since = Moment::now();
            counters.write(&calls);
        }
    }

    fn counters(&self) -> Option<&CallCounters> {
        self.memory.slot(self.rank)?.channels.get(self.index?)
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if let Some(counters) = self.counters() {
            counters.free();
        }
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        if let Some(counters) = self.counters {
            counters.end(self.operation, Moment::now());
        }
    }
}

/// The thread that beats until it is dropped.
#[derive(Debug)]
struct Beats {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beats {
    fn start(memory: Arc<Memory>, rank: usize) -> std::io::Result<Self> {
        let (end, ended) = bounded::<()>(0);
        let beat = move || {
            let Some(slot) = memory.slot(rank) else { return };
            loop {
                slot.beat(Moment::now());
                if ended.recv_timeout(BEAT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat)?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::calls::{Calls, MAX_CHANNELS};
    use super::*;

    fn own_calls(heartbeat: &Heartbeat) -> Vec<Calls> {
        heartbeat.memory().slot(heartbeat.rank()).unwrap().calls().collect()
    }

    #[test]
    fn stages_nest_and_the_outer_one_keeps_its_time() {
        let heartbeat = Heartbeat::detached(&World::single());
        heartbeat.set_step(7);
        let outer = heartbeat.enter(Stage::Evaluating);
        let since = heartbeat.memory().slot(0).unwrap().stage().1;
        let device = heartbeat.enter(Stage::Device);
        assert_eq!(heartbeat.last_stage().unwrap().stage, Stage::Evaluating, "slow work goes on");
        let saving = heartbeat.enter(Stage::Saving);
        assert_eq!(heartbeat.last_stage().unwrap().stage, Stage::Saving);
        drop((saving, device));
        assert_eq!(heartbeat.memory().slot(0).unwrap().stage(), (Stage::Evaluating, since));
        assert_eq!(heartbeat.last_stage().unwrap().to_string(), "evaluating, step 7");
        drop(outer);
        assert_eq!(heartbeat.last_stage().unwrap().stage, Stage::Working);
    }

    #[test]
    fn calls_are_numbered_and_channels_given_back() {
        let heartbeat = Heartbeat::detached(&World::single());
        let control = heartbeat.open(Purpose::Control);
        drop(control.begin(Operation::Barrier));
        let call = control.begin(Operation::Broadcast);
        let calls = own_calls(&heartbeat)[0];
        assert!(calls.is_waiting());
        assert_eq!((calls.number(), calls.operation), (2, Operation::Broadcast));
        drop(call);
        assert!(!own_calls(&heartbeat)[0].is_waiting());
        let others: Vec<_> = (0..2 * MAX_CHANNELS).map(|_| heartbeat.open(Purpose::Tensors)).collect();
        assert_eq!(own_calls(&heartbeat).len(), MAX_CHANNELS, "the rest is not seen");
        drop(others.last().unwrap().begin(Operation::Barrier));
        drop(others);
        assert_eq!(own_calls(&heartbeat).len(), 1);
        // Numbers are those of all ranks, whichever place is free.
        let next = heartbeat.open(Purpose::Nccl);
        assert_eq!(own_calls(&heartbeat)[1].id.number, 1 + 2 * MAX_CHANNELS as u64);
        next.note(3, 1, Operation::Group);
        assert_eq!(
            (own_calls(&heartbeat)[1].number(), own_calls(&heartbeat)[1].operation),
            (2, Operation::Group)
        );
    }

    #[test]
    fn a_heartbeat_beats_until_it_is_dropped() {
        let heartbeat = Heartbeat::start(Memory::private(1), 0, vec![Member::default()]).unwrap();
        let memory = heartbeat.0.memory.clone();
        let beat = || memory.slot(0).unwrap().last_beat();
        while beat() == Moment::default() {
            std::thread::yield_now();
        }
        let first = beat();
        while beat() == first {
            std::thread::sleep(BEAT / 10);
        }
        drop(heartbeat);
        assert_eq!(Arc::strong_count(&memory), 1, "the thread has ended");
    }
}
