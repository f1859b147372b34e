//! Bytes that a rank needs, and the largest micro-batch that fits a budget. Pure arithmetic; what a sample's activations
//! take is measured by [`super::measure_activations`].

use serde::Serialize;

use crate::bytes::Bytes;

/// What the memory of a rank depends on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MemoryInputs {
    /// Trainable elements, padding included.
    pub parameters: u64,
    /// Bytes of a parameter, of a gradient and of a moment's element.
    pub element_bytes: u64,
    /// Moments of the optimizer per parameter: 2 for AdamW, 1 with momentum, 0 without.
    pub moments: u64,
    /// Ranks that share the moments: the world with `trainer.shard_optimizer`, else 1.
    pub shards: u64,
    /// Buffers, such as running statistics; each step keeps a copy of them. Without the queue.
    pub buffer_bytes: u64,
    /// Weights of a teacher.
    pub teacher_bytes: u64,
    /// Memory of a forward and backward pass that does not depend on the samples.
    pub activation_fixed_bytes: u64,
    /// Memory of a forward and backward pass per sample, all of its views.
    pub activation_bytes_per_sample: u64,
    /// Samples of a forward pass.
    pub micro_batch: u64,
    /// Samples of this rank's share.
    pub share: u64,
    /// Bytes of a sample's views as they enter the network.
    pub input_bytes_per_sample: u64,
    /// Batches ahead of the step in the memory of its tensors: those that are prepared, or on a GPU the one that arrives.
    pub prefetch_batches: u64,
    /// Most bytes of them.
    pub prefetch_bytes: u64,
    /// Rank 0 copies checkpoints into memory of their own, which is that of the tensors.
    pub checkpoint_copies: bool,
    /// The pair loss, if the method has one.
    pub pair_loss: Option<PairLossMemory>,
}

/// What the memory of the pair loss depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLossMemory {
    /// Rows of the global batch.
    pub rows: u64,
    /// Rows of this rank.
    pub own_rows: u64,
    /// Width of a row.
    pub dim: u64,
    /// Bytes of an element.
    pub element_bytes: u64,
    /// Rows of a tile.
    pub tile: u64,
    /// Rows of the memory queue.
    pub queue_rows: u64,
    /// Rows of a sample.
    pub views: u64,
}

/// Tile-sized arrays that the loss holds at once: products, their exponentials and weights, and the rows of both sides.
const TILES_AT_ONCE: u64 = 4;

/// Bytes by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MemoryPlan {
    /// Weights, a teacher's too.
    pub weights: u64,
    /// Gradients.
    pub gradients: u64,
    /// The optimizer's moments, this rank's part.
    pub moments: u64,
    /// Running statistics and the like, with the copy of a step.
    pub buffers: u64,
    /// Activations of a micro-batch.
    pub activations: u64,
    /// The share's views.
    pub inputs: u64,
    /// Batches prepared ahead.
    pub staging: u64,
    /// Gathered projections, their gradient, tiles.
    pub loss: u64,
    /// The memory queue.
    pub queue: u64,
    /// The copy that a checkpoint is written from, on rank 0.
    pub checkpoint: u64,
}

impl MemoryPlan {
    /// Everything at once, which is the peak: activations and tiles overlap in time only in part, so it is an upper bound.
    pub fn total(&self) -> u64 {
        self.fixed() + self.activations
    }

    /// All but the activations.
    pub fn fixed(&self) -> u64 {
        let state = self.weights + self.gradients + self.moments + self.buffers;
        state + self.inputs + self.staging + self.loss + self.queue + self.checkpoint
    }
}

impl MemoryInputs {
    /// The same on `world` ranks that share a batch of `global_batch` samples, for the rank with the largest share.
    pub fn on_world(&self, global_batch: usize, world: usize, shard_optimizer: bool) -> Self {
        let share = global_batch.div_ceil(world.max(1)) as u64;
        Self {
            shards: if shard_optimizer { world as u64 } else { 1 },
            share,
            pair_loss: self.pair_loss.map(|pair| PairLossMemory {
                rows: global_batch as u64 * pair.views,
                own_rows: share * pair.views,
                ..pair
            }),
            ..*self
        }
    }

