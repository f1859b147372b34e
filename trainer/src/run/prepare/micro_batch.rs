//! The largest piece of a rank's share that fits the memory budget: resolved once, the same on all ranks.

use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt, World};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Auto, Norm};
use tch::Device;

use super::parts::Parts;
use super::prepared::Prepared;
use super::resolve::{Choice, Resolved};
use super::view_size::view_shapes;
use crate::bytes::Bytes;
use crate::device::free_bytes;
use crate::error::TrainError;
use crate::plan::{fit_micro_batch, fixed_memory, measure_activations};
use crate::run::agree::agreed;

/// Part of the free memory that a rank takes when `trainer.memory_bytes` is left open.
const USABLE: f64 = 0.8;

/// Samples per forward pass and rank; `None` takes the whole share. `stored` is the choice of the run that goes on.
///
/// # Errors
/// The same on all ranks: not even one sample fits.
pub(super) fn choose(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    resolved: &Resolved,
    parts: &Parts,
    stored: Option<Option<usize>>,
    choices: &mut Vec<Choice>,
) -> Result<Option<usize>, TrainError> {
    let world = collective.world();
    let share = config.trainer.batch_size.div_ceil(world.world_size);
    let (chosen, reason) = match (config.trainer.micro_batch_size, stored) {
        (Auto::Value(n), _) => (Some(n), "set".to_owned()),
        (Auto::Auto, Some(stored)) => (stored, "auto: as the run began".to_owned()),
        (Auto::Auto, None) => {
            let fitted = agreed(&**collective, fit(config, collective, resolved, parts, share));
            let (own, reason) = fitted?;
            let smallest = collective.all_gather_usize(own)?.into_iter().min().unwrap_or(own);
            (Some(smallest).filter(|&n| n < share), reason)
        }
    };
    let pieces = chosen.map_or(1, |n| share.div_ceil(n.max(1)));
    let value = match chosen {
        Some(n) => n.to_string(),
        None => "whole share".to_owned(),
    };
    let warning = (pieces > 1 && config.model.norm == Norm::Batch).then(|| {
        let n = chosen.unwrap_or(share);
        format!(
            "`trainer.micro_batch_size` = {n}: batch norm sees {n} samples per rank at a time instead of the global \
             batch of {}; with `model.norm=group` or `model.norm=frozen` micro-batches change nothing",
            config.trainer.batch_size
        )
    });
    choices.push(Choice { key: "trainer.micro_batch_size", value, reason, warning });
    Ok(chosen)
}

/// What this rank's memory holds, and why.
fn fit(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    resolved: &Resolved,
    parts: &Parts,
    share: usize,
) -> Result<(usize, String), TrainError> {
    let world = collective.world();
    let budget = budget(config, world, parts.parameters.device())?;
    let shapes = view_shapes(&*parts.method, &*parts.maker)?;
    let activations = measure_activations(&*parts.method, &parts.parameters, &shapes, resolved.arithmetic)?;
    let fixed = fixed_memory(config, &*parts.method, &parts.parameters, &shapes, world, resolved.tile)
        + activations.fixed_bytes;
    match fit_micro_batch(budget, share, fixed, activations.bytes_per_sample) {
        Ok(n) => Ok((
            n,
            format!(
                "auto: {} per sample beside {}, {} may be used",
                Bytes(activations.bytes_per_sample),
                Bytes(fixed),
                Bytes(budget)
            ),
        )),
        Err(error) => Err(TrainError::environment(error, error.hint())),
    }
}

/// Bytes that this rank may take.
fn budget(config: &RunConfig, world: &World, device: Device) -> Result<u64, TrainError> {
    if let Some(bytes) = config.trainer.memory_bytes.value() {
        return Ok(bytes);
    }
    let sharing = if device == Device::Cpu { world.local_size.max(1) as u64 } else { 1 };
    Ok((free_bytes(device)? as f64 * USABLE) as u64 / sharing)
}

/// libtorch's error for want of memory becomes one that names the micro-batch that would fit; others stay as they are.
pub(crate) fn explain(prepared: &Prepared, error: TrainError) -> TrainError {
    if !error.is_out_of_memory() {
        return error;
    }
    let engine = &prepared.engine;
    let (settings, world) = (engine.settings(), engine.collective().world());
    let share = prepared.config.trainer.batch_size.div_ceil(world.world_size);
    let Ok(shapes) = prepared.view_shapes() else { return error };
    // What the step held is free again: a few samples can be measured.
    let measured = measure_activations(engine.method(), engine.parameters(), &shapes, settings.arithmetic);
    let tile = prepared.resolved.tile;
    let fixed = fixed_memory(&prepared.config, engine.method(), engine.parameters(), &shapes, world, tile);
    let fitting = measured.ok().zip(budget(&prepared.config, world, engine.device()).ok()).and_then(
        |(activations, budget)| {
            fit_micro_batch(budget, share, fixed + activations.fixed_bytes, activations.bytes_per_sample).ok()
        },
    );
    let micro_batch = settings.micro_batch.unwrap_or(share);
    let hint = match fitting {
        Some(n) if n < micro_batch => format!("`trainer.micro_batch_size={n}` would fit"),
        _ => format!("set `trainer.micro_batch_size` below {micro_batch}, or choose a smaller `model`"),
    };
    let place = &prepared.place.name;
    TrainError::environment(
        format!("the memory of {place} is too small for micro-batches of {micro_batch} samples"),
        hint,
    )
}

#[cfg(test)]
mod tests {
    use tch::{Kind, Tensor};

    use super::*;

    #[test]
    fn want_of_memory_is_told_from_other_errors() {
        let torch = |error: tch::TchError| TrainError::from(error);
        let huge = Tensor::f_zeros([1 << 50], (Kind::Double, Device::Cpu)).unwrap_err();
        assert!(torch(huge).is_out_of_memory());
        let gpu = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139 GiB";
        assert!(torch(tch::TchError::Torch(gpu.into())).is_out_of_memory());
        let shapes = Tensor::zeros([2], (Kind::Float, Device::Cpu)).f_view([3]).unwrap_err();
        assert!(!torch(shapes).is_out_of_memory());
    }
}
