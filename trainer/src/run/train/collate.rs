//! Collating what a step takes: this rank's batches, and what the engine is told about their samples.

use std::collections::BTreeSet;

use dtrain_data::{BatchRequest, LoaderOptions, share};

use crate::batch::{self, Batch, BatchUpload, Loader};
use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::method::{LocalBatch, Targets};
use crate::run::checkpoints::DroppedSample;
use crate::run::prepare::{Prepared, loader_options, target_columns};

/// A loaded batch, whose views are on their way as `inputs`, as the engine takes it.
///
/// # Errors
/// When memory runs out.
pub fn local_batch(
    prepared: &Prepared,
    batch: &Batch,
    inputs: BatchUpload,
    plan: &StepPlan,
) -> Result<LocalBatch, TrainError> {
    let engine = &prepared.engine;
    let heads = engine.method().heads();
    let offset = plan.offset(engine.collective().world().rank) as i64;
    let targets = Targets::of(&prepared.dataset, batch, target_columns(&prepared.config), heads)?
        .with_positions(offset)?
        .among(plan.global_samples);
    Ok(LocalBatch::of_groups(inputs.arrived(engine.kind())?, targets)?)
}

/// Batches from `first_step` to the end of the run: this rank's share of each global batch, without the samples that
/// dropped out earlier.
pub(super) fn start_loader(
    prepared: &Prepared,
    first_step: u64,
    dropped: &[DroppedSample],
) -> Result<Loader, TrainError> {
    let Some(sampler) = prepared.sampler.clone() else {
        return Err(TrainError::internal("a training session needs a sampler"));
    };
    let world = prepared.engine.collective().world().clone();
    let steps_per_epoch = prepared.plan.steps_per_epoch.max(1);
    let groups = prepared.engine.method().view_groups();
    let dropped: BTreeSet<u32> = dropped.iter().map(|d| d.id).collect();
    let requests = (first_step..prepared.plan.total_steps).map(move |step| {
        let epoch = step / steps_per_epoch;
        let global = sampler.draws(epoch, step % steps_per_epoch);
        let own = share(global.len(), world.world_size, world.rank);
        let draws = global
            .get(own)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|d| !dropped.contains(&d.id))
            .collect();
        BatchRequest { epoch, step, draws, groups: groups.clone(), augment: true }
    });
    let options = LoaderOptions { tells_of_first: true, ..loader_options(prepared) };
    Ok(batch::start_loader(&prepared.maker, requests, options, prepared.engine.device())?)
}
