//! The cost model of one optimizer step: what each part takes on the rank with the most samples, and what that means for
//! the whole job. Pure arithmetic; docs/scaling.md gives the formulas and how far they were off.

use serde::{Deserialize, Serialize};

use super::network::{Network, all_gather_wire_bytes, all_reduce_wire_bytes};
use super::overlap::{Operation, Timeline, simulate};

/// Forward and backward on one rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compute {
    /// Seconds per sample, all of its views, forward and backward.
    pub secs_per_sample: f64,
    /// Least seconds of a forward and backward pass, however few the samples: what launching its kernels takes.
    pub floor_secs: f64,
    /// Part of the time that is forward; a third for networks whose backward computes two products per forward one.
    pub forward_share: f64,
}

impl Compute {
    /// Seconds of a forward and backward pass of `samples`.
    pub fn pass_secs(&self, samples: usize) -> f64 {
        self.floor_secs.max(samples as f64 * self.secs_per_sample)
    }
}

/// A part of the gradient that is reduced at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bucket {
    /// Its size.
    pub bytes: f64,
    /// When it is complete, as a part of backward: above 0, and 1 for the last.
    pub ready: f64,
}

impl Bucket {
    /// Buckets in the order in which backward completes them, from their bytes and the number of parameters in each. Every
    /// parameter counts alike: in the common networks a layer near the output has many weights and few positions, one near
    /// the input the reverse, and both take about the same time.
    pub fn in_order(parts: &[(u64, usize)]) -> Vec<Self> {
        let all = parts.iter().map(|p| p.1).sum::<usize>().max(1) as f64;
        let mut done = 0;
        let bucket = |&(bytes, num_parameters): &(u64, usize)| {
            done += num_parameters;
            Self { bytes: bytes as f64, ready: done as f64 / all }
        };
        parts.iter().map(bucket).collect()
    }
}

/// The contrastive loss over the whole global batch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairLossCost {
    /// Width of a projection.
    pub dim: usize,
    /// Bytes of an element of a projection.
    pub element_bytes: usize,
    /// Seconds per ordered pair of rows on one rank, loss and gradient together.
    pub secs_per_pair: f64,
    /// Rows of the memory queue.
    pub queue_rows: usize,
}

/// Everything that the model wants to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepInputs {
    /// Ranks.
    pub world: usize,
    /// Samples of a step over all ranks.
    pub global_batch: usize,
    /// Most samples per forward pass and rank; `None` takes the whole share.
    pub micro_batch: Option<usize>,
    /// Views of a sample.
    pub views: usize,
    /// Forward and backward.
    pub compute: Compute,
    /// Seconds of the optimizer's update of all parameters on one rank.
    pub update_secs: f64,
    /// The gradient, in the order in which it is sent.
    pub buckets: Vec<Bucket>,
    /// Whether buckets are sent while backward goes on.
    pub overlap: bool,
    /// Whether the optimizer is sharded: reduce-scatter, own part of the update, all-gather of the weights.
    pub shard_optimizer: bool,
    /// Layers that sum statistics over the ranks, once forward and once backward; 0 without synchronized batch norm.
    pub sync_layers: usize,
    /// Bytes of such a sum, in the mean.
    pub sync_bytes: f64,
    /// Whether these sums queue behind gradients, as on one NCCL communicator.
    pub sync_queues: bool,
    /// Seconds that the host takes to launch a collective on a GPU; 0 where the wire's time is all there is.
    #[serde(default)]
    pub launch_secs: f64,
    /// The pair loss, if the method has one.
    pub pair_loss: Option<PairLossCost>,
    /// Small collectives of a step: reports, directive, counts, scalars.
    pub control_messages: usize,
    /// Seconds of each.
    pub control_secs: f64,
    /// Seconds in which a rank prepares a sample, all of its views, beside the training thread.
    pub input_secs_per_sample: f64,
    /// Links between the ranks.
    pub network: Network,
}

/// What a step takes on the slowest rank, in seconds, and what it amounts to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepCost {
    /// Samples of the largest share.
    pub share: usize,
    /// Forward and backward passes of each rank.
    pub micro_batches: usize,
    /// Forward and backward, one pass over the share.
    pub compute_secs: f64,
    /// The further forward pass that micro-batches of a contrastive loss need.
    pub recompute_secs: f64,
    /// The pair loss.
    pub loss_secs: f64,
    /// The optimizer.
    pub update_secs: f64,
    /// What launching collectives adds to passes that take as long as the host takes to launch their kernels.
    pub launch_secs: f64,
    /// Waiting for the sums of synchronized layers.
    pub sync_secs: f64,
    /// Gathers of projections, keys and log-sum-exps.
    pub gather_secs: f64,
    /// The gradient's buckets on the wire.
    pub gradient_secs: f64,
    /// The part of them that no backward hides.
    pub gradient_exposed_secs: f64,
    /// Gather of the weights after a sharded update.
    pub weights_secs: f64,
    /// Small messages.
    pub control_secs: f64,
    /// Waiting for prepared batches.
    pub input_secs: f64,
    /// The whole step.
    pub step_secs: f64,
    /// Samples per second over all ranks.
    pub samples_per_sec: f64,
    /// Against one rank that did the same batch in one pass, its memory being no limit: its time / (ranks x step).
    pub efficiency: f64,
    /// Bytes that a rank sends per step.
    pub wire: WireBytes,
    /// The step of one rank.
    pub one_rank_secs: f64,
    /// Time that the step lost against a W-th of one rank's, by cause, largest first; seconds.
    pub losses: Vec<(String, f64)>,
}

