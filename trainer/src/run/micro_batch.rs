//! The largest piece of a rank's share that fits the memory budget: resolved once, the same on all ranks.

use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Auto, Norm};

use super::prepare::Parts;
use super::resolve::Choice;
use super::{Resolved, agreed};
use crate::error::TrainError;
use crate::plan::{Bytes, fit_micro_batch, fixed_memory, measure_activations};
use crate::device::free_bytes;

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
    let device = parts.parameters.device();
    let free = free_bytes(device)?;
    let budget = config.trainer.memory_bytes.value().unwrap_or_else(|| {
        let sharing = if resolved.on_gpu { 1 } else { world.local_size.max(1) };
        (free as f64 * USABLE) as u64 / sharing as u64
    });
    let activations =
        measure_activations(&*parts.method, &parts.parameters, parts.maker.shape(), resolved.arithmetic)?;
    let fixed = fixed_memory(config, &*parts.method, &parts.parameters, parts.maker.shape(), world, resolved.tile) + activations.fixed_bytes;
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
        Err(error) => Err(TrainError::environment(&error, error.hint())),
    }
}
