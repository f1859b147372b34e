//! The method's own objective on a part of the data, as training has it: over global batches of `trainer.batch_size`
//! samples, each sample once. Which samples meet in a batch, and which views of them, is a function of the seed alone, so
//! that two evaluations differ by the weights and nothing else.

use dtrain_configs::schema::Sampling;
use dtrain_data::progress::Work;
use dtrain_data::{BatchRequest, Dataset, Draw, evaluation_batches, share};

use super::batches::named_on_all_ranks;
use super::evaluator::{Asks, Conclusion, Evaluator, LossBatches, Role, Subject};
use super::{Evaluation, Thoroughness, names};
use crate::batch::{start_loader, upload};
use crate::engine::Validation;
use crate::error::TrainError;
use crate::method::{LocalBatch, Method, Targets};

/// The epoch that names the views of validation batches: no epoch of a run has them.
const EPOCH: u64 = u32::MAX as u64;

/// Losses of a part; the same on all ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Mean of each of the method's losses before it is weighted, with its name.
    pub each: Vec<(String, f64)>,
    /// The objective: the weighted sum.
    pub total: f64,
}

/// The objective, where no head's figures have it already.
pub(super) struct Objectives<'a> {
    batches: LossBatches<'a>,
    loss_names: Vec<String>,
    /// What heads say of a part has the losses.
    said_by_heads: bool,
}

impl<'a> Objectives<'a> {
    pub(super) fn new(subject: &Subject<'a>) -> Self {
        let method = subject.method;
        let said_by_heads = method.heads_say_losses();
        Self { batches: subject.losses, loss_names: method.loss_names(), said_by_heads }
    }
}

impl Evaluator for Objectives<'_> {
    fn metrics(&self, part: &str, _: Thoroughness) -> Vec<String> {
        if self.said_by_heads {
            return Vec::new();
        }
        names::of_losses(part, self.loss_names.iter().map(String::as_str))
    }

    /// Nothing: it reads batches of its own.
    fn asks(&self, _: Role, _: Thoroughness) -> Asks {
        Asks::default()
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if self.said_by_heads {
            return Ok(Vec::new());
        }
        let method = read.engine.method();
        // Several views are a pair loss's, and differ by augmentation; one view is what the probes see too.
        let of_views = method.num_views() > 1;
        let (mut losses, mut left_out) = evaluate_losses(read, &self.batches, of_views)?;
        let augmented = method.measured_augmented();
        if !augmented.is_empty() && !of_views {
            let (of_augmented, unread) = evaluate_losses(read, &self.batches, true)?;
            let measured = of_augmented.each.into_iter().filter(|(name, _)| augmented.contains(name));
            for (name, mean) in measured {
                losses.each.iter_mut().filter(|(own, _)| *own == name).for_each(|(_, own)| *own = mean);
            }
            losses.total = weighted(&losses.each, &method.loss_weights());
            left_out.extend(unread);
        }
        evaluation.add_losses(losses);
        Ok(left_out)
    }
}

fn weighted(each: &[(String, f64)], weights: &[f64]) -> f64 {
    // A loss without weight may have had nothing to be a mean over.
    let terms = each.iter().zip(weights).filter(|(_, weight)| **weight != 0.0);
    terms.map(|((_, mean), weight)| mean * weight).sum()
}

/// Computes the losses on the samples of the part, of views that are augmented or not. The samples that could not be read come
/// second.
fn evaluate_losses(
    &Conclusion { engine, reading, dataset, ids, .. }: &Conclusion<'_>,
    batches: &LossBatches<'_>,
    augment: bool,
) -> Result<(Losses, Vec<String>), TrainError> {
    let method = engine.method();
    let ids = learnable(method, dataset, batches.columns.target, ids);
    let world = engine.collective().world();
    let (num_views, groups) = (method.num_views(), method.view_groups());
    let most = reading.batch_size.div_ceil(world.world_size).div_ceil(num_views.max(1) as usize).max(1);
    let batches_of_ids = evaluation_batches(&ids, batches.batch_size, batches.seed);
    let mut requests = Vec::new();
    for (step, ids) in (0u64..).zip(&batches_of_ids) {
        let draws: Vec<Draw> = ids.iter().copied().map(Draw::first).collect();
        let own = draws.get(share(draws.len(), world.world_size, world.rank)).unwrap_or_default();
        let parts: Vec<Vec<Draw>> = match own {
            [] => vec![Vec::new()],
            own => own.chunks(most).map(<[Draw]>::to_vec).collect(),
        };
        let request = |draws| BatchRequest { epoch: EPOCH, step, draws, groups: groups.clone(), augment };
        requests.push(parts.into_iter().map(request).collect::<Vec<_>>());
    }
    let parts_per_batch: Vec<usize> = requests.iter().map(Vec::len).collect();
    let loader =
        start_loader(&reading.maker, requests.into_iter().flatten(), reading.options, engine.device())?;
    let work = Work::begin("computing losses", "samples", ids.len() as u64);
    let mut totals = vec![0.0; method.loss_names().len()];
    let (mut counts, mut failed) = (vec![0.0; totals.len()], Vec::new());
    for (num_parts, ids) in parts_per_batch.into_iter().zip(&batches_of_ids) {
        let mut position = share(ids.len(), world.world_size, world.rank).start;
        let mut validation = Validation::default();
        for _ in 0..num_parts {
            let Some(mut batch) = loader.next().transpose()? else {
                return Err(TrainError::internal("the loader ended before the validation batches"));
            };
            failed.append(&mut batch.failed);
            let views = upload(&batch, engine.device())?.arrived(engine.kind())?;
            // What stands for a sample in a pair loss is its place, whichever others could be read.
            let positions = batch.kept.iter().map(|&at| (position + at) as i64).collect();
            position += batch.request.draws.len();
            let targets = Targets::of(dataset, &batch, batches.columns, &[])?.at(positions)?.among(1);
            engine.validate(&mut validation, &LocalBatch::of_groups(views, targets)?)?;
        }
        let losses = engine.conclude_validation(validation)?;
        totals.iter_mut().zip(&losses.sums).for_each(|(total, sum)| *total += sum);
        counts.iter_mut().zip(&losses.counts).for_each(|(total, count)| *total += count);
        work.add(ids.len() as u64);
    }
    let left_out = named_on_all_ranks(&**engine.collective(), &failed)?;
    let means = totals.into_iter().zip(counts).map(|(total, count)| total / count);
    let each: Vec<(String, f64)> = method.loss_names().into_iter().zip(means).collect();
    let total = weighted(&each, &method.loss_weights());
    Ok((Losses { each, total }, left_out))
}

/// The samples that the objective is defined on.
fn learnable(method: &dyn Method, dataset: &Dataset, target: &str, ids: &[u32]) -> Vec<u32> {
    let label = dataset.label(target).filter(|_| method.facts().sampling == Sampling::ShuffledLabelled);
    let has_label =
        |id: &u32| label.is_none_or(|label| label.of_sample.get(*id as usize).copied().flatten().is_some());
    ids.iter().copied().filter(has_label).collect()
}

impl Evaluation {
    /// Adds `{part}/loss`, and where the objective has several losses `{part}/{name}_loss` of each.
    pub fn add_losses(&mut self, losses: Losses) {
        let named = names::of_losses(&self.part, losses.each.iter().map(|(name, _)| name.as_str()));
        let values = std::iter::once(losses.total).chain(losses.each.iter().map(|(_, mean)| *mean));
        self.metrics.extend(named.into_iter().zip(values));
    }
}
