//! Tests of the cost model: by hand on one case, by properties on all others.

use proptest::prelude::*;

use super::super::hardware::{A100, H100};
use super::*;

/// ResNet-50 SimCLR on `network`.
fn resnet50(world: usize, global_batch: usize) -> StepInputs {
    StepInputs {
        world,
        global_batch,
        micro_batch: None,
        views: 2,
        compute: Compute { secs_per_sample: 2.0 / 2470.0, floor_secs: 5e-3, forward_share: 1.0 / 3.0 },
        update_secs: 1e-3,
        buckets: (1..=5).map(|i| Bucket { bytes: 20e6, ready: f64::from(i) / 5.0 }).collect(),
        overlap: true,
        shard_optimizer: false,
        sync_layers: 54,
        sync_bytes: 8000.0,
        sync_queues: true,
        launch_secs: 15e-6,
        pair_loss: Some(PairLossCost { dim: 128, element_bytes: 4, secs_per_pair: 7e-11, queue_rows: 0 }),
        control_messages: 4,
        control_secs: 50e-6,
        input_secs_per_sample: 0.0,
        network: A100.network(),
    }
}

#[test]
fn a_small_case_by_hand() {
    let inputs = StepInputs {
        micro_batch: Some(3),
        compute: Compute { secs_per_sample: 1.0, floor_secs: 0.0, forward_share: 0.25 },
        update_secs: 0.5,
        buckets: vec![Bucket { bytes: 8.0, ready: 0.5 }, Bucket { bytes: 8.0, ready: 1.0 }],
        sync_layers: 2,
        sync_bytes: 0.0,
        launch_secs: 0.0625,
        pair_loss: Some(PairLossCost { dim: 3, element_bytes: 4, secs_per_pair: 0.01, queue_rows: 6 }),
        control_messages: 2,
        control_secs: 0.125,
        // Two ranks: an all-reduce takes 1 s and a second per byte, an all-gather half of the bytes.
        network: Network::measured("hand", "test", 0.0625, 1.0),
        ..resnet50(2, 7)
    };
    let cost = inputs.cost();
    // Shares 4 and 3, micro-batches 3 + 1, encoded twice.
    assert_eq!((cost.share, cost.micro_batches), (4, 2));
    assert_eq!((cost.compute_secs, cost.recompute_secs), (4.0, 1.0));
    // 8 own rows against 14 and 6 of the queue.
    assert!((cost.loss_secs - 8.0 * 20.0 * 0.01).abs() < 1e-12);
    // 2 micro-batches x (2 forward + 1 backward) x 2 layers.
    assert!((cost.sync_secs - 12.0 * 0.0625).abs() < 1e-12);
    // 14 rows x (12 + 16 + 4 bytes), half of them from the other rank, three messages.
    assert!((cost.gather_secs - (14.0 * 32.0 / 2.0 + 3.0 * 0.0625)).abs() < 1e-12);
    // The last backward (0.75 s) ends long before the wire: 8.0625 s from its middle, then 8.0625 s; the layers at a
    // quarter and at three quarters, of which the second waits for the first bucket.
    assert!((cost.gradient_secs - 2.0 * 8.0625).abs() < 1e-12);
    let first_sum = 0.25 * 0.75 + 0.0625;
    let bucket_done = first_sum + 0.25 * 0.75 + 8.0625;
    let backward_done = bucket_done + 0.0625 + 0.25 * 0.75;
    let end = backward_done + 8.0625;
    assert!((cost.gradient_exposed_secs - (end - 0.75 - 2.0 * 0.0625)).abs() < 1e-12);
    assert_eq!((cost.control_secs, cost.update_secs, cost.weights_secs), (0.25, 0.5, 0.0));
    assert_eq!(cost.wire.gradients, 16.0);
    let parts = 4.0 + 1.0 + 1.6 + 0.5 + cost.exposed_comm_secs();
    assert!((cost.step_secs - parts).abs() < 1e-9);
    // One rank: 7 samples, 14 x 20 pairs, one update.
    assert!((cost.one_rank_secs - (7.0 + 2.8 + 0.5)).abs() < 1e-12);
}