    /// Bytes of a rank.
    pub fn plan(&self) -> MemoryPlan {
        let weights = self.parameters * self.element_bytes;
        let inputs = self.input_bytes_per_sample * self.share;
        let pair = self.pair_loss.map_or((0, 0), |pair| {
            let row = pair.dim * pair.element_bytes;
            let side = pair.tile.min(pair.rows.max(1));
            let tiles = TILES_AT_ONCE * side * side * pair.element_bytes + 2 * side * row;
            // Own rows, all rows gathered, the own rows' gradient, and group, sample and log-sum-exp of all.
            let rows = (2 * pair.own_rows + pair.rows) * row + pair.rows * (16 + pair.element_bytes);
            (rows + tiles, pair.queue_rows * (row + 16))
        });
        let copied = weights + self.teacher_bytes + self.moments * weights + self.buffer_bytes + pair.1;
        MemoryPlan {
            weights: weights + self.teacher_bytes,
            gradients: weights,
            moments: (self.moments * weights).div_ceil(self.shards.max(1)),
            buffers: 2 * self.buffer_bytes,
            activations: self.activation_fixed_bytes
                + self.activation_bytes_per_sample * self.micro_batch.min(self.share),
            inputs,
            staging: (self.prefetch_batches * inputs).min(self.prefetch_bytes),
            loss: pair.0,
            queue: pair.1,
            checkpoint: if self.checkpoint_copies { copied } else { 0 },
        }
    }
}

/// Not even one sample fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("one sample per rank needs {} of memory, and {} may be used", Bytes(*.needed_bytes), Bytes(*.budget_bytes))]
pub struct MemoryTooSmall {
    /// Bytes that a micro-batch of one sample takes with everything else.
    pub needed_bytes: u64,
    /// Bytes that may be used.
    pub budget_bytes: u64,
}

impl MemoryTooSmall {
    /// The next step.
    pub fn hint(&self) -> String {
        format!(
            "set `trainer.memory_bytes` to at least {} where the machine has them, choose a smaller `model` or shorter \
             clips, or use `trainer.shard_optimizer=true` with more ranks",
            self.needed_bytes
        )
    }
}