/// Bytes that cross a rank's link per step; as many come in as go out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct WireBytes {
    /// Gradients, and weights where the optimizer is sharded.
    pub gradients: f64,
    /// Projections, keys, log-sum-exps.
    pub gathers: f64,
    /// Statistics of synchronized layers.
    pub statistics: f64,
}

impl WireBytes {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.gradients + self.gathers + self.statistics
    }
}

impl StepCost {
    /// Communication that adds to the step.
    pub fn exposed_comm_secs(&self) -> f64 {
        self.launch_secs
            + self.sync_secs
            + self.gather_secs
            + self.gradient_exposed_secs
            + self.weights_secs
            + self.control_secs
    }
}

/// A row's group and sample number travel with it, 8 bytes each.
const KEY_BYTES: f64 = 16.0;

impl StepInputs {
    /// Predicts a step.
    pub fn cost(&self) -> StepCost {
        let world = self.world.max(1);
        let network = &self.network;
        let share = self.global_batch.div_ceil(world);
        let micro_batches = micro_batches(share, self.micro_batch);
        let forward = self.compute.forward_share.clamp(0.0, 1.0);

        let compute_secs: f64 = micro_batches.iter().map(|&n| self.compute.pass_secs(n)).sum();
        let two_passes = self.pair_loss.is_some() && micro_batches.len() > 1;
        let recompute_secs = if two_passes { forward * compute_secs } else { 0.0 };

        let launch_secs = self.added_by_launches(world, &micro_batches, two_passes);
        let sync_op = network.all_reduce_secs(world, self.sync_bytes);
        let per_direction = self.sync_layers as f64 * sync_op;
        let passes = (micro_batches.len() * if two_passes { 3 } else { 2 }) as f64;
        // As long as the host takes to launch it, if that is longer than its work.
        let last_backward = micro_batches.last().map_or(0.0, |&n| {
            (1.0 - forward) * (self.compute.pass_secs(n) + self.added_by_launches(world, &[n], false))
        });
        let timeline = self.last_backward(world, last_backward, sync_op);
        // The simulation has the last backward pass; what a layer waits there beyond its own sum is the gradient's fault.
        let sync_secs = passes * per_direction;
        let gradient_exposed_secs = (timeline.exposed_secs() - per_direction).max(0.0);

        let gradient_bytes: f64 = self.buckets.iter().map(|b| b.bytes).sum();
        let weights_secs =
            if self.shard_optimizer { network.all_gather_secs(world, gradient_bytes) } else { 0.0 };
        let update_secs = self.update_secs / if self.shard_optimizer { world as f64 } else { 1.0 };
        let (loss_secs, gather_secs, gather_bytes) = self.pair_cost(world, share);
        let control_secs = if world > 1 { self.control_messages as f64 * self.control_secs } else { 0.0 };

        let busy = compute_secs
            + recompute_secs
            + loss_secs
            + update_secs
            + launch_secs
            + sync_secs
            + gather_secs
            + gradient_exposed_secs
            + weights_secs
            + control_secs;
        let input_secs = (share as f64 * self.input_secs_per_sample - busy).max(0.0);
        let step_secs = busy + input_secs;
        let one_rank_secs = self.one_rank_secs();
        let mut cost = StepCost {
            share,
            micro_batches: micro_batches.len(),
            compute_secs,
            recompute_secs,
            loss_secs,
            update_secs,
            launch_secs,
            sync_secs,
            gather_secs,
            gradient_secs: timeline.wire_secs - per_direction,
            gradient_exposed_secs,
            weights_secs,
            control_secs,
            input_secs,
            step_secs,
            samples_per_sec: self.global_batch as f64 / step_secs,
            efficiency: one_rank_secs / (world as f64 * step_secs),
            wire: WireBytes {
                gradients: all_reduce_wire_bytes(world, gradient_bytes),
                gathers: gather_bytes,
                statistics: passes * self.sync_layers as f64 * all_reduce_wire_bytes(world, self.sync_bytes),
            },
            one_rank_secs,
            losses: Vec::new(),
        };
        cost.losses = self.losses(world, &cost);
        cost
    }