#[test]
fn launches_count_where_the_host_sets_the_pace() {
    // 4 samples take 3.2 ms on the GPU and 5 ms to launch: 108 sums and 5 buckets come on top.
    let small = resnet50(1024, 4096).cost();
    assert!((small.launch_secs - 113.0 * 15e-6).abs() < 1e-12, "{}", small.launch_secs);
    assert!(small.losses.iter().any(|(name, _)| name == "launching collectives"));
    // Calls that wait for a thread of NCCL's are felt five times as much.
    let waiting = StepInputs { launch_secs: 80e-6, ..resnet50(1024, 4096) }.cost();
    assert!((waiting.launch_secs - small.launch_secs - 113.0 * 65e-6).abs() < 1e-12);
    assert!(waiting.step_secs > small.step_secs);
    // A GPU that computes for 415 ms hides them.
    assert_eq!(resnet50(8, 4096).cost().launch_secs, 0.0);
    // Micro-batches of a contrastive loss sum three times a layer.
    let cut = StepInputs { micro_batch: Some(1), ..resnet50(1024, 4096) };
    assert!((cut.cost().launch_secs - (4.0 * 3.0 * 54.0 + 5.0) * 15e-6).abs() < 1e-12);
}

#[test]
fn input_that_is_too_slow_sets_the_pace() {
    let mut inputs = resnet50(8, 4096);
    inputs.input_secs_per_sample = 0.01;
    assert!((inputs.cost().step_secs - 512.0 * 0.01).abs() < 1e-9);
    assert_eq!(inputs.cost().losses.first().map(|l| l.0.as_str()), Some("input"));
}

#[test]
fn small_shares_are_limited_by_latency_and_large_ones_are_not() {
    let [small, large] = [resnet50(1024, 4096), resnet50(8, 32768)].map(|inputs| inputs.cost());
    assert!(small.efficiency < 0.3, "{}", small.efficiency);
    assert!(large.efficiency > 0.95, "{}", large.efficiency);
}

#[test]
fn sharding_sends_as_many_bytes_and_divides_the_update() {
    // Reduce-scatter and all-gather send the bytes of an all-reduce.
    let whole = resnet50(16, 4096);
    let sharded = StepInputs { shard_optimizer: true, ..whole.clone() };
    assert_eq!(whole.cost().wire, sharded.cost().wire);
    assert!(sharded.cost().update_secs < whole.cost().update_secs);
}

#[test]
fn a_measured_file_reads_back() {
    let inputs = resnet50(2, 128);
    let text = serde_json::to_string(&inputs).unwrap();
    // serde_json may be off by the last bit of a float.
    let [read, given] =
        [serde_json::from_str::<StepInputs>(&text).unwrap(), inputs].map(|i| i.cost().step_secs);
    assert!((read / given - 1.0).abs() < 1e-12, "{read} {given}");
    assert!(serde_json::from_str::<StepInputs>(&text.replacen("overlap", "overlaps", 1)).is_err());
}

#[test]
fn buckets_are_ready_by_the_share_of_parameters() {
    let buckets = Bucket::in_order(&[(10, 1), (50, 2), (100, 1)]);
    let expected = [(10.0, 0.25), (50.0, 0.75), (100.0, 1.0)];
    assert_eq!(buckets, expected.map(|(bytes, ready)| Bucket { bytes, ready }));
    assert_eq!(Bucket::in_order(&[]), []);
}

#[test]
fn micro_batches_cover_the_share() {
    assert_eq!(micro_batches(0, None), [0]);
    assert_eq!(micro_batches(0, Some(4)), [0]);
    assert_eq!(micro_batches(10, Some(4)), [4, 4, 2]);
    assert_eq!(micro_batches(4, Some(0)), [1, 1, 1, 1]);
    assert_eq!(micro_batches(4, Some(9)), [4]);
}

