//! Ranks as threads, for tests of synchronized layers.

use std::sync::{Arc, Condvar, Mutex};

use crate::torch_extra::SyncStatistics;

/// Adds up the buffers of `num_ranks` threads.
pub struct ThreadRanks {
    num_ranks: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    round: usize,
    arrived: usize,
    partial: Vec<f64>,
    total: Vec<f64>,
}

impl ThreadRanks {
    pub fn new(num_ranks: usize) -> Arc<Self> {
        Arc::new(Self { num_ranks, state: Mutex::default(), changed: Condvar::new() })
    }

    /// What the layers of one rank take.
    pub fn statistics(self: &Arc<Self>) -> SyncStatistics {
        let ranks = Arc::clone(self);
        SyncStatistics::new(move |buffer| {
            ranks.all_reduce(buffer);
            Ok(())
        })
    }

    fn all_reduce(&self, buffer: &mut [f64]) {
        let mut state = self.state.lock().unwrap();
        if state.arrived == 0 {
            state.partial = vec![0.0; buffer.len()];
        }
        state.partial.iter_mut().zip(&*buffer).for_each(|(sum, value)| *sum += value);
        state.arrived += 1;
        let round = state.round;
        if state.arrived == self.num_ranks {
            state.total = std::mem::take(&mut state.partial);
            state.arrived = 0;
            state.round += 1;
            self.changed.notify_all();
        }
        let state = self.changed.wait_while(state, |state| state.round == round).unwrap();
        buffer.copy_from_slice(&state.total);
    }
}
