//! From a run's settings and network to the numbers that memory and time are computed from.

use dtrain_comm::World;
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Norm, PairFacts, Sampling};
use dtrain_data::GroupRequest;
use tch::Device;

use super::activations::Activations;
use super::cost::{Bucket, PairLossCost, StepInputs};
use super::hardware::{H100, Hardware, ethernet_hosts};
use super::memory::{MemoryInputs, PairLossMemory};
use super::network::Network;
use super::scaling::{MicroBatchChoice, PlanInputs, Positives};
use crate::engine::flat::ALIGNMENT_BYTES;
use crate::method::Method;
use crate::model::parameters::Parameters;

/// Seconds per ordered pair and CPU core of the contrastive loss at width 128 (docs/benchmarks.md).
const CPU_SECS_PER_PAIR: f64 = 5.8e-9;

/// Bytes per second that a CPU core moves through an optimizer's update, mostly from its caches: what makes the update of
/// ResNet-18 the hundredth of a step that was seen.
const CPU_BYTES_PER_SEC: f64 = 25e9;

/// Small collectives of a step: reports, directive, sample counts, scalars.
const CONTROL_MESSAGES: usize = 4;
/// What launching a collective takes the host: the call, its events and locks. Assumed.
const LAUNCH_SECS: f64 = 15e-6;
/// The same where the host waits for a thread of NCCL's: 50 us of looking, a nap, and the thread. Assumed.
const WAITING_LAUNCH_SECS: f64 = 80e-6;

/// What a plan knows of a run.
pub struct RunShape<'a> {
    /// Settings.
    pub config: &'a RunConfig,
    /// Objective and network.
    pub method: &'a dyn Method,
    /// Its tensors.
    pub parameters: &'a Parameters,
    /// Channels, height and width of the views of each group of the method's.
    pub view_shapes: &'a [[usize; 3]],
    /// Rows of a tile of the pair loss.
    pub tile: usize,
    /// Batch norm over all ranks.
    pub sync_bn: bool,
    /// Gradients are sent while backward goes on.
    pub overlap: bool,
    /// CPU threads of a rank.
    pub threads: usize,
    /// Name of the GPU; `None` on a CPU.
    pub gpu: Option<&'a str>,
    /// Bytes and number of parameters of each gradient bucket, in their order.
    pub buckets: &'a [(u64, usize)],
    /// How the micro-batch is found.
    pub micro_batch: MicroBatchChoice,
    /// What a sample takes.
    pub activations: Activations,
    /// Ranks of a node on a machine without GPUs.
    pub ranks_per_node: usize,
    /// Optimizer steps of the run.
    pub total_steps: u64,
}

/// Everything that a rank keeps beside activations, in bytes: the fixed part of [`super::fit_micro_batch`].
pub fn fixed_memory(
    config: &RunConfig,
    method: &dyn Method,
    parameters: &Parameters,
    view_shapes: &[[usize; 3]],
    world: &World,
    tile: usize,
) -> u64 {
    let inputs = memory_inputs(config, method, parameters, view_shapes, tile);
    inputs
        .on_world(config.trainer.batch_size, world.world_size, config.trainer.shard_optimizer)
        .plan()
        .fixed()
}

/// The memory of a rank, without what depends on the world and the activations.
fn memory_inputs(
    config: &RunConfig,
    method: &dyn Method,
    parameters: &Parameters,
    view_shapes: &[[usize; 3]],
    tile: usize,
) -> MemoryInputs {
    let element_bytes = parameters.kind().elt_size_in_bytes();
    let alignment = (ALIGNMENT_BYTES / element_bytes.max(1)).max(1);
    let padded = |len: usize| len.next_multiple_of(alignment) as u64;
    let bytes = |tensor: &tch::Tensor| (tensor.numel() * tensor.kind().elt_size_in_bytes()) as u64;
    let views = method.num_views() as usize;
    let values_of_group = |(group, shape): (&GroupRequest, &[usize; 3])| {
        group.num_views as usize * shape.iter().product::<usize>()
    };
    let num_values: usize = method.view_groups().iter().zip(view_shapes).map(values_of_group).sum();
    let on_cpu = parameters.device() == Device::Cpu;
    MemoryInputs {
        parameters: parameters.parameters().iter().map(|p| padded(p.tensor.numel())).sum(),
        element_bytes: element_bytes as u64,
        moments: config.optimizer.num_moments(),
        buffer_bytes: parameters
            .buffers()
            .iter()
            .filter(|buffer| !buffer.name.starts_with("queue."))
            .map(|buffer| bytes(&buffer.tensor))
            .sum(),
        teacher_bytes: parameters.shadows().iter().map(|shadow| bytes(&shadow.tensor)).sum(),
        input_bytes_per_sample: (num_values * element_bytes) as u64,
        // A GPU holds the batch of the next step, which arrives while it computes.
        prefetch_batches: if on_cpu { config.trainer.prefetch_batches as u64 } else { 1 },
        prefetch_bytes: if on_cpu { config.trainer.prefetch_bytes } else { u64::MAX },
        // A GPU's checkpoints are copied to the host.
        checkpoint_copies: on_cpu
            && config.checkpoint.asynchronous
            && config.checkpoint.every_steps != Some(0),
        pair_loss: config.method.facts().pairs.map(|PairFacts { dim, queue_size: queue_rows }| {
            PairLossMemory {
                rows: 0,
                own_rows: 0,
                dim: dim as u64,
                element_bytes: element_bytes as u64,
                tile: tile as u64,
                queue_rows: queue_rows as u64,
                views: views as u64,
            }
        }),
        ..MemoryInputs::default()
    }
}

