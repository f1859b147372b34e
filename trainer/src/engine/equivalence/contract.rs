//! The contract of a step holds what no shipped method asks of it yet: statistics that move a codebook, an entropy over the
//! global batch, a first batch that starts something, losses of several kinds over views of two shapes, and gradients of
//! gradients. Each is a method of a few lines; ranks, micro-batches and ways between ranks change nothing.

mod codebook;
mod codes;
mod input_gradient;
mod two_shapes;

use super::*;

/// However the batch is cut, `build` trains the same; in its network no sample meets another.
fn assert_cuts_do_not_matter(what: &str, case: impl Fn() -> Case) {
    let alone = train(&case(), &batches(1));
    assert_moved(what, &alone, &case());
    let ways = [
        PLAIN_WAY,
        Way { overlap: true, bucket_bytes: 256, ..PLAIN_WAY },
        Way { shard_optimizer: true, deferred: true, bucket_bytes: 256, ..PLAIN_WAY },
    ];
    for (world_size, way) in [(1, PLAIN_WAY), (2, ways[1]), (3, ways[2]), (4, PLAIN_WAY), (2, ways[2])] {
        for micro_batch in [None, Some(2)] {
            let found = train(&Case { micro_batch, way, ..case() }, &batches(world_size));
            let what = format!("{what} over {world_size} ranks, {way:?}, in parts of {micro_batch:?}");
            assert_same_training(&what, &found, &alone);
        }
    }
}

/// A layer of an untrained network, for a method of these tests.
fn weight(parameters: &mut Parameters, name: &str, shape: &[i64]) -> Tensor {
    use crate::model::parameters::{Init, Role};
    parameters.parameter(name, shape, Init::Normal { std: 0.3 }, Role::Weight)
}
