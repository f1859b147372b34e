//! The ways that gradients and weights go between ranks, and what a GPU would be asked to do, change nothing.

use super::*;

/// Optimizers, of which each method meets another one first.
fn optimizers() -> [OptimizerConfig; 3] {
    [sgd(), adamw(), lars()]
}

/// Sent while backward goes on, in buckets of any size, sharded, and with outcomes that the host learns late: the same
/// training. Every optimizer goes every way with some method.
#[test]
fn the_way_between_ranks_does_not_matter() {
    for (number, (name, build, labelled_only)) in methods().enumerate() {
        let ways = [
            (true, 1 << 10, false, false),
            (true, 1 << 17, true, false),
            (false, 1 << 12, true, true),
            (false, 1, false, true),
        ];
        for (turn, optimizer) in optimizers().into_iter().enumerate() {
            let case = |way| Case { labelled_only, way, ..whole(optimizer.clone(), build.clone()) };
            let alone = train(&case(PLAIN_WAY), &batches(1));
            let own = ways.iter().enumerate().filter(|(way, _)| (way + number) % 3 == turn);
            for (_, &(overlap, bucket_bytes, shard_optimizer, deferred)) in own {
                let way = Way { overlap, bucket_bytes, shard_optimizer, deferred };
                for world_size in [2, 3] {
                    let what = format!("{name}, {}, {world_size} ranks, {way:?}", optimizer.name());
                    assert_same_training(&what, &train(&case(way), &batches(world_size)), &alone);
                }
            }
        }
    }
}

/// What a GPU would be asked to do in a step of any method, with synchronized batch norm on two ranks, one of them now and then
/// without a sample: the same training, and no call that it would refuse or that does not give the same bits each time.
#[test]
fn as_on_a_gpu_every_method_trains_the_same() {
    for ((name, build, labelled_only), optimizer) in methods().zip(optimizers().into_iter().cycle()) {
        let case =
            |micro_batch| Case { labelled_only, micro_batch, ..whole(optimizer.clone(), build.clone()) };
        for micro_batch in [None, Some(3)] {
            // Five steps: roundings differ, since a GPU is asked for products where a CPU adds by index, and grow with each.
            let mut batches = batches(2);
            batches.drain(4..7);
            let expected = train(&case(micro_batch), &batches);
            let what = format!("{name}, {}, pieces of {micro_batch:?}", optimizer.name());
            let actual = train_by(&case(micro_batch), &batches, |rank| as_on_cuda(rank));
            // Adam divides what is near nothing by its own size; by how much roundings grow then depends on the CPU.
            let noise = if optimizer.name().starts_with("adam") { 100.0 } else { 1.0 };
            assert_alike(&what, &actual, &expected, noise);
        }
    }
}

/// A shard changes where moments lie and nothing else: with two ranks, even the order of every sum.
#[test]
fn sharding_the_optimizer_keeps_weights_bit_for_bit() {
    for optimizer in [sgd(), adamw()] {
        let case = |shard_optimizer| Case {
            // Without clipping, since a norm is summed over shards.
            grad_clip: None,
            way: Way { shard_optimizer, bucket_bytes: 1 << 14, ..PLAIN_WAY },
            ..whole(optimizer.clone(), built_by(|p| simclr("cnn_small", p)))
        };
        let whole = train(&case(false), &batches(2));
        let sharded = train(&case(true), &batches(2));
        let same = |a: &[(String, Tensor)], b: &[(String, Tensor)]| a == b;
        assert!(same(&whole.weights, &sharded.weights) && same(&whole.moments, &sharded.moments));
    }
}
