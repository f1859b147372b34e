//! What of the gradient's all-reduce stays visible behind the backward pass: a small simulation of one rank's compute
//! stream and one serial wire.
//!
//! Backward moves along its work; at certain points a bucket becomes ready and queues for the wire, at others a
//! synchronized layer sends its sums and waits for the answer. Operations take the wire in the order of their start, as on
//! one NCCL communicator; between CPUs the sums have a communicator of their own and pass by the buckets.

use serde::{Deserialize, Serialize};

/// A collective on the way through backward.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// When it starts, as a part of backward's own work: 0 at its beginning, 1 at its end.
    pub at: f64,
    /// Seconds on the wire.
    pub secs: f64,
    /// Whether backward waits for the result.
    pub blocks: bool,
    /// Whether it passes by what is queued.
    pub passes_by: bool,
}

/// What the simulation saw.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timeline {
    /// Seconds from the beginning of backward to the end of the last operation.
    pub end_secs: f64,
    /// Seconds from the beginning of backward to the end of its own work, waiting for blocking operations included.
    pub backward_secs: f64,
    /// Seconds that backward waited for blocking operations.
    pub waited_secs: f64,
    /// Seconds that the wire was busy.
    pub wire_secs: f64,
}

impl Timeline {
    /// Seconds of communication after the end of backward.
    pub fn tail_secs(&self) -> f64 {
        (self.end_secs - self.backward_secs).max(0.0)
    }

    /// Seconds of communication that add to the step: waiting and tail.
    pub fn exposed_secs(&self) -> f64 {
        self.waited_secs + self.tail_secs()
    }
}

/// Runs backward, `compute_secs` of own work, with its operations. Without `overlap` those that do not block start when
/// backward has ended.
pub fn simulate(compute_secs: f64, operations: &[Operation], overlap: bool) -> Timeline {
    let mut order: Vec<&Operation> = operations.iter().collect();
    order.sort_by(|a, b| a.at.total_cmp(&b.at));
    let (mut now, mut done, mut wire_free) = (0.0, 0.0, 0.0_f64);
    let mut timeline = Timeline::default();
    let mut later = 0.0;
    for operation in order {
        let at = operation.at.clamp(0.0, 1.0);
        now += (at - done) * compute_secs;
        done = at;
        timeline.wire_secs += operation.secs;
        if !operation.blocks && !overlap {
            later += operation.secs;
            continue;
        }
        let done_at = if operation.passes_by {
            now + operation.secs
        } else {
            wire_free = wire_free.max(now) + operation.secs;
            wire_free
        };
        if operation.blocks {
            timeline.waited_secs += done_at - now;
            now = done_at;
        }
    }
    timeline.backward_secs = now + (1.0 - done) * compute_secs;
    timeline.end_secs = wire_free.max(timeline.backward_secs) + later;
    timeline
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bucket(at: f64, secs: f64) -> Operation {
        Operation { at, secs, blocks: false, passes_by: false }
    }

    fn sync(at: f64, secs: f64) -> Operation {
        Operation { at, secs, blocks: true, passes_by: false }
    }

    #[test]
    fn a_bucket_in_the_middle_hides_and_the_last_one_does_not() {
        let timeline = simulate(10.0, &[bucket(0.5, 3.0), bucket(1.0, 2.0)], true);
        assert_eq!((timeline.backward_secs, timeline.end_secs, timeline.tail_secs()), (10.0, 12.0, 2.0));
        let timeline = simulate(10.0, &[bucket(0.5, 3.0), bucket(1.0, 2.0)], false);
        assert_eq!((timeline.end_secs, timeline.tail_secs()), (15.0, 5.0));
    }

    #[test]
    fn the_wire_is_serial() {
        let timeline = simulate(10.0, &[bucket(0.1, 8.0), bucket(0.2, 8.0)], true);
        assert_eq!(timeline.end_secs, 17.0);
    }

    #[test]
    fn a_synchronized_layer_waits_behind_a_bucket() {
        let timeline = simulate(10.0, &[bucket(0.5, 3.0), sync(0.6, 0.1)], true);
        // The bucket holds the wire from 5 to 8, the layer asks at 6 and has its answer at 8.1.
        assert!((timeline.waited_secs - 2.1).abs() < 1e-12);
        assert!((timeline.end_secs - 12.1).abs() < 1e-12);
        // Without overlap the wire is free for the layer.
        let timeline = simulate(10.0, &[bucket(0.5, 3.0), sync(0.6, 0.1)], false);
        assert!((timeline.waited_secs - 0.1).abs() < 1e-12);
        assert!((timeline.end_secs - 13.1).abs() < 1e-12);
        // Nor does it wait on a communicator of its own.
        let timeline =
            simulate(10.0, &[bucket(0.5, 3.0), Operation { passes_by: true, ..sync(0.6, 0.1) }], true);
        assert!((timeline.end_secs - 10.1).abs() < 1e-12);
    }

    #[test]
    fn wire_time_of_half_the_backward_hides_but_for_the_last_bucket() {
        let buckets: Vec<Operation> = (1..=10).map(|i| bucket(f64::from(i) / 10.0, 0.5)).collect();
        let timeline = simulate(10.0, &buckets, true);
        assert_eq!(timeline.wire_secs, 5.0);
        assert!((timeline.exposed_secs() - 0.5).abs() < 1e-12);
    }

    prop_compose! {
        fn operation()(at in 0.0..1.0, secs in 0.0..2.0, blocks in any::<bool>(), by in any::<bool>()) -> Operation {
            Operation { at, secs, blocks, passes_by: blocks && by }
        }
    }

    proptest! {
        #[test]
        fn no_schedule_beats_compute_or_wire(
            compute in 0.0..20.0, operations in prop::collection::vec(operation(), 0..30), overlap in any::<bool>(),
        ) {
            let t = simulate(compute, &operations, overlap);
            let wire: f64 = operations.iter().map(|o| o.secs).sum();
            prop_assert!((t.wire_secs - wire).abs() < 1e-9);
            let queued: f64 = operations.iter().filter(|o| !o.passes_by).map(|o| o.secs).sum();
            prop_assert!(t.end_secs >= compute.max(queued) - 1e-9);
            prop_assert!(t.end_secs <= compute + wire + 1e-9);
            prop_assert!((t.end_secs - compute - t.exposed_secs()).abs() < 1e-9);
            prop_assert!((t.backward_secs - compute - t.waited_secs).abs() < 1e-9);
        }

        #[test]
        fn without_blocking_layers_overlap_never_loses(
            compute in 0.0..20.0, mut operations in prop::collection::vec(operation(), 0..30),
        ) {
            operations.iter_mut().for_each(|o| o.blocks = false);
            let (with, without) = (simulate(compute, &operations, true), simulate(compute, &operations, false));
            prop_assert!(with.end_secs <= without.end_secs + 1e-9);
        }

        #[test]
        fn a_slower_wire_never_ends_earlier(
            compute in 0.0..20.0, operations in prop::collection::vec(operation(), 0..30), factor in 1.0..5.0,
            overlap in any::<bool>(),
        ) {
            let slower: Vec<Operation> = operations.iter().map(|o| Operation { secs: o.secs * factor, ..*o }).collect();
            let (fast, slow) = (simulate(compute, &operations, overlap), simulate(compute, &slower, overlap));
            prop_assert!(slow.end_secs >= fast.end_secs - 1e-9);
        }
    }
}
