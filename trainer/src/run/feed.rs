//! What a step and an evaluation are fed: this rank's batches, and what the engine is told about their samples.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::DroppedSample;
use super::prepare::Prepared;
use crate::coordinator::StepPlan;
use crate::data::{Batch, BatchRequest, Loader, LoaderOptions, share};
use crate::engine::LocalBatch;
use crate::error::TrainError;
use crate::eval::{Reading, inputs_of};
use crate::method::Targets;

/// A loaded batch as the engine takes it.
///
/// # Errors
/// When memory runs out.
pub fn local_batch(prepared: &Prepared, batch: &Batch, plan: &StepPlan) -> Result<LocalBatch, TrainError> {
    let engine = &prepared.engine;
    let dataset = &prepared.dataset;
    let mut labels = dataset.classes_of(batch);
    let of_label = |name: &String| {
        let at = dataset.labels.iter().position(|label| label.name == *name);
        let classes = at.and_then(|at| labels.get(at));
        classes.cloned().unwrap_or_else(|| vec![-1; batch.kept.len()])
    };
    let data = &prepared.config.data;
    let classes = of_label(&data.target);
    let recordings = data.recording.as_ref().map_or_else(|| vec![-1; batch.kept.len()], of_label);
    if engine.method().heads().is_empty() {
        labels.clear();
    }
    let offset = plan.offset(engine.collective().world().rank) as i64;
    Ok(LocalBatch {
        inputs: inputs_of(batch, engine)?,
        targets: Targets {
            sample_ids: batch.kept_ids().map(i64::from).collect(),
            classes,
            labels,
            recordings,
            positions: (offset..).take(batch.kept.len()).collect(),
            global_samples: plan.global_samples,
        },
    })
}

/// How a part is read for an evaluation.
pub(super) fn reading(prepared: &Prepared) -> Reading {
    Reading {
        maker: Arc::clone(&prepared.maker),
        batch_size: prepared.config.eval.batch_size,
        options: loader_options(prepared),
    }
}

/// How batches are prepared.
pub(super) fn loader_options(prepared: &Prepared) -> LoaderOptions {
    LoaderOptions {
        threads: prepared.resolved.loader_threads,
        prefetch_batches: prepared.config.trainer.prefetch_batches,
        prefetch_bytes: prepared.config.trainer.prefetch_bytes,
    }
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
    let num_views = prepared.engine.method().num_views();
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
        BatchRequest { epoch, step, draws, num_views, augment: true }
    });
    Ok(Loader::start(Arc::clone(&prepared.maker), requests, loader_options(prepared))?)
}
