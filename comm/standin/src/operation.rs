//! One collective operation between ranks: compared, then carried out through the ranks' windows.

use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::reduce::{Kind, Reduction, combine};
use crate::settings::settings;
use crate::shared::{DESCRIPTION, Shared, WINDOW};

/// What a rank does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    AllReduce(Reduction),
    ReduceScatter(Reduction),
    AllGather,
    Broadcast(usize),
}

/// An operation as NCCL's entry points describe it: `count` elements as each of them counts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    pub verb: Verb,
    pub kind: Kind,
    pub count: usize,
    pub send: *const u8,
    pub recv: *mut u8,
}

// SAFETY: the caller of the entry point keeps both buffers valid and untouched until the operation is complete, on
// whichever thread that is.
unsafe impl Send for Operation {}

impl Verb {
    /// Number of kinds of operations.
    pub(crate) const KINDS: usize = 4;

    /// Which of them.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::AllReduce(_) => 0,
            Self::ReduceScatter(_) => 1,
            Self::AllGather => 2,
            Self::Broadcast(_) => 3,
        }
    }
}

/// Why an operation did not take place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The rank has aborted the communicator.
    Aborted,
    /// Ranks called different things; the text names two of them.
    Mismatch(String),
}

/// Where an operation stands among those of its communicator.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    /// Number of the operation.
    pub number: u64,
    /// Its index within its group, as submitted.
    pub index: usize,
    /// Operations of the group.
    pub group: usize,
}

impl Operation {
    /// Sizes up to which NCCL would take another way; there is one more class above.
    const CLASSES: [usize; 2] = [64 << 10, 4 << 20];

    /// A number for each kind and size for which NCCL connects the ranks anew.
    pub(crate) fn connection(&self, world_size: usize) -> u32 {
        let parts =
            if matches!(self.verb, Verb::ReduceScatter(_) | Verb::AllGather) { world_size } else { 1 };
        let bytes = self.count * self.kind.num_bytes() * parts;
        let class = Self::CLASSES.iter().filter(|&&limit| bytes > limit).count();
        u32::try_from(class * Verb::KINDS + self.verb.index()).unwrap_or_default()
    }

    /// Carries the operation out together with the other ranks, no faster than the simulated wire.
    ///
    /// # Safety
    /// `send` and `recv` are valid for what the verb reads and writes, and nothing else uses them.
    pub(crate) unsafe fn run(
        &self,
        shared: &Shared,
        rank: usize,
        place: Place,
        aborted: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        for (place, value) in shared.own().description.iter().zip(self.description(place)) {
            place.store(value, Ordering::Relaxed);
        }
        meet(shared, aborted)?;
        let begun = Instant::now();
        self.compare(shared, rank, place)?;
        meet(shared, aborted)?;
        let size = shared.world_size();
        let element = self.kind.num_bytes();
        let parts = if matches!(self.verb, Verb::ReduceScatter(_)) { size } else { 1 };
        let step = WINDOW / parts / element;
        for first in (0..self.count).step_by(step) {
            let len = step.min(self.count - first);
            // SAFETY: promised by the caller; `first + len` is at most `count`.
            unsafe { self.send_piece(shared, rank, first, len) };
            meet(shared, aborted)?;
            // SAFETY: as above; between the two meetings nobody writes a window.
            unsafe { self.receive_piece(shared, rank, first, len) };
            meet(shared, aborted)?;
        }
        let buffer = match self.verb {
            Verb::AllReduce(_) | Verb::Broadcast(_) => self.count * element,
            Verb::ReduceScatter(_) | Verb::AllGather => self.count * element * size,
        };
        std::thread::sleep(settings().wire_time(buffer).saturating_sub(begun.elapsed()));
        Ok(())
    }

