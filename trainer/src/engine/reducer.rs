//! Gradients over ranks while backward goes on. Hooks hear when a parameter's gradient is complete; a bucket whose
//! parameters are complete is sent, in one order that is the same on all ranks and in all steps (Li et al. 2020, "PyTorch
//! Distributed", arXiv 2006.15704). Buckets are never rebuilt: the order of summation is part of the result.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dtrain_comm::{ReduceOp, TensorOp, Ticket};
use tch::Tensor;

use super::flat::{Flat, part};
use super::ranks::Ranks;
use super::shard::part_len;
use crate::error::TrainError;
use crate::model::parameters::Parameters;
use crate::torch_extra::GradientHooks;

/// How buckets cross ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reduction {
    /// Send buckets from the hooks; otherwise all at the end of backward.
    pub overlap: bool,
    /// Sum each rank's part of a bucket on that rank only.
    pub scatter: bool,
}

/// Watches gradients and sums them over ranks.
pub struct Reducer {
    shared: Arc<Shared>,
    /// Hooks hold a share of `shared`; dropped first.
    _hooks: GradientHooks,
}

struct Shared {
    /// Which parameters had a gradient in this step.
    touched: Box<[AtomicBool]>,
    /// Bucket of each parameter.
    bucket_of: Vec<usize>,
    buckets: Vec<Range<usize>>,
    reduction: Reduction,
    ranks: Ranks,
    state: Mutex<State>,
}

struct State {
    gradients: Tensor,
    /// Whether this backward is the last of the step.
    armed: bool,
    /// Parameters of each bucket that are not frozen.
    trained: Vec<usize>,
    /// Of them, those whose gradient is not complete yet.
    missing: Vec<usize>,
    /// Buckets that were started.
    started: usize,
    /// Of them, those that were started while backward went on.
    early: usize,
    tickets: Vec<Ticket>,
    error: Option<TrainError>,
}

/// What the end of backward left to do.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tail {
    /// Time from the end of backward to the last sum.
    pub exposed: Duration,
    /// Buckets that were started while backward went on.
    pub early_buckets: usize,
}

impl Reducer {
    /// Hooks every parameter; `buckets` are [`Flat::buckets`].
    pub fn new(
        parameters: &Parameters,
        flat: &Flat,
        buckets: Vec<Range<usize>>,
        reduction: Reduction,
        ranks: Ranks,
    ) -> Result<Self, TrainError> {
        let bucket_of: Vec<usize> = flat
            .segments()
            .iter()
            .map(|s| buckets.iter().position(|bucket| bucket.contains(&s.offset)).unwrap_or(0))
            .collect();
        let mut sizes = vec![0; buckets.len()];
        for &bucket in &bucket_of {
            if let Some(size) = sizes.get_mut(bucket) {
                *size += 1;
            }
        }
        let state = State {
            gradients: flat.gradients().shallow_clone(),
            armed: false,
            trained: sizes,
            missing: Vec::new(),
            started: 0,
            early: 0,
            tickets: Vec::new(),
            error: None,
        };
        let touched = bucket_of.iter().map(|_| AtomicBool::new(false)).collect();
        let shared =
            Arc::new(Shared { touched, bucket_of, buckets, reduction, ranks, state: Mutex::new(state) });
        let heard = Arc::clone(&shared);
        let tensors = parameters.parameters().iter().map(|p| &p.tensor);
        let hooks = GradientHooks::new(tensors, move |index| heard.on_gradient(index))?;
        Ok(Self { shared, _hooks: hooks })
    }

    /// The parts that are summed one after the other.
    pub fn buckets(&self) -> &[Range<usize>] {
        &self.shared.buckets
    }

    /// From the next step on, no gradient comes of the parameters with a `true`: their bucket does not wait for them, and
    /// a bucket of such parameters alone stays zero and is not sent.
    pub fn set_frozen(&self, frozen: &[bool]) {
        let mut state = self.shared.lock();
        state.trained.fill(0);
        for (bucket, frozen) in self.shared.bucket_of.iter().zip(frozen) {
            if let Some(trained) = state.trained.get_mut(*bucket) {
                *trained += usize::from(!frozen);
            }
        }
    }

    /// Before a step.
    pub fn begin(&self) {
        self.shared.touched.iter().for_each(|flag| flag.store(false, Ordering::Relaxed));
        let mut state = self.shared.lock();
        state.armed = false;
        (state.started, state.early) = (0, 0);
        state.missing = state.trained.clone();
    }

    /// Before the last backward of a step: from here on a complete gradient is final.
    pub fn arm(&self) {
        self.shared.lock().armed = self.shared.reduction.overlap && !self.shared.ranks.is_alone();
    }

    /// After the last backward: sends what is left, parameters without a gradient included, and waits for all sums.
    pub fn finish(&self) -> Result<Tail, TrainError> {
        let begin = Instant::now();
        if self.shared.ranks.is_alone() {
            return Ok(Tail::default());
        }
        let mut state = self.shared.lock();
        state.armed = false;
        state.early = state.started;
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        self.shared.ranks.timed(|| {
            while state.started < self.shared.buckets.len() {
                self.shared.start_next(&mut state)?;
            }
            state.tickets.drain(..).try_for_each(Ticket::wait)?;
            Ok::<(), TrainError>(())
        })?;
        Ok(Tail { exposed: begin.elapsed(), early_buckets: state.early })
    }

