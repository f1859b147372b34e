//! The ways in which the same steps are trained.

use crate::engine::{Arithmetic, EngineSettings};

/// One way to train.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Way {
    /// Ranks.
    pub(super) world_size: usize,
    /// Types of forward and backward.
    pub(super) arithmetic: Arithmetic,
    /// Steps from the first.
    pub(super) num_steps: usize,
    /// Order of the samples of each batch.
    pub(super) order: Order,
    /// Move every input by about one rounding of fp32.
    pub(super) jitter: bool,
    /// Samples per piece and rank; `None` takes the whole share.
    pub(super) micro_batch: Option<usize>,
    /// Rows of a tile of the pair loss; `None` as the run does.
    pub(super) tile: Option<usize>,
    /// Bytes of a gradient bucket; `None` as the run does.
    pub(super) bucket_bytes: Option<usize>,
    /// Sum buckets while backward goes on.
    pub(super) overlap: bool,
    /// Each rank keeps its part of the optimizer's state.
    pub(super) shard_optimizer: bool,
    /// Learn about a step's loss one step later.
    pub(super) deferred: bool,
}

impl Way {
    /// Nothing special.
    pub(super) fn plain(world_size: usize, arithmetic: Arithmetic, num_steps: usize) -> Self {
        Self {
            world_size,
            arithmetic,
            num_steps,
            order: Order::AsDrawn,
            jitter: false,
            micro_batch: None,
            tile: None,
            bucket_bytes: None,
            overlap: false,
            shard_optimizer: false,
            deferred: false,
        }
    }

    /// The run's settings, changed.
    pub(super) fn settings(&self, run: &EngineSettings) -> EngineSettings {
        EngineSettings {
            micro_batch: self.micro_batch,
            tile: self.tile.or(run.tile),
            arithmetic: self.arithmetic,
            bucket_bytes: self.bucket_bytes.unwrap_or(run.bucket_bytes),
            first_bucket_bytes: self.bucket_bytes.map_or(run.first_bucket_bytes, |bytes| bytes / 4),
            overlap: self.overlap,
            shard_optimizer: self.shard_optimizer,
            deferred: self.deferred,
            ..run.clone()
        }
    }
}

/// Order of the samples of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As the sampler drew them.
    AsDrawn,
    /// Backwards.
    Reversed,
    /// The second half first.
    Rotated,
    /// Those at even places first.
    Interleaved,
    /// Those that `world_size` ranks compute in the first round of micro-batches, in rank order, then those of the second
    /// round, and so on. Pieces of `world_size * micro_batch` samples of this order are the rounds: shares differ by one
    /// sample at most, so only the last round is smaller.
    Rounds {
        /// Ranks.
        world_size: usize,
        /// Samples of a rank in a round.
        micro_batch: usize,
    },
}

impl Order {
    /// Positions in a batch of `len` samples as drawn.
    pub(super) fn of(self, len: usize) -> Vec<usize> {
        match self {
            Order::AsDrawn => (0..len).collect(),
            Order::Reversed => (0..len).rev().collect(),
            Order::Rotated => (len / 2..len).chain(0..len / 2).collect(),
            Order::Interleaved => (0..len).step_by(2).chain((1..len).step_by(2)).collect(),
            Order::Rounds { world_size, micro_batch } => {
                let shares = (0..world_size).map(|rank| dtrain_data::share(len, world_size, rank));
                let shares: Vec<Vec<usize>> = shares.map(Iterator::collect).collect();
                let pieces: Vec<Vec<&[usize]>> =
                    shares.iter().map(|share| share.chunks(micro_batch.max(1)).collect()).collect();
                let rounds = pieces.iter().map(Vec::len).max().unwrap_or(0);
                (0..rounds)
                    .flat_map(|round| pieces.iter().filter_map(move |of_rank| of_rank.get(round)))
                    .flat_map(|piece| piece.iter().copied())
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn orders_are_permutations(len in 0_usize..40, world_size in 1_usize..7, micro_batch in 1_usize..9) {
            for order in [
                Order::AsDrawn,
                Order::Reversed,
                Order::Rotated,
                Order::Interleaved,
                Order::Rounds { world_size, micro_batch },
            ] {
                let mut positions = order.of(len);
                positions.sort_unstable();
                prop_assert_eq!(positions, (0..len).collect::<Vec<_>>());
            }
        }

        /// Piece k of the reference holds what all ranks compute in round k, for every length of a batch.
        #[test]
        fn pieces_of_the_rounds_are_the_rounds(len in 1_usize..40, world_size in 1_usize..7, micro_batch in 1_usize..9) {
            let order = Order::Rounds { world_size, micro_batch }.of(len);
            for (round, piece) in order.chunks(world_size * micro_batch).enumerate() {
                let mut expected = Vec::new();
                for rank in 0..world_size {
                    let share: Vec<usize> = dtrain_data::share(len, world_size, rank).collect();
                    expected.extend(share.chunks(micro_batch).nth(round).unwrap_or_default().to_vec());
                }
                prop_assert_eq!(piece, expected);
            }
        }
    }
}
