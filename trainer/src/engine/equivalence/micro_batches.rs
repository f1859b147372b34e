//! What micro-batches change (batch norm's batch) and what they do not (anything else).

use dtrain_configs::schema::Norm;

use super::plain::Plain;
use super::*;

/// Batches of 12 samples for micro-batches of `micro` samples: `orders` gives each rank's samples.
fn pieces(orders: &[&[u64]]) -> Vec<GlobalBatch> {
    (0..STEPS)
        .map(|step| GlobalBatch {
            samples: orders.concat().into_iter().map(|i| 13 * step + i).collect(),
            counts: orders.iter().map(|order| order.len() as u32).collect(),
        })
        .collect()
}

const ORDER: &[u64] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// With batch norm over each piece alone, the pieces are all that counts, not where and when they are computed.
#[test]
fn micro_batches_equal_ranks_where_batch_norm_is_local() {
    for (name, build, labelled_only) in methods() {
        let case =
            Case { sync_bn: false, micro_batch: Some(3), labelled_only, ..whole(sgd(), build.clone()) };
        let mut alone = train(&case, &pieces(&[ORDER]));
        let mut halves = train(&case, &pieces(&[&ORDER[..6], &ORDER[6..]]));
        let mut quarters = train(&case, &pieces(&[&ORDER[..3], &ORDER[3..6], &ORDER[6..9], &ORDER[9..]]));
        // One rank has seen all pieces, the others a half or a quarter of them.
        let seen = |trained: &Trained| trained.buffers[2].1.int64_value(&[]);
        assert_eq!([&alone, &halves, &quarters].map(seen), [4, 2, 1].map(|pieces| pieces * STEPS as i64));
        for trained in [&mut alone, &mut halves, &mut quarters] {
            trained.buffers.clear();
        }
        assert_same_training(name, &halves, &alone);
        assert_same_training(name, &quarters, &alone);
    }
}

/// With batch norm over all ranks, the pieces of one round are normalized together, and running statistics learn once
/// from each round, also where everything is encoded twice.
#[test]
fn a_round_of_micro_batches_is_normalized_over_all_ranks() {
    for (name, build, labelled_only) in methods() {
        let case = |micro| Case { micro_batch: Some(micro), labelled_only, ..whole(adamw(), build.clone()) };
        // As long as a memory queue holds all rows, whatever their order.
        let train = |case: &Case, batches: &[GlobalBatch]| {
            let mut trained = train(case, &batches[..3]);
            trained.buffers.retain(|(name, _)| !name.starts_with("queue."));
            trained
        };
        let two = train(&case(3), &pieces(&[&ORDER[..6], &ORDER[6..]]));
        let alone = train(&case(6), &pieces(&[&[0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11]]));
        assert_same_training(name, &two, &alone);
        assert_eq!(two.buffers[2].0, "backbone.bn1.num_batches_tracked");
        assert_eq!(two.buffers[2].1.int64_value(&[]), 2 * 3);
    }
}

/// Where samples do not meet in the network, micro-batches change nothing at all.
#[test]
fn without_batch_norm_micro_batches_equal_the_whole() {
    let builds: [(&str, Build); 2] =
        ["pairs", "direct"].map(|name| (name, built_by(move |p| Plain::build(name == "pairs", 0, p))));
    for (name, build) in builds {
        let case =
            |micro_batch| Case { micro_batch, labelled_only: true, tile: 48, ..whole(sgd(), build.clone()) };
        let expected = train(&case(None), &batches(1));
        for (world_size, micro) in [(1, 1), (1, 2), (1, 4), (2, 3), (3, 2), (4, 1)] {
            let what = format!("{name}: {world_size} ranks in micro-batches of {micro}");
            assert_same_training(&what, &train(&case(Some(micro)), &batches(world_size)), &expected);
        }
    }
}

/// A network in which each sample is normalized by itself.
fn grouped() -> ModelConfig {
    ModelConfig { norm: Norm::Group, norm_groups: 8, ..backbone("cnn_small") }
}

/// The gradient of a batch of the sizes that are trained with, of every method, is that of its pieces, on one rank and on two
/// with uneven shares: whatever is gathered, encoded twice or averaged on the way.
#[test]
fn gradients_of_64_and_512_samples_are_those_of_their_micro_batches() {
    for (name, build, _) in methods_on(grouped()) {
        for (samples, shares, micro) in [(64, [39, 25], 16), (512, [300, 212], 128)] {
            let batch =
                |counts: &[u32]| [GlobalBatch { samples: (0..samples).collect(), counts: counts.to_vec() }];
            let case = |micro_batch| Case {
                micro_batch,
                labelled_only: true,
                tile: 48,
                ..whole(sgd(), build.clone())
            };
            let expected = train(&case(None), &batch(&[samples as u32]));
            for counts in [&[samples as u32][..], &shares] {
                let what = format!("{name}, {counts:?} samples in pieces of {micro}");
                assert_same_training(&what, &train(&case(Some(micro)), &batch(counts)), &expected);
            }
        }
    }
}