impl RunShape<'_> {
    /// The plan's inputs for `world` ranks.
    pub fn on_world(&self, world: usize) -> PlanInputs {
        let Self { config, parameters, .. } = self;
        let hardware = self.gpu.map(|name| Hardware::of_gpu(name).unwrap_or(H100));
        let network = self.network(hardware);
        let mut memory = memory_inputs(config, self.method, parameters, self.view_shapes, self.tile);
        memory.checkpoint_copies &= self.gpu.is_none();
        memory.activation_fixed_bytes = self.activations.fixed_bytes;
        memory.activation_bytes_per_sample = self.activations.bytes_per_sample;
        let threads = self.threads.max(1) as f64;
        // The update reads and writes weights, gradients and moments once.
        let update_bytes = ((3 + 2 * memory.moments) * memory.parameters * memory.element_bytes) as f64;
        let update_bytes_per_sec = hardware.map_or(CPU_BYTES_PER_SEC * threads, |h| h.memory_bytes_per_sec);
        let (sync_layers, sync_bytes) = if self.sync_bn && config.model.norm == Norm::Batch && world > 1 {
            sync_sums(parameters)
        } else {
            (0, 0.0)
        };
        let nodes = network.num_nodes(world) as f64;
        PlanInputs {
            step: StepInputs {
                world,
                global_batch: config.trainer.batch_size,
                micro_batch: None,
                views: self.method.num_views() as usize,
                compute: self.activations.compute,
                update_secs: update_bytes / update_bytes_per_sec,
                buckets: Bucket::in_order(self.buckets),
                overlap: self.overlap && world > 1,
                shard_optimizer: config.trainer.shard_optimizer,
                sync_layers,
                sync_bytes,
                sync_queues: hardware.is_some(),
                launch_secs: match (hardware, config.comm.nccl_blocking) {
                    (None, _) => 0.0,
                    (Some(_), true) => LAUNCH_SECS,
                    (Some(_), false) => WAITING_LAUNCH_SECS,
                },
                pair_loss: config.method.facts().pairs.map(|PairFacts { dim, queue_size: queue_rows }| {
                    PairLossCost {
                        dim,
                        element_bytes: memory.element_bytes as usize,
                        secs_per_pair: hardware.map_or_else(
                            || CPU_SECS_PER_PAIR * dim as f64 / 128.0 / threads,
                            |h| h.secs_per_pair(dim),
                        ),
                        queue_rows,
                    }
                }),
                control_messages: CONTROL_MESSAGES,
                // Through shared memory, and 5 us for each level of the tree over nodes. Assumed.
                control_secs: 15e-6 + 10e-6 * nodes.log2(),
                input_secs_per_sample: 0.0,
                network,
            },
            memory,
            micro_batch: self.micro_batch,
            compute_source: "measured here on a few samples".into(),
            activation_source: "measured here".into(),
            positives: match config.method.facts().sampling {
                Sampling::Balanced { samples_per_class } => {
                    samples_per_class.map_or(Positives::WholeClass, Positives::Class)
                }
                Sampling::Shuffled | Sampling::ShuffledLabelled | Sampling::DistinctRecordings => {
                    Positives::OtherViews
                }
            },
            batch_norm: config.model.norm == Norm::Batch,
            total_steps: self.total_steps,
        }
    }

    fn network(&self, hardware: Option<Hardware>) -> Network {
        hardware.map_or_else(|| ethernet_hosts(self.ranks_per_node), |hardware| hardware.network())
    }
}

