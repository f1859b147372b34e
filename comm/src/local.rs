//! Ranks as threads of one process, for tests and for comparing world sizes where MPI is not at hand.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::backend::Backend;
use crate::buffer::{Buffer, ElementKind};
use crate::collective::{
    Collective, ReduceOp, check_all_gather, check_parts, check_reduce_scatter, check_root, part_range,
};
use crate::error::CommError;
use crate::heartbeat::Heartbeat;
use crate::world::{Source, World};

/// Collectives for `world_size` threads, one for each, in the order of ranks.
///
/// A rank that is dropped makes the others fail with [`CommError::PeerLeft`] instead of waiting for it, also when it
/// panics. Sums are made in the order of ranks.
#[must_use]
pub fn local_world(world_size: usize) -> Vec<Arc<dyn Collective>> {
    let meeting = Arc::new(Meeting::new(world_size));
    let rank = |rank| -> Arc<dyn Collective> {
        let world = World {
            rank,
            world_size,
            local_rank: rank,
            local_size: world_size,
            node: 0,
            num_nodes: 1,
            source: Source::Threads,
        };
        let heartbeat = Heartbeat::detached(&world);
        Arc::new(Local { world, heartbeat, meeting: meeting.clone(), num_others: AtomicUsize::new(0) })
    };
    (0..world_size).map(rank).collect()
}

#[derive(Debug)]
struct Local {
    world: World,
    heartbeat: Heartbeat,
    meeting: Arc<Meeting>,
    /// How often this rank has asked for another meeting.
    num_others: AtomicUsize,
}

/// Where the ranks exchange messages: all bring one, then all read all of them.
#[derive(Debug)]
struct Meeting {
    state: Mutex<State>,
    changed: Condvar,
    /// Where the same ranks meet for other purposes, in the order in which they asked.
    others: Mutex<Vec<Arc<Meeting>>>,
}

#[derive(Debug)]
struct State {
    /// What each rank has brought to the present round.
    brought: Vec<Option<Message>>,
    /// The messages of the last complete round.
    complete: Arc<Vec<Message>>,
    /// Number of complete rounds.
    round: u64,
    somebody_left: bool,
}

/// What a rank says it is doing, and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Message {
    call: Call,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Call {
    AllReduce(ElementKind, ReduceOp, usize),
    ReduceScatter(ElementKind, ReduceOp, usize),
    AllGather(Vec<usize>),
    Broadcast(usize, usize),
    Barrier,
}

impl Meeting {
    fn new(world_size: usize) -> Self {
        let state = State {
            brought: vec![None; world_size],
            complete: Arc::default(),
            round: 0,
            somebody_left: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), others: Mutex::default() }
    }

    /// The `number`-th further meeting; the first rank that asks opens it.
    fn other(&self, number: usize, world_size: usize) -> Arc<Self> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        while others.len() <= number {
            others.push(Arc::new(Self::new(world_size)));
        }
        others.get(number).map_or_else(|| Arc::new(Self::new(world_size)), Arc::clone)
    }

    /// Brings `message` and waits for those of the others; `None` when a rank has left.
    fn exchange(&self, rank: usize, message: Message) -> Option<Arc<Vec<Message>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let round = state.round;
        if let Some(place) = state.brought.get_mut(rank) {
            *place = Some(message);
        }
        if state.brought.iter().all(Option::is_some) {
            state.complete = Arc::new(state.brought.iter_mut().filter_map(Option::take).collect());
            state.round += 1;
            self.changed.notify_all();
            return Some(state.complete.clone());
        }
        let state = self
            .changed
            .wait_while(state, |state| state.round == round && !state.somebody_left)
            .unwrap_or_else(PoisonError::into_inner);
        (state.round != round).then(|| state.complete.clone())
    }
}

impl Local {
    fn exchange(
        &self,
        operation: &'static str,
        call: Call,
        bytes: &[u8],
    ) -> Result<Arc<Vec<Message>>, CommError> {
        let message = Message { call: call.clone(), bytes: bytes.to_vec() };
        let World { rank, world_size, .. } = self.world;
        let messages = self.meeting.exchange(rank, message).ok_or(CommError::PeerLeft {
            operation,
            rank,
            world_size,
        })?;
        match messages.iter().position(|message| message.call != call) {
            None => Ok(messages),
            Some(other) => {
                let theirs = messages.get(other).map(|message| &message.call);
                let problem = format!("calls {call:?} where rank {other} calls {theirs:?}");
                Err(CommError::argument(operation, &self.world, problem))
            }
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.meeting.state.lock().unwrap_or_else(PoisonError::into_inner).somebody_left = true;
        self.meeting.changed.notify_all();
    }
}

impl Collective for Local {
    fn world(&self) -> &World {
        &self.world
    }