    /// Puts elements `first..first + len` of each part that this rank sends into its window.
    unsafe fn send_piece(&self, shared: &Shared, rank: usize, first: usize, len: usize) {
        let element = self.kind.num_bytes();
        let parts = match self.verb {
            Verb::ReduceScatter(_) => shared.world_size(),
            Verb::Broadcast(root) if root != rank => 0,
            _ => 1,
        };
        for part in 0..parts {
            // SAFETY: the caller's buffer holds `parts` parts of `count` elements, and the window has room for `parts`
            // pieces, as `run` has cut them; the two do not overlap.
            unsafe {
                let from = self.send.add((part * self.count + first) * element);
                let to = shared.window(rank).add(part * len * element);
                std::ptr::copy_nonoverlapping(from, to, len * element);
            }
        }
    }

    /// Makes elements `first..first + len` of the result from the windows of all ranks.
    unsafe fn receive_piece(&self, shared: &Shared, rank: usize, first: usize, len: usize) {
        let element = self.kind.num_bytes();
        let bytes = len * element;
        // SAFETY: a window has room for the pieces, as `run` has cut them, and is only read now.
        let piece = |from: usize, part: usize| unsafe {
            std::slice::from_raw_parts(shared.window(from).add(part * bytes).cast_const(), bytes)
        };
        // SAFETY: the caller's buffer holds `count` elements for each part that is received.
        let result = |part: usize| unsafe {
            std::slice::from_raw_parts_mut(self.recv.add((part * self.count + first) * element), bytes)
        };
        match self.verb {
            Verb::AllReduce(reduction) | Verb::ReduceScatter(reduction) => {
                let part = if matches!(self.verb, Verb::AllReduce(_)) { 0 } else { rank };
                let into = result(0);
                into.copy_from_slice(piece(0, part));
                for other in 1..shared.world_size() {
                    combine(self.kind, reduction, into, piece(other, part));
                }
            }
            Verb::AllGather => {
                (0..shared.world_size()).for_each(|from| result(from).copy_from_slice(piece(from, 0)));
            }
            Verb::Broadcast(root) => result(0).copy_from_slice(piece(root, 0)),
        }
    }

    fn description(&self, place: Place) -> [u64; DESCRIPTION] {
        let (verb, detail) = match self.verb {
            Verb::AllReduce(reduction) => (0, reduction as u64),
            Verb::ReduceScatter(reduction) => (1, reduction as u64),
            Verb::AllGather => (2, 0),
            Verb::Broadcast(root) => (3, root as u64),
        };
        let (index, group) = (place.index as u64, place.group as u64);
        [verb, detail, self.kind as u64, self.count as u64, place.number, index, group, 0]
    }

    /// Compares what all ranks do with what this one does.
    fn compare(&self, shared: &Shared, rank: usize, place: Place) -> Result<(), Failure> {
        let own = self.description(place);
        for other in 0..shared.world_size() {
            let description = &shared.slot(other).description;
            let theirs = std::array::from_fn(|index| description[index].load(Ordering::Relaxed));
            if theirs != own {
                let (own, theirs) = (describe(&own), describe(&theirs));
                return Err(Failure::Mismatch(format!(
                    "rank {rank} calls {own}, rank {other} calls {theirs}"
                )));
            }
        }
        Ok(())
    }
}

fn meet(shared: &Shared, aborted: &dyn Fn() -> bool) -> Result<(), Failure> {
    if shared.barrier(aborted) { Ok(()) } else { Err(Failure::Aborted) }
}

fn describe(description: &[u64; DESCRIPTION]) -> String {
    const KINDS: [&str; 8] = ["int8", "uint8", "int32", "uint32", "int64", "uint64", "float32", "float64"];
    const REDUCTIONS: [&str; 4] = ["sum", "prod", "max", "min"];
    let name = |names: &[&'static str], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("?")
    };
    let [verb, detail, kind, count, number, index, group, _] = *description;
    let verb = match verb {
        0 => format!("all_reduce ({})", name(&REDUCTIONS, detail)),
        1 => format!("reduce_scatter ({})", name(&REDUCTIONS, detail)),
        2 => "all_gather".to_owned(),
        _ => format!("broadcast from {detail}"),
    };
    let place = if group > 1 { format!(", {} of {group} in a group", index + 1) } else { String::new() };
    format!("{verb} of {count} {} as operation {number}{place}", name(&KINDS, kind))
}