/// Layers with running statistics, and the mean bytes of their sums: 2 C + 1 numbers forward, 2 C backward, in f64.
fn sync_sums(parameters: &Parameters) -> (usize, f64) {
    let channels: Vec<usize> = parameters
        .buffers()
        .iter()
        .filter(|buffer| buffer.name.ends_with("running_mean"))
        .map(|buffer| buffer.tensor.numel())
        .collect();
    let mean = channels.iter().sum::<usize>() as f64 / channels.len().max(1) as f64;
    (channels.len(), (2.0 * mean + 0.5) * 8.0)
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{MethodConfig, ModelConfig};
    use tch::Kind;

    use super::super::cost::Compute;
    use super::super::scaling::ScalingPlan;
    use super::*;

    const ACTIVATIONS: Activations = Activations {
        fixed_bytes: 1 << 20,
        bytes_per_sample: 10 << 20,
        compute: Compute { secs_per_sample: 0.01, floor_secs: 0.0, forward_share: 1.0 / 3.0 },
    };

    fn shape_of(config: &RunConfig, check: impl FnOnce(RunShape<'_>)) {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Float, 0);
        let method = crate::method::build(
            &config.method,
            &config.model,
            &crate::method::Task::of_classes([1, 64, 101], 10),
            &mut parameters,
        );
        check(RunShape {
            config,
            method: &*method,
            parameters: &parameters,
            view_shapes: &[[1, 64, 101]],
            tile: 512,
            sync_bn: true,
            overlap: true,
            threads: 2,
            gpu: None,
            buckets: &[(1 << 20, 4), (25 << 20, 60)],
            micro_batch: MicroBatchChoice::WholeShare,
            activations: ACTIVATIONS,
            ranks_per_node: 2,
            total_steps: 10,
        });
    }

    #[test]
    fn numbers_come_from_network_and_settings() {
        let model = ModelConfig::named("resnet18").unwrap();
        let mut config = RunConfig { model, ..RunConfig::default() };
        config.trainer.batch_size = 128;
        shape_of(&config, |shape| {
            let inputs = shape.on_world(4);
            // torchvision's ResNet-18 has 20 layers of batch norm with 4,800 channels, the projector one with 512.
            assert_eq!(inputs.step.sync_layers, 21);
            assert!((inputs.step.sync_bytes - 8.0 * (2.0 * 5312.0 / 21.0 + 0.5)).abs() < 1e-9);
            assert!(inputs.memory.parameters > 11_000_000 && inputs.memory.parameters.is_multiple_of(16));
            assert_eq!(inputs.memory.input_bytes_per_sample, 2 * 64 * 101 * 4);
            let plan = ScalingPlan::new(&inputs);
            let fixed =
                fixed_memory(&config, shape.method, shape.parameters, &[[1, 64, 101]], &world(4), 512);
            assert_eq!(plan.memory.fixed(), fixed);
            assert_eq!(shape.on_world(1).step.sync_layers, 0);
        });
    }

    #[test]
    fn group_norm_sums_nothing_over_ranks() {
        let mut config = RunConfig::default();
        config.model.norm = Norm::Frozen;
        shape_of(&config, |shape| assert_eq!(shape.on_world(4).step.sync_layers, 0));
    }

    #[test]
    fn every_method_and_gpu_can_be_planned() {
        for method in MethodConfig::all() {
            let config = RunConfig { method, ..RunConfig::default() };
            for gpu in [None, Some("NVIDIA H200"), Some("something new")] {
                shape_of(&config, |shape| {
                    let inputs = RunShape { gpu, ..shape }.on_world(1024);
                    let plan = ScalingPlan::new(&inputs);
                    assert!(plan.cost.efficiency > 0.0 && plan.cost.efficiency <= 1.0);
                    assert_eq!(inputs.step.pair_loss.is_some(), inputs.memory.pair_loss.is_some());
                    assert_eq!(inputs.step.network.source.starts_with("assumed"), gpu.is_none());
                });
            }
        }
    }

    fn world(world_size: usize) -> World {
        let ranks = dtrain_comm::local_world(world_size);
        ranks.first().map(|rank| rank.world().clone()).unwrap()
    }
}