    fn backend(&self) -> Backend {
        Backend::Threads
    }

    fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    fn all_reduce(&self, mut buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError> {
        let (kind, len) = (buffer.kind(), buffer.len());
        let bytes = buffer.bytes_mut();
        let messages = self.exchange("all_reduce", Call::AllReduce(kind, op, len), bytes)?;
        if let Some((first, others)) = messages.split_first() {
            bytes.copy_from_slice(&first.bytes);
            for other in others {
                combine(kind, op, bytes, &other.bytes);
            }
        }
        Ok(())
    }

    fn all_gather(&self, send: &[u8], counts: &[usize], recv: &mut [u8]) -> Result<(), CommError> {
        check_all_gather(&self.world, send.len(), counts, recv.len())?;
        let messages = self.exchange("all_gather", Call::AllGather(counts.to_vec()), send)?;
        let mut rest = recv;
        for message in messages.iter() {
            let Some((part, later)) = rest.split_at_mut_checked(message.bytes.len()) else { break };
            part.copy_from_slice(&message.bytes);
            rest = later;
        }
        Ok(())
    }

    fn reduce_scatter(&self, mut buffer: Buffer<'_>, op: ReduceOp) -> Result<(), CommError> {
        let World { rank, world_size, .. } = self.world;
        let (kind, len) = (buffer.kind(), buffer.len());
        check_reduce_scatter(&self.world, len)?;
        let bytes = buffer.bytes_mut();
        let messages = self.exchange("reduce_scatter", Call::ReduceScatter(kind, op, len), bytes)?;
        let own = part_range(&vec![bytes.len() / world_size.max(1); world_size], rank);
        let mut parts = messages.iter().filter_map(|message| message.bytes.get(own.clone()));
        if let (Some(into), Some(first)) = (bytes.get_mut(own.clone()), parts.next()) {
            into.copy_from_slice(first);
            parts.for_each(|part| combine(kind, op, into, part));
        }
        Ok(())
    }

    fn all_gather_in_place(&self, mut buffer: Buffer<'_>, counts: &[usize]) -> Result<(), CommError> {
        check_parts(&self.world, buffer.len(), counts)?;
        let element_bytes = buffer.kind().num_bytes();
        let counts: Vec<usize> = counts.iter().map(|count| count * element_bytes).collect();
        let bytes = buffer.bytes_mut();
        let own = bytes.get(part_range(&counts, self.world.rank)).unwrap_or_default();
        let messages = self.exchange("all_gather", Call::AllGather(counts), own)?;
        let mut rest = bytes;
        for message in messages.iter() {
            let Some((part, later)) = rest.split_at_mut_checked(message.bytes.len()) else { break };
            part.copy_from_slice(&message.bytes);
            rest = later;
        }
        Ok(())
    }

    fn broadcast(&self, buffer: &mut [u8], root: usize) -> Result<(), CommError> {
        check_root(&self.world, root)?;
        let own: &[u8] = if self.world.rank == root { buffer } else { &[] };
        let messages = self.exchange("broadcast", Call::Broadcast(buffer.len(), root), own)?;
        if let Some(message) = messages.get(root) {
            buffer.copy_from_slice(&message.bytes);
        }
        Ok(())
    }

    fn barrier(&self) -> Result<(), CommError> {
        self.exchange("barrier", Call::Barrier, &[]).map(drop)
    }

    fn another(&self) -> Result<Arc<dyn Collective>, CommError> {
        let number = self.num_others.fetch_add(1, Ordering::Relaxed);
        let meeting = self.meeting.other(number, self.world.world_size);
        Ok(Arc::new(Self {
            world: self.world.clone(),
            heartbeat: self.heartbeat.clone(),
            meeting,
            num_others: AtomicUsize::new(0),
        }))
    }
}

/// `into = op(into, other)` for elements of `kind`.
fn combine(kind: ElementKind, op: ReduceOp, into: &mut [u8], other: &[u8]) {
    macro_rules! fold {
        ($element:ty, $sum:expr) => {{
            let (into, _) = into.as_chunks_mut::<{ size_of::<$element>() }>();
            let (other, _) = other.as_chunks::<{ size_of::<$element>() }>();
            for (into, other) in into.iter_mut().zip(other) {
                let (a, b) = (<$element>::from_ne_bytes(*into), <$element>::from_ne_bytes(*other));
                let result: $element = match op {
                    ReduceOp::Sum => $sum(a, b),
                    ReduceOp::Max => a.max(b),
                    ReduceOp::Min => a.min(b),
                };
                *into = result.to_ne_bytes();
            }
        }};
    }
    match kind {
        ElementKind::F32 => fold!(f32, |a, b| a + b),
        ElementKind::F64 => fold!(f64, |a, b| a + b),
        ElementKind::I32 => fold!(i32, i32::wrapping_add),
        ElementKind::I64 => fold!(i64, i64::wrapping_add),
        ElementKind::U64 => fold!(u64, u64::wrapping_add),
        ElementKind::U8 => fold!(u8, u8::wrapping_add),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::CollectiveExt;

    fn on_each_rank<T: Send + 'static>(
        world_size: usize,
        body: impl Fn(&dyn Collective) -> T + Clone + Send + 'static,
    ) -> Vec<T> {
        let threads: Vec<_> = local_world(world_size)
            .into_iter()
            .map(|collective| {
                let body = body.clone();
                std::thread::spawn(move || body(&*collective))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    #[test]
    fn ranks_meet_round_after_round() {
        let results = on_each_rank(3, |collective| {
            let rank = collective.world().rank;
            let mut sums = Vec::new();
            for round in 0..100 {
                let mut value = [(rank * round) as f64];
                collective.sum_f64(&mut value).unwrap();
                sums.push(value[0]);
            }
            let messages = collective.gather_bytes(&vec![b'x'; rank]).unwrap();
            let broadcast = collective.broadcast_bytes(vec![rank as u8; rank + 1], 2).unwrap();
            (sums, messages, broadcast)
        });
        let sums: Vec<f64> = (0..100).map(|round| (3 * round) as f64).collect();
        let messages = vec![b"".to_vec(), b"x".to_vec(), b"xx".to_vec()];
        for result in results {
            assert_eq!(result, (sums.clone(), messages.clone(), vec![2; 3]));
        }
    }

    #[test]
    fn parts_are_reduced_and_gathered_in_place() {
        let results = on_each_rank(3, |collective| {
            let rank = collective.world().rank;
            let mut sums: Vec<f32> = (0..6).map(|index| (index * (rank + 1)) as f32).collect();
            collective.reduce_scatter(Buffer::from(&mut sums[..]), ReduceOp::Sum).unwrap();
            let own = sums[2 * rank..2 * rank + 2].to_vec();
            let mut parts: Vec<i32> =
                [0, 1, 1, 2, 2, 2].map(|owner| if owner == rank { 7 } else { 0 }).into();
            collective.all_gather_in_place(Buffer::from(&mut parts[..]), &[1, 2, 3]).unwrap();
            (own, parts)
        });
        for (rank, (own, parts)) in results.into_iter().enumerate() {
            assert_eq!(own, [12.0 * rank as f32, 12.0 * rank as f32 + 6.0]);
            assert_eq!(parts, [7; 6]);
        }
    }

    #[test]
    fn a_rank_that_leaves_ends_the_wait_of_the_others() {
        let results = on_each_rank(3, |collective| match collective.world().rank {
            1 => None,
            _ => Some(collective.barrier().unwrap_err().to_string()),
        });
        assert_eq!(results[0].as_deref(), Some("barrier on rank 0 of 3: another rank has left"));
    }

    #[test]
    fn different_calls_are_an_error_on_all_ranks() {
        let results = on_each_rank(2, |collective| match collective.world().rank {
            0 => collective.barrier(),
            _ => collective.broadcast(&mut [0; 3], 0),
        });
        assert!(
            results.iter().all(|result| matches!(result, Err(CommError::Argument { .. }))),
            "{results:?}"
        );
    }
}