    /// Seconds by which the host's launches of collectives lengthen the passes of `micro_batches`: a GPU that computes for longer
    /// than its host launches hides them. Each synchronized layer sums once forward and once backward; buckets go with
    /// the last backward.
    fn added_by_launches(&self, world: usize, micro_batches: &[usize], two_passes: bool) -> f64 {
        if world <= 1 {
            return 0.0;
        }
        let sums = self.sync_layers as f64 * self.launch_secs;
        let buckets = self.buckets.len() as f64 * self.launch_secs;
        let forward = self.compute.forward_share.clamp(0.0, 1.0);
        // `part` of a pass, and what its collectives take to launch.
        let added = |samples: usize, part: f64, launches: f64| {
            let work = samples as f64 * self.compute.secs_per_sample;
            (part * self.compute.floor_secs + launches).max(part * work)
                - part * self.compute.pass_secs(samples)
        };
        let last = micro_batches.len().saturating_sub(1);
        let passes = micro_batches.iter().enumerate().map(|(index, &samples)| {
            let again = if two_passes { added(samples, forward, sums) } else { 0.0 };
            again + added(samples, 1.0, 2.0 * sums + if index == last { buckets } else { 0.0 })
        });
        passes.sum()
    }

    /// Backward of the last micro-batch, with the gradient's buckets and the layers' sums.
    fn last_backward(&self, world: usize, secs: f64, sync_op: f64) -> Timeline {
        let bucket_secs = |bytes| match self.shard_optimizer {
            true => self.network.all_gather_secs(world, bytes),
            false => self.network.all_reduce_secs(world, bytes),
        };
        let buckets = self.buckets.iter().map(|b| Operation {
            at: b.ready,
            secs: bucket_secs(b.bytes),
            blocks: false,
            passes_by: false,
        });
        let layers = self.sync_layers;
        let sums = (0..layers).map(|i| Operation {
            at: (i as f64 + 0.5) / layers as f64,
            secs: sync_op,
            blocks: true,
            passes_by: !self.sync_queues,
        });
        simulate(secs, &buckets.chain(sums).collect::<Vec<_>>(), self.overlap)
    }

    /// Seconds of the loss, seconds and bytes of its gathers.
    fn pair_cost(&self, world: usize, share: usize) -> (f64, f64, f64) {
        let Some(pair) = self.pair_loss else { return (0.0, 0.0, 0.0) };
        let rows = (self.global_batch * self.views) as f64;
        let own = (share * self.views) as f64;
        let loss = own * (rows + pair.queue_rows as f64) * pair.secs_per_pair;
        let parts = [(pair.dim * pair.element_bytes) as f64, KEY_BYTES, pair.element_bytes as f64];
        let secs = parts.iter().map(|bytes| self.network.all_gather_secs(world, rows * bytes)).sum();
        let bytes = parts.iter().map(|bytes| all_gather_wire_bytes(world, rows * bytes)).sum();
        (loss, secs, bytes)
    }

    fn one_rank_secs(&self) -> f64 {
        let (loss, ..) = self.pair_cost(1, self.global_batch);
        let busy = self.compute.pass_secs(self.global_batch) + loss + self.update_secs;
        busy.max(self.global_batch as f64 * self.input_secs_per_sample)
    }

    fn losses(&self, world: usize, cost: &StepCost) -> Vec<(String, f64)> {
        let num_ranks = world as f64;
        let useful = cost.share as f64 * self.compute.secs_per_sample;
        let uneven = useful - self.global_batch as f64 * self.compute.secs_per_sample / num_ranks;
        let mut losses: Vec<(String, f64)> = [
            ("uneven shares", uneven),
            ("kernel launches", (cost.compute_secs - useful).max(0.0)),
            ("second forward pass", cost.recompute_secs),
            ("update on every rank", cost.update_secs - self.update_secs / num_ranks),
            ("launching collectives", cost.launch_secs),
            ("synchronized batch norm", cost.sync_secs),
            ("gather of embeddings", cost.gather_secs),
            ("gradient all-reduce", cost.gradient_exposed_secs),
            ("gather of weights", cost.weights_secs),
            ("control messages", cost.control_secs),
            ("input", cost.input_secs),
        ]
        .into_iter()
        .filter(|(_, secs)| *secs > 1e-9 * cost.step_secs)
        .map(|(name, secs)| (name.to_owned(), secs))
        .collect();
        losses.sort_by(|a, b| b.1.total_cmp(&a.1));
        losses
    }
}

/// Samples of the forward passes of the largest share; one empty pass where there is none.
fn micro_batches(share: usize, micro_batch: Option<usize>) -> Vec<usize> {
    let micro = micro_batch.unwrap_or(share).clamp(1, share.max(1));
    let rounds = share.div_ceil(micro).max(1);
    (0..rounds).map(|i| micro.min(share - (i * micro).min(share))).collect()
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