/// The largest micro-batch whose memory fits: the whole `share` if it does, else the size of the fewest equal parts that
/// do. `fixed_bytes` is everything that does not depend on it.
///
/// Contrastive losses need no other rule: the first of their two passes keeps no graph, and the projections that it
/// collects are among the fixed bytes.
///
/// # Errors
/// [`MemoryTooSmall`] when one sample is too much.
pub fn fit_micro_batch(
    budget_bytes: u64,
    share: usize,
    fixed_bytes: u64,
    bytes_per_sample: u64,
) -> Result<usize, MemoryTooSmall> {
    let room = budget_bytes.checked_sub(fixed_bytes);
    let most = room.map_or(0, |room| room.checked_div(bytes_per_sample).unwrap_or(u64::MAX));
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if most == 0 {
        let needed_bytes = fixed_bytes.saturating_add(bytes_per_sample);
        return Err(MemoryTooSmall { needed_bytes, budget_bytes });
    }
    let share = share.max(1);
    Ok(share.div_ceil(share.div_ceil(most)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resnet18() -> MemoryInputs {
        MemoryInputs {
            parameters: 11_000_000,
            element_bytes: 4,
            moments: 2,
            shards: 1,
            buffer_bytes: 40_000,
            teacher_bytes: 7_000_000,
            activation_fixed_bytes: 1 << 20,
            activation_bytes_per_sample: 12 << 20,
            micro_batch: 64,
            share: 128,
            input_bytes_per_sample: 2 * 64 * 101 * 4,
            prefetch_batches: 2,
            prefetch_bytes: 10 << 20,
            checkpoint_copies: true,
            pair_loss: Some(PairLossMemory {
                rows: 512,
                own_rows: 256,
                dim: 128,
                element_bytes: 4,
                tile: 512,
                queue_rows: 1000,
                views: 2,
            }),
        }
    }

    #[test]
    fn a_case_by_hand() {
        let plan = resnet18().plan();
        // A teacher has weights and no gradients or moments.
        assert_eq!((plan.weights, plan.gradients, plan.moments), (51_000_000, 44_000_000, 88_000_000));
        assert_eq!(plan.activations, (1 << 20) + 64 * (12 << 20));
        assert_eq!((plan.inputs, plan.staging), (128 * 51_712, 10 << 20));
        // 2 x 256 + 512 rows of 512 bytes, 20 bytes of keys per row, four tiles of 1 MiB and two sides of 512 rows.
        assert_eq!(plan.loss, 1024 * 512 + 512 * 20 + 4 * (1 << 20) + 2 * 512 * 512);
        assert_eq!(plan.queue, 1000 * 528);
        // Weights, two moments, the teacher, running statistics, the queue.
        assert_eq!(plan.checkpoint, 3 * 44_000_000 + 7_000_000 + 40_000 + 528_000);
        assert_eq!(plan.total(), plan.fixed() + plan.activations);
    }

    #[test]
    fn shards_divide_the_moments_and_nothing_else() {
        let [whole, sharded] = [1, 8].map(|shards| MemoryInputs { shards, ..resnet18() }.plan());
        assert_eq!(sharded, MemoryPlan { moments: whole.moments / 8, ..whole });
    }

    #[test]
    fn micro_batches_are_equal_and_as_few_as_possible() {
        assert_eq!(fit_micro_batch(1000, 64, 100, 10), Ok(64));
        assert_eq!(fit_micro_batch(700, 64, 100, 10), Ok(32));
        assert_eq!(fit_micro_batch(310, 64, 100, 10), Ok(16));
        // 21 fit; 64 in four parts.
        assert_eq!(fit_micro_batch(319, 64, 100, 10), Ok(16));
        assert_eq!(fit_micro_batch(110, 64, 100, 10), Ok(1));
        assert_eq!(fit_micro_batch(u64::MAX, 64, 0, 0), Ok(64));
        assert_eq!(fit_micro_batch(100, 0, 0, 10), Ok(1));
    }

    #[test]
    fn what_does_not_fit_says_what_it_needs() {
        let error = fit_micro_batch(3 << 30, 64, 3 << 30, 200 << 20).unwrap_err();
        assert_eq!(error.to_string(), "one sample per rank needs 3.2 GiB of memory, and 3.0 GiB may be used");
        assert!(error.hint().contains("`trainer.memory_bytes` to at least 3430940672"));
        assert!(fit_micro_batch(10, 64, 11, 0).is_err());
    }

    proptest! {
        #[test]
        fn what_is_chosen_fits_and_the_next_larger_micro_batch_does_not(
            budget in 0_u64..100_000, share in 1_usize..500, fixed in 0_u64..50_000, per_sample in 1_u64..500,
        ) {
            match fit_micro_batch(budget, share, fixed, per_sample) {
                Ok(micro) => {
                    prop_assert!((1..=share).contains(&micro));
                    prop_assert!(fixed + micro as u64 * per_sample <= budget);
                    let parts = share.div_ceil(micro);
                    // One part less would be too large, and the parts are as even as they can be.
                    prop_assert!(parts == 1 || fixed + share.div_ceil(parts - 1) as u64 * per_sample > budget);
                    prop_assert_eq!(micro, share.div_ceil(parts));
                }
                Err(error) => prop_assert!(error.needed_bytes > budget && error.needed_bytes == fixed + per_sample),
            }
        }

        #[test]
        fn more_budget_never_means_smaller_micro_batches(
            budget in 0_u64..50_000, more in 0_u64..50_000, share in 1_usize..500, per_sample in 1_u64..500,
        ) {
            let [less, more] = [budget, budget + more].map(|b| fit_micro_batch(b, share, 100, per_sample).unwrap_or(0));
            prop_assert!(more >= less);
        }
    }
}
