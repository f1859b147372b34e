//! What a step moves: weights, a teacher, and what the method moves itself.

use dtrain_comm::Stage;
use dtrain_configs::schema::{ClipNorm, TeacherFacts};
use tch::{Kind, Tensor};

use super::outcome::{StepOutcome, Summed};
use crate::engine::buffers::Snapshot;
use crate::engine::clip::Clip;
use crate::engine::flat::ActiveSet;
use crate::engine::optimizer::Update;
use crate::engine::{Engine, clip, state};
use crate::error::TrainError;
use crate::method::AfterStep;

impl Engine {
    /// Waits until it is known whether the step counts, and moves everything if it does. `before`: running statistics before
    /// the step.
    pub(super) fn update_when_known(
        &mut self,
        summed: Summed,
        before: &Snapshot,
    ) -> Result<StepOutcome, TrainError> {
        let Summed { in_flight, statistics, rows, .. } = summed;
        let active = in_flight.active.clone();
        let outcome = in_flight.settle(&self.ranks)?;
        if outcome.finite {
            match self.settings.grad_clip {
                None => {}
                Some(Clip { max_norm, of: ClipNorm::Global }) => {
                    clip::scale_to(&self.flat, &active, outcome.grad_norm, max_norm);
                }
                Some(Clip { max_norm, of: ClipNorm::Parameter }) => self.clip_each(&active, max_norm)?,
            }
            self.update(&active, outcome.step, None)?;
            self.teach(outcome.step, None)?;
            let (step, values) = self.standing(outcome.step);
            let values = &values;
            let after = AfterStep { step, values, statistics: &statistics, pairs: &rows, skip: None };
            tch::no_grad(|| self.method.after_step(&after))?;
        } else {
            self.buffers.restore(before);
        }
        self.adapt_loss_scale(&outcome);
        Ok(outcome)
    }

    /// The same, where the host does not know yet whether the step counts.
    pub(super) fn update_on_device(&mut self, summed: &Summed, before: &Snapshot) -> Result<(), TrainError> {
        let Summed { in_flight, skipped, norm, statistics, rows } = summed;
        let (active, step) = (&in_flight.active, in_flight.outcome.step);
        match self.settings.grad_clip {
            None => {}
            Some(Clip { max_norm, of: ClipNorm::Global }) => {
                clip::scale_to_on_device(&self.flat, active, norm, max_norm);
            }
            Some(Clip { max_norm, of: ClipNorm::Parameter }) => self.clip_each(active, max_norm)?,
        }
        let skip = skipped.to_kind(Kind::Float);
        self.update(active, step, Some(&skip))?;
        self.teach(step, Some(&skip))?;
        let (step, values) = self.standing(step);
        let after = AfterStep { step, values: &values, statistics, pairs: rows, skip: Some(&skip) };
        tch::no_grad(|| self.method.after_step(&after))?;
        self.buffers.restore_where(skipped, before);
        Ok(())
    }

    fn clip_each(&self, active: &ActiveSet, max_norm: f64) -> Result<(), TrainError> {
        tch::no_grad(|| clip::scale_each(&self.flat, active, &self.shard, &self.ranks, max_norm))
    }

    /// Weights move by the gradients; where ranks keep parts, each then receives the weights of the others.
    fn update(&mut self, active: &ActiveSet, step: u64, skip: Option<&Tensor>) -> Result<(), TrainError> {
        let _stage = self.ranks.enter(Stage::Update);
        let (rates, places) = (self.settings.rates_at(step), self.rate_places.as_slice());
        let update = Update { rates: &rates, places, shard: &self.shard, ranks: &self.ranks, skip };
        self.optimizer.step(&self.flat, active, &update)?;
        if self.shard.is_whole() {
            return Ok(());
        }
        state::gather_parts(&self.ranks, self.reducer.buckets(), self.flat.parameters())
    }

    /// The teacher follows the weights that the step has moved.
    fn teach(&self, step: u64, skip: Option<&Tensor>) -> Result<(), TrainError> {
        let (Some(teacher), Some(facts)) = (&self.teacher, self.method.facts().teacher) else {
            return Ok(());
        };
        let momentum = self.settings.value_at(TeacherFacts::MOMENTUM, &facts.momentum, step);
        teacher.follow(&self.flat, momentum, skip)
    }

    /// The loss scale learns whether the step was finite.
    pub(super) fn adapt_loss_scale(&mut self, outcome: &StepOutcome) {
        if let Some(scale) = &mut self.loss_scale {
            scale.update(!outcome.finite);
        }
    }
}
