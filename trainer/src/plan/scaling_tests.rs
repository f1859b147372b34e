//! Tests of the plan: what it says for worlds that fit and worlds that do not.

use proptest::prelude::*;

use super::super::cost::{Bucket, Compute, PairLossCost};
use super::super::hardware::H100;
use super::super::memory::PairLossMemory;
use super::*;

fn inputs(world: usize, global_batch: usize) -> PlanInputs {
    PlanInputs {
        step: StepInputs {
            world,
            global_batch,
            micro_batch: None,
            views: 2,
            compute: Compute { secs_per_sample: 5e-4, floor_secs: 5e-3, forward_share: 1.0 / 3.0 },
            update_secs: 1e-3,
            buckets: Bucket::in_order(&[(1 << 20, 3), (25 << 20, 60), (25 << 20, 98)]),
            overlap: true,
            shard_optimizer: false,
            sync_layers: 53,
            sync_bytes: 8000.0,
            sync_queues: true,
            launch_secs: 15e-6,
            pair_loss: Some(PairLossCost { dim: 128, element_bytes: 4, secs_per_pair: 3e-11, queue_rows: 0 }),
            control_messages: 4,
            control_secs: 50e-6,
            input_secs_per_sample: 0.0,
            network: H100.network(),
        },
        memory: MemoryInputs {
            parameters: 25_000_000,
            element_bytes: 4,
            moments: 2,
            buffer_bytes: 200_000,
            activation_fixed_bytes: 10 << 20,
            activation_bytes_per_sample: 200 << 20,
            input_bytes_per_sample: 2 * 3 * 224 * 224 * 4,
            pair_loss: Some(PairLossMemory {
                rows: 0,
                own_rows: 0,
                dim: 128,
                element_bytes: 4,
                tile: 4096,
                queue_rows: 0,
                views: 2,
            }),
            ..MemoryInputs::default()
        },
        micro_batch: MicroBatchChoice::Fitting(64 << 30),
        compute_source: "published".into(),
        activation_source: "measured here".into(),
        positives: Positives::OtherViews,
        batch_norm: true,
        total_steps: 1000,
    }
}

fn value<'a>(plan: &'a ScalingPlan, name: &str) -> &'a str {
    let line = plan.lines.iter().find(|line| line.name == name);
    line.map_or("(absent)", |line| line.value.as_str())
}

#[test]
fn a_batch_that_divides_gives_no_warning() {
    let plan = ScalingPlan::new(&inputs(1024, 32768));
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(value(&plan, "planned world"), "1024");
    assert_eq!(value(&plan, "samples per rank"), "32");
    assert_eq!(value(&plan, "micro-batches"), "1 x 32");
    assert_eq!(value(&plan, "batch norm sees"), "32768 samples");
    assert_eq!(value(&plan, "positives per anchor"), "1");
    assert_eq!(value(&plan, "memory: weights"), "95.4 MiB");
    assert_eq!(value(&plan, "gradient buckets"), "3");
    assert_eq!(value(&plan, "how sure"), "prediction");
}

#[test]
fn the_micro_batch_is_the_largest_that_fits() {
    let plan = ScalingPlan::new(&inputs(8, 32768));
    // 4096 samples of 200 MiB in 64 GiB less what is fixed.
    let line = plan.lines.iter().find(|line| line.name == "micro-batches").unwrap();
    assert_eq!(
        (line.value.as_str(), line.reason.as_str()),
        ("14 x 293", "the largest equal micro-batches within 64.0 GiB")
    );
    assert!(plan.memory.total() <= 64 << 30);
    assert!(plan.cost.recompute_secs > 0.0);
    let whole =
        ScalingPlan::new(&PlanInputs { micro_batch: MicroBatchChoice::WholeShare, ..inputs(8, 32768) });
    assert_eq!(value(&whole, "micro-batches"), "1 x 4096");
    assert!(whole.memory.total() > 64 << 30);
}