prop_compose! {
    fn inputs()(
        world in 1_usize..1500, global_batch in 1_usize..40_000, micro in prop::option::of(1_usize..2000),
        per_sample in 1e-6..1e-2, floor_secs in 0.0..1e-2, update_secs in 0.0..1e-2,
        buckets in prop::collection::vec((0.0..1e8, 0.0..1.0), 0..20), sync_layers in 0_usize..60,
        (overlap, shard_optimizer, pairs, h100, sync_queues) in any::<(bool, bool, bool, bool, bool)>(), input in 0.0..1e-3,
        launch_secs in 0.0..1e-4,
    ) -> StepInputs {
        StepInputs {
            micro_batch: micro,
            compute: Compute { secs_per_sample: per_sample, floor_secs, forward_share: 1.0 / 3.0 },
            update_secs,
            buckets: buckets.into_iter().map(|(bytes, ready)| Bucket { bytes, ready }).collect(),
            sync_layers, sync_queues, overlap, shard_optimizer, launch_secs, input_secs_per_sample: input,
            pair_loss: resnet50(1, 1).pair_loss.filter(|_| pairs),
            network: if h100 { H100 } else { A100 }.network(),
            ..resnet50(world, global_batch)
        }
    }
}

proptest! {
    #[test]
    fn one_rank_communicates_nothing(inputs in inputs()) {
        let cost = StepInputs { world: 1, ..inputs }.cost();
        prop_assert_eq!(cost.exposed_comm_secs(), 0.0);
        prop_assert_eq!(cost.wire.total(), 0.0);
        prop_assert_eq!(cost.gradient_secs, 0.0);
    }

    #[test]
    fn efficiency_is_at_most_one_and_the_losses_explain_it(inputs in inputs()) {
        let cost = inputs.cost();
        prop_assert!(cost.efficiency > 0.0 && cost.efficiency <= 1.0 + 1e-9, "{}", cost.efficiency);
        prop_assert!(cost.losses.iter().all(|(_, secs)| *secs > 0.0));
        let lost = cost.step_secs - cost.one_rank_secs / inputs.world as f64;
        let explained: f64 = cost.losses.iter().map(|l| l.1).sum();
        // What is named covers what is lost, but for the loss of the rows that the largest share has more.
        prop_assert!(explained + cost.loss_secs >= lost - 1e-9 * cost.step_secs, "{explained} of {lost}");
    }

    #[test]
    fn the_step_is_the_sum_of_its_parts_and_never_below_compute_or_wire(inputs in inputs()) {
        let cost = inputs.cost();
        let parts = cost.compute_secs + cost.recompute_secs + cost.loss_secs + cost.update_secs + cost.input_secs
            + cost.exposed_comm_secs();
        prop_assert!((cost.step_secs / parts - 1.0).abs() < 1e-9);
        prop_assert!(cost.step_secs >= cost.compute_secs.max(cost.gradient_secs) * (1.0 - 1e-9));
        prop_assert!(cost.gradient_exposed_secs <= cost.gradient_secs * (1.0 + 1e-9) + 1e-12 || inputs.overlap);
    }

    #[test]
    fn a_faster_network_never_makes_a_step_slower(inputs in inputs(), factor in 1.0..20.0) {
        let mut faster = inputs.clone();
        faster.network.bus_within *= factor;
        faster.network.bus_between *= factor;
        prop_assert!(faster.cost().step_secs <= inputs.cost().step_secs * (1.0 + 1e-9));
    }

    #[test]
    fn a_faster_device_never_makes_a_step_slower(inputs in inputs(), factor in 0.1..1.0) {
        let mut faster = inputs.clone();
        faster.compute.secs_per_sample *= factor;
        faster.compute.floor_secs *= factor;
        prop_assert!(faster.cost().step_secs <= inputs.cost().step_secs * (1.0 + 1e-9));
    }

    #[test]
    fn without_synchronized_layers_overlap_never_loses(inputs in inputs()) {
        let [with, without] =
            [true, false].map(|overlap| StepInputs { overlap, sync_layers: 0, ..inputs.clone() }.cost());
        prop_assert!(with.step_secs <= without.step_secs * (1.0 + 1e-9));
        prop_assert!((without.gradient_exposed_secs - without.gradient_secs).abs() <= 1e-9 * without.step_secs);
    }
}
