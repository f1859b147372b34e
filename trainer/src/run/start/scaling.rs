//! What a run would be on another number of ranks: memory, messages and time, for `--dry-run world=N`.

use tch::Device;

use crate::error::TrainError;
use crate::plan::{MicroBatchChoice, RunShape, ScalingPlan, measure_activations};
use crate::run::prepare::Prepared;

/// Plans `prepared` for `world` ranks. Weights and statistics stay as they are.
///
/// # Errors
/// When libtorch fails.
pub(super) fn plan_for(prepared: &Prepared, world: usize) -> Result<ScalingPlan, TrainError> {
    let engine = &prepared.engine;
    let settings = engine.settings();
    let view_shapes = prepared.view_shapes()?;
    let activations =
        measure_activations(engine.method(), engine.parameters(), &view_shapes, settings.arithmetic)?;
    let trainer = &prepared.config.trainer;
    let micro_batch = match (trainer.micro_batch_size.value(), trainer.memory_bytes.value()) {
        (Some(samples), _) => MicroBatchChoice::Fixed(samples),
        (None, Some(bytes)) => MicroBatchChoice::Fitting(bytes),
        (None, None) => MicroBatchChoice::WholeShare,
    };
    let on_gpu = engine.device() != Device::Cpu;
    let shape = RunShape {
        config: &prepared.config,
        method: engine.method(),
        parameters: engine.parameters(),
        view_shapes: &view_shapes,
        tile: prepared.resolved.tile,
        sync_bn: prepared.resolved.sync_bn,
        // As the run itself decides: between nodes and on GPUs.
        overlap: trainer.overlap.value().unwrap_or(on_gpu || world > prepared.place.ranks_per_node),
        threads: prepared.resolved.threads,
        gpu: on_gpu.then_some(prepared.place.name.as_str()),
        buckets: &engine.bucket_shapes(),
        micro_batch,
        activations,
        ranks_per_node: prepared.place.ranks_per_node,
        total_steps: prepared.plan.total_steps,
    };
    Ok(ScalingPlan::new(&shape.on_world(world)))
}