#[test]
fn what_does_not_fit_or_divide_is_said_with_a_remedy() {
    let plan = ScalingPlan::new(&inputs(1024, 128));
    assert_eq!(
        plan.warnings,
        [
            "`trainer.batch_size=128` leaves 896 of 1024 ranks without a sample; raise it or take at most 128 ranks"
        ]
    );
    let plan = ScalingPlan::new(&inputs(1000, 4096));
    assert_eq!(
        plan.warnings,
        [
            "`trainer.batch_size=4096` does not divide by 1000 ranks, and the ranks with 4 samples wait for those with 5; \
          4000 or 5000 would divide"
        ]
    );
    let plan =
        ScalingPlan::new(&PlanInputs { micro_batch: MicroBatchChoice::Fitting(1 << 20), ..inputs(8, 64) });
    assert!(plan.warnings[0].starts_with("one sample per rank needs"), "{:?}", plan.warnings);
    assert!(plan.warnings[0].contains("`trainer.memory_bytes`"));
    let mut alone = inputs(1024, 4096);
    alone.step.sync_layers = 0;
    assert!(ScalingPlan::new(&alone).warnings[0].starts_with("batch norm sees 4 samples"));
}

#[test]
fn classes_make_more_positives() {
    let plan = ScalingPlan::new(&PlanInputs { positives: Positives::Class(16), ..inputs(8, 128) });
    let line = plan.lines.iter().find(|line| line.name == "positives per anchor").unwrap();
    assert_eq!((line.value.as_str(), line.reason.as_str()), ("31", "224 others; the same on any world"));
    let whole = ScalingPlan::new(&PlanInputs { positives: Positives::WholeClass, ..inputs(8, 128) });
    assert_eq!(value(&whole, "positives per anchor"), "its class in the batch");
    let mut direct = inputs(8, 128);
    (direct.step.pair_loss, direct.memory.pair_loss) = (None, None);
    assert_eq!(value(&ScalingPlan::new(&direct), "positives per anchor"), "(absent)");
}

#[test]
fn sharding_shows_in_memory() {
    let mut sharded = inputs(8, 4096);
    sharded.step.shard_optimizer = true;
    let line = |inputs: &PlanInputs| {
        let lines = ScalingPlan::new(inputs).lines;
        let line = lines.into_iter().find(|line| line.name == "memory: moments").unwrap();
        (line.value, line.reason)
    };
    assert_eq!(line(&sharded), ("23.8 MiB".into(), "1/8 of 191 MiB".into()));
    assert_eq!(line(&inputs(8, 4096)), ("191 MiB".into(), "2 per parameter".into()));
}

#[test]
fn the_table_lines_up_and_ends_with_warnings() {
    let text = ScalingPlan::new(&inputs(1024, 128)).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.last().unwrap().starts_with("warning: "));
    let column = lines[0].find("1024").unwrap();
    assert!(lines[1].chars().nth(column).unwrap().is_ascii_digit(), "{text}");
    assert!(lines.iter().all(|line| line.trim_end() == *line));
    assert_eq!(describe(&inputs(1024, 128)).len(), lines.len() - 1);
}

#[test]
fn seconds_have_three_digits() {
    let texts = [12.345, 123.0, 0.012, 0.000_25, 0.0].map(|secs| Secs(secs).to_string());
    assert_eq!(texts, ["12.3 s", "123 s", "12.0 ms", "250 us", "0.00 us"]);
}

proptest! {
    #[test]
    fn any_world_and_batch_gives_a_plan(
        world in 1_usize..5000, batch in 1_usize..100_000, budget in 0_u64..(200 << 30), sync in any::<bool>(),
    ) {
        let mut inputs = inputs(world, batch);
        inputs.micro_batch = MicroBatchChoice::Fitting(budget);
        if !sync {
            inputs.step.sync_layers = 0;
        }
        let plan = ScalingPlan::new(&inputs);
        prop_assert!(plan.cost.step_secs.is_finite() && plan.cost.efficiency <= 1.0 + 1e-9);
        let too_small = plan.warnings.iter().any(|w| w.starts_with("one sample per rank needs"));
        prop_assert!(too_small || plan.memory.total() <= budget);
    }
}
