//! What a method is told in a pass, and once before all passes.

use std::ops::Range;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::ScheduledValues;
use tch::{TchError, Tensor};

use super::outcome::GlobalCounts;
use crate::coordinator::StepPlan;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::{FirstStep, LocalBatch, StepContext, StepFacts};
use crate::model::ForwardContext;

impl Engine {
    /// Where a step stands in the run.
    pub(in crate::engine) fn facts_of(&self, step: u64) -> StepFacts {
        let total = self.settings.course.at(step).total_steps;
        StepFacts { number: step, total, seed: self.parameters.seed() }
    }

    /// The same with what the method's settings change over the run.
    pub(in crate::engine) fn standing(&self, step: u64) -> (StepFacts, ScheduledValues) {
        (self.facts_of(step), self.scheduled_values(step))
    }

    /// Layers behave as in training; `update_statistics` is false in the first of two passes.
    pub(super) fn training_context(
        &self,
        part: &LocalBatch,
        step: u64,
        update_statistics: bool,
    ) -> StepContext<'static> {
        let pass = ForwardContext::train(self.sync.clone()).twice(self.method.facts().second_order);
        let pass = if update_statistics { pass } else { pass.without_update() };
        StepContext::new(self.standing(step), part, &pass, self.sum.clone())
    }

    /// Layers behave as in an evaluation after the last step, and each part of each rank stands alone.
    pub(in crate::engine) fn evaluation_context(&self, part: &LocalBatch) -> StepContext<'static> {
        let pass = ForwardContext::eval().twice(self.method.facts().second_order);
        StepContext::new(self.standing(self.last_step), part, &pass, None)
    }

    /// The method's counts of the global batch.
    pub(super) fn global_counts(&self, batch: &LocalBatch) -> Result<GlobalCounts, TrainError> {
        let own = self.method.count(&batch.targets);
        if own.is_empty() {
            return Ok(GlobalCounts::default());
        }
        let mut counts: Vec<f64> = own.into_iter().map(|count| count as f64).collect();
        self.ranks.timed(|| self.ranks.control().sum_f64(&mut counts))?;
        Ok(GlobalCounts(counts.into_iter().map(|count| count as u64).collect()))
    }

    /// What the method does once in a run, unless the run has passed its first step.
    pub(super) fn before_first_step(
        &mut self,
        batch: &LocalBatch,
        plan: &StepPlan,
    ) -> Result<(), TrainError> {
        let Some(started) = self.method.started().map(Tensor::shallow_clone) else { return Ok(()) };
        // Restoring a checkpoint changes the version, and reading the flag would wait for a GPU.
        if self.started_version == Some(started.internal_version()) {
            return Ok(());
        }
        if started.int64_value(&[]) == 0 {
            let micro_batches = self.micro_batches(plan);
            let parts = micro_batches.iter().map(|rows| batch.narrow(rows)).collect::<Result<Vec<_>, _>>()?;
            let per_rank: Vec<usize> = plan.counts.iter().map(|&count| count as usize).collect();
            let ranks = self.ranks.clone();
            let gather = |rows: &Tensor| {
                let gathered = ranks.gather_rows(rows, &per_rank);
                gathered.map_err(|error| TchError::Torch(ranks.keep_failure(error)))
            };
            let start = FirstStep { seed: self.parameters.seed(), sync: self.sync.clone(), gather: &gather };
            tch::no_grad(|| self.method.before_first_step(&parts, &start))?;
            let _ = tch::no_grad(|| started.shallow_clone().fill_(1));
        }
        self.started_version = Some(started.internal_version());
        Ok(())
    }

    /// This rank's micro-batches as ranges over its samples. All ranks have the same number, empty ones included,
    /// because synchronized layers hold collectives.
    pub(super) fn micro_batches(&self, plan: &StepPlan) -> Vec<Range<usize>> {
        self.micro_batches_of(self.ranks.world().rank, plan)
    }

    pub(super) fn micro_batches_of(&self, rank: usize, plan: &StepPlan) -> Vec<Range<usize>> {
        let own = plan.counts.get(rank).map_or(0, |&n| n as usize);
        let largest = plan.counts.iter().max().map_or(0, |&n| n as usize);
        let micro = self.settings.micro_batch.unwrap_or(largest).max(1);
        let rounds = largest.div_ceil(micro).max(1);
        (0..rounds).map(|i| (i * micro).min(own)..((i + 1) * micro).min(own)).collect()
    }
}
