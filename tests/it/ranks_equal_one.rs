//! The batch is global: in 64 bits one, two and three ranks give the same losses and the same weights, beyond the order
//! in which they add, also where the batch splits unevenly or leaves a rank without samples.

use crate::small_runs::{settings, with_recordings};

/// Runs eight steps with each number of ranks and compares with one rank.
#[track_caller]
fn assert_ranks_equal_one(method: &str, per_class: usize, batch_size: usize, more: &[&str]) {
    let sandbox = with_recordings(per_class);
    let batch_size = format!("trainer.batch_size={batch_size}");
    for ranks in [1, 2, 3] {
        let dir = format!("run.dir=ranks{ranks}");
        let mut all =
            vec![dir.as_str(), batch_size.as_str(), "trainer.max_steps=8", "trainer.precision=fp64"];
        all.extend(more);
        sandbox.dtrain(settings(method, &all)).ranks(ranks).finish().succeeded();
    }
    let one = sandbox.run("ranks1");
    for ranks in [2, 3] {
        let many = sandbox.run(format!("ranks{ranks}"));
        for name in ["train/loss", "opt/grad_norm"] {
            assert_eq!((many.series(name).len(), one.series(name).len()), (8, 8));
            for ((step, a), (_, b)) in many.series(name).into_iter().zip(one.series(name)) {
                assert!(
                    (a - b).abs() <= 1e-10 * b.abs().max(1.0),
                    "{name} of step {step} with {ranks} ranks: {a} and {b}"
                );
            }
        }
        assert_eq!(many.result_count("samples_seen"), one.result_count("samples_seen"));
        let (all, (tensor, worst)) = many.weights().distance(&one.weights());
        assert!(all < 1e-10, "{ranks} ranks: the weights differ by {all:e}");
        assert!(worst < 1e-8, "{ranks} ranks: `{tensor}` differs by {worst:e}");
    }
}

/// 24 samples in batches of 23 and 1: the second leaves all ranks but one without samples.
#[test]
fn supervised_with_a_batch_of_one_sample() {
    assert_ranks_equal_one("supervised", 8, 23, &["method.label_smoothing=0.1"]);
}

/// 30 samples in batches of 7, 7, 7, 7 and 2: 3 + 2 + 2 samples, and 1 + 1 + 0.
#[test]
fn supervised_with_batches_that_split_unevenly() {
    assert_ranks_equal_one("supervised", 10, 7, &["optimizer=sgd", "trainer.grad_clip=0.5"]);
}

/// 30 samples in batches of at most 7 that two and three ranks share.
#[test]
fn simclr_with_batches_that_split_unevenly() {
    assert_ranks_equal_one("simclr", 10, 7, &[]);
}

/// Batches of two samples and of one, which three ranks share. One sample has no negatives: its loss and gradient are 0
/// up to rounding, which AdamW would divide by itself, so SGD takes the steps.
#[test]
fn simclr_with_fewer_samples_than_ranks() {
    assert_ranks_equal_one("simclr", 1, 2, &["optimizer=sgd"]);
}

/// Classes times samples, over a batch that three ranks cannot share evenly.
#[test]
fn supcon_with_batches_that_split_unevenly() {
    assert_ranks_equal_one("supcon", 9, 10, &["method.samples_per_class=auto"]);
}