    /// Which parameters had a gradient on this rank, in registration order.
    pub fn touched(&self) -> Vec<bool> {
        self.shared.touched.iter().map(|flag| flag.load(Ordering::Relaxed)).collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs on libtorch's thread of the gradient's device.
    fn on_gradient(&self, index: usize) {
        if let Some(flag) = self.touched.get(index) {
            flag.store(true, Ordering::Relaxed);
        }
        let mut state = self.lock();
        if !state.armed || state.error.is_some() {
            return;
        }
        let bucket = self.bucket_of.get(index).copied().unwrap_or(0);
        if let Some(missing) = state.missing.get_mut(bucket) {
            *missing = missing.saturating_sub(1);
        }
        while state.missing.get(state.started) == Some(&0) {
            if let Err(error) = self.start_next(&mut state) {
                state.error = Some(error);
                return;
            }
        }
    }

    fn start_next(&self, state: &mut State) -> Result<(), TrainError> {
        let Some(bucket) = self.buckets.get(state.started) else { return Ok(()) };
        let is_frozen = state.trained.get(state.started) == Some(&0);
        state.started += 1;
        if bucket.is_empty() || is_frozen {
            return Ok(());
        }
        let sum = |range: &Range<usize>| (TensorOp::AllReduce(ReduceOp::Sum), part(&state.gradients, range));
        let ops = if self.reduction.scatter {
            let world_size = self.ranks.world().world_size;
            let middle = bucket.start + world_size * part_len(bucket, world_size);
            let scatter = (TensorOp::ReduceScatter, part(&state.gradients, &(bucket.start..middle)));
            let mut ops = vec![scatter, sum(&(middle..bucket.end))];
            ops.retain(|(_, tensor)| tensor.numel() > 0);
            ops
        } else {
            vec![sum(bucket)]
        };
        // SAFETY: the flat gradient lives as long as the engine; backward has finished with these elements, since their
        // gradients are complete, and the step reads them after `finish` only.
        let ticket = unsafe { self.ranks.start_group(&ops) }?;
        state.tickets.push(ticket);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use dtrain_comm::{Background, local_world};
    use tch::{Device, Kind};

    use super::*;
    use crate::model::parameters::{Init, Role};

    const WORLD: usize = 3;

    struct Rank {
        parameters: Parameters,
        flat: Flat,
        reducer: Reducer,
    }

    fn rank(ranks: Ranks, reduction: Reduction) -> Rank {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 1);
        for (name, len) in [("first", 5), ("unused", 3), ("second", 7), ("third", 2)] {
            let _ = parameters.parameter(name, &[len], Init::Constant(1.0), Role::Weight);
        }
        let flat = Flat::new(&parameters).unwrap();
        let buckets = flat.buckets(64, 64);
        let reducer = Reducer::new(&parameters, &flat, buckets, reduction, ranks).unwrap();
        Rank { parameters, flat, reducer }
    }

    /// Two micro-batches; the gradient of a parameter is `factor * (1 + 10)` times its length's place.
    fn step(rank: &Rank, factor: f64) -> Tail {
        rank.flat.zero_gradients();
        rank.reducer.begin();
        for (scale, last) in [(1.0, false), (10.0, true)] {
            if last {
                rank.reducer.arm();
            }
            let sum = |name: &str, weight: f64| {
                let found = rank.parameters.parameters().iter().find(|p| p.name == name).unwrap();
                found.tensor.sum(Kind::Double) * (weight * factor * scale)
            };
            (sum("first", 1.0) + sum("second", 2.0) + sum("third", 3.0)).backward();
        }
        rank.reducer.finish().unwrap()
    }

    fn on_each_rank(overlap: bool, scatter: bool) -> Vec<(Vec<Vec<f64>>, Vec<bool>, Tail)> {
        let reduction = Reduction { overlap, scatter };
        thread::scope(|scope| {
            let worlds = local_world(WORLD).into_iter().zip(local_world(WORLD));
            let threads: Vec<_> = worlds
                .map(|(control, tensors)| {
                    scope.spawn(move || {
                        let transport = Arc::new(Background::start(tensors).unwrap());
                        let factor = (control.world().rank + 1) as f64;
                        let rank = rank(Ranks::new(control, transport), reduction);
                        let _ = step(&rank, factor);
                        let tail = step(&rank, factor);
                        let gradients = rank.flat.segments().iter().map(|s| s.view_of(rank.flat.gradients()));
                        let gradients = gradients.map(|g| Vec::try_from(g).unwrap()).collect();
                        (gradients, rank.reducer.touched(), tail)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn sums_hold_all_micro_batches_of_all_ranks_with_and_without_overlap() {
        // Ranks bring 11, 22 and 33 times a weight.
        let expected = [vec![66.0; 5], vec![0.0; 3], vec![132.0; 7], vec![198.0; 2]];
        for overlap in [false, true] {
            for (gradients, touched, tail) in on_each_rank(overlap, false) {
                assert_eq!(gradients, expected);
                assert_eq!(touched, [true, false, true, true]);
                // The unused parameter keeps its bucket, and those after it, until the end.
                assert_eq!(tail.early_buckets, if overlap { 2 } else { 0 });
            }
        }
    }

    #[test]
    fn each_rank_gets_the_sum_of_its_part_of_each_bucket() {
        let expected: Vec<f64> = on_each_rank(false, false).remove(0).0.concat();
        for overlap in [false, true] {
            for (index, (gradients, ..)) in on_each_rank(overlap, true).into_iter().enumerate() {
                // Every segment is a bucket of eight elements, padding included: two for each rank, the rest for all.
                let (mut at, gradients) = (0, gradients.concat());
                for len in [5, 3, 7, 2] {
                    for place in 0..len {
                        if (2 * index..2 * index + 2).contains(&place) || place >= 6 {
                            assert_eq!(gradients[at + place], expected[at + place]);
                        }
                    }
                    at += len;
                }
            }
        }
    }
}
