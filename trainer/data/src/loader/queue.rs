//! Batches that wait to be taken, and the room that those being made take up.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{LoaderError, LoaderOptions};
use crate::batch::{Batch, BatchRequest, GroupRequest, ViewBlock};

/// Between the thread that makes batches and the one that takes them.
pub(super) struct Queue<B: Deref<Target = [f32]>> {
    options: LoaderOptions,
    state: Mutex<State<B>>,
    changed: Condvar,
    stop: AtomicBool,
}

pub(super) struct State<B: Deref<Target = [f32]>> {
    pub(super) ready: VecDeque<Result<Batch<B>, LoaderError>>,
    /// Batches that are ready or being made.
    pub(super) num_held: usize,
    pub(super) held_bytes: u64,
    /// No batch will follow those that are ready.
    finished: bool,
}

/// Memory of a batch of which no sample fails, whose groups have slots of these lengths; `None` beyond what can be addressed.
pub(super) fn bytes_of(request: &BatchRequest, slot_lens: impl IntoIterator<Item = usize>) -> Option<u64> {
    let bytes_of_group = |(group, slot_len): (&GroupRequest, usize)| {
        group
            .num_values(request.draws.len(), slot_len)
            .map(|num_values| (num_values * size_of::<f32>()) as u64)
    };
    request
        .groups
        .iter()
        .zip(slot_lens)
        .map(bytes_of_group)
        .try_fold(0, |sum: u64, bytes| sum.checked_add(bytes?))
}

impl<B: Deref<Target = [f32]>> Queue<B> {
    /// Nothing is ready.
    pub(super) fn new(options: LoaderOptions) -> Self {
        let state = State { ready: VecDeque::new(), num_held: 0, held_bytes: 0, finished: false };
        Self { options, state: Mutex::new(state), changed: Condvar::new(), stop: AtomicBool::new(false) }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<B>> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next batch or the error in its place; waits. `None` when none will follow.
    pub(super) fn take(&self) -> Option<Result<Batch<B>, LoaderError>> {
        let mut state = self.lock();
        loop {
            if let Some(result) = state.ready.pop_front() {
                if let Ok(batch) = &result {
                    state.num_held -= 1;
                    let slot_lens = batch.groups.iter().map(ViewBlock::slot_len);
                    state.held_bytes -= bytes_of(&batch.request, slot_lens).unwrap_or(0);
                }
                self.changed.notify_all();
                return Some(result);
            }
            if state.finished {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for room, and takes it. False when the loader is being dropped.
    pub(super) fn reserve(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        loop {
            if self.stopped().load(Ordering::Relaxed) {
                return false;
            }
            let fits = state.num_held < self.options.prefetch_batches.max(1)
                && state.held_bytes.saturating_add(bytes) <= self.options.prefetch_bytes;
            if fits || state.num_held == 0 {
                state.num_held += 1;
                state.held_bytes = state.held_bytes.saturating_add(bytes);
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds what was made.
    pub(super) fn push(&self, result: Result<Batch<B>, LoaderError>) {
        self.lock().ready.push_back(result);
        self.changed.notify_all();
    }

    /// Nothing more will be added.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_all();
    }

    /// Asks whoever makes batches to end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        // Between its look at `stop` and its sleep the producer holds the lock.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// Whether the end was asked for.
    pub(super) fn stopped(&self) -> &AtomicBool {
        &self.stop
    }
}
