//! The parts of a run that each rank builds by itself, before the ranks are connected for tensors.

use std::sync::Arc;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{BnStatistics, Sampling};
use dtrain_data::{Dataset, Sampler, SamplerKind, Views};

use super::data::{check_held_out, view_maker};
use super::plan::run_plan;
use super::prepared::Purpose;
use super::resolve::{Place, Resolved};
use super::view_size;
use super::{course, groups, heads, phases, pools};
use crate::coordinator::{Course, RunPlan};
use crate::error::TrainError;
use crate::method::{self, Method};
use crate::model::parameters::{Parameters, Unmade};

/// What is built before the ranks are connected for tensors.
pub(super) struct Parts {
    pub(super) maker: Arc<dyn Views>,
    pub(super) sampler: Option<Arc<Sampler>>,
    pub(super) plan: RunPlan,
    pub(super) method: Box<dyn Method>,
    pub(super) parameters: Parameters,
}

pub(super) fn build_parts(
    config: &RunConfig,
    purpose: Purpose,
    resolved: &Resolved,
    place: &Place,
    dataset: &Arc<Dataset>,
) -> Result<Parts, TrainError> {
    check_held_out(config, dataset, purpose)?;
    let maker = view_maker(config, dataset)?;
    view_size::check(config, 0, maker.shape())?;
    let task = heads::task(config, dataset, maker.shape());
    let mut parameters = Parameters::new(place.device, resolved.arithmetic.kind(), config.seed);
    let method = method::build(&config.method, &config.model, &task, &mut parameters);
    parameters.made().map_err(for_want_of_memory)?;
    let shapes = view_size::view_shapes(&*method, &*maker)?;
    view_size::check_one_size(config, &shapes)?;
    shapes.into_iter().enumerate().try_for_each(|(group, shape)| view_size::check(config, group, shape))?;

    // What is frozen when weights are saved keeps its statistics.
    let of_groups = config.optimizer.groups().iter().any(|group| group.freezes().next().is_some());
    let freezes = (config.phases.enabled || of_groups) && config.model.bn_statistics == BnStatistics::Precise;
    let is_planned = purpose == Purpose::Train || freezes;
    // Losses of an evaluation take what the method changes over the run as in the step of the weights. Of other data than those
    // that were trained on, which may not make a batch, the length in steps is not known.
    let is_scheduled = config.method.scheduled().iter().any(|own| own.schedule.constant().is_none());
    let planned = || sampler(config, dataset, method.facts().sampling);
    let sampler = if is_planned {
        Some(planned()?)
    } else if is_scheduled {
        planned().ok()
    } else {
        None
    };
    let sampler = sampler.map(Arc::new);
    let steps_per_epoch = sampler.as_ref().map_or(1, |s| s.steps_per_epoch()).max(1);
    let total_steps = course::total_steps(config, steps_per_epoch);
    let course = if is_planned {
        let course = course::plan(config, steps_per_epoch)?;
        phases::check(config, &course, steps_per_epoch, &*method, &parameters)?;
        groups::check(config, &course, steps_per_epoch, &parameters)?;
        course
    } else if sampler.is_some() {
        course::plan(config, steps_per_epoch).unwrap_or_else(|_| Course::whole(total_steps))
    } else {
        Course::whole(total_steps)
    };
    let plan = run_plan(config, steps_per_epoch, course, total_steps);
    Ok(Parts { maker, sampler, plan, method, parameters })
}

/// A tensor of the network that found no memory, with the setting that makes it smaller.
fn for_want_of_memory(unmade: Unmade) -> TrainError {
    let Unmade { name, bytes, error } = unmade;
    let hint = match name.split('.').next() {
        Some("projector") => "lower `method.projector.hidden_dim`",
        Some("queue") => "lower `method.queue_size`",
        _ => "choose a smaller `model`",
    };
    TrainError::from(error).wanting(format!("`{name}`"), Some(bytes), hint)
}

/// Draws from the train part; a method that learns the target leaves unlabelled samples out.
fn sampler(config: &RunConfig, dataset: &Dataset, sampling: Sampling) -> Result<Sampler, TrainError> {
    let mut pool = dataset.train_pool(Some(&config.data.target));
    let labelled: Vec<u32>;
    if sampling == Sampling::ShuffledLabelled {
        let has_label = |id: &u32| pool.classes.get(*id as usize).copied().flatten().is_some();
        labelled = pool.ids.iter().copied().filter(has_label).collect();
        pool.ids = &labelled;
    }
    let (batch_size, seed) = (config.trainer.batch_size, config.seed);
    if !config.data.pools.is_empty() {
        let shares = pools::shares(config, dataset, pool.ids)?;
        return Ok(Sampler::of_pools(pool, shares, batch_size, seed)?);
    }
    let kind = match sampling {
        Sampling::Shuffled | Sampling::ShuffledLabelled => SamplerKind::Shuffled,
        Sampling::DistinctRecordings => SamplerKind::DistinctRecordings,
        Sampling::Balanced { samples_per_class } => {
            SamplerKind::Balanced { samples_per_class, include_unlabelled: true }
        }
    };
    Ok(Sampler::new(kind, pool, batch_size, seed)?)
}
