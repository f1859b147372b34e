//! One optimizer step: forward and backward over this rank's micro-batches, the sums over ranks, and the update.

mod batch;
mod outcome;
mod pairs;

use std::time::Instant;

use dtrain_comm::Stage;
use tch::{Device, Kind, Tensor};

use super::flat::ActiveSet;
use super::optimizer::Update;
use super::{Engine, clip, state};
use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::method::Objective;
use crate::model::Pass;
use crate::torch_extra::{Event, HostCopy};
pub use batch::LocalBatch;
pub(super) use outcome::InFlight;
pub use outcome::StepOutcome;
use outcome::{LocalSums, PairRows};
pub(super) use pairs::WithoutTf32;

impl Engine {
    /// Runs step `plan` on this rank's share. Returns the outcome that became known: of this step, or of the step before
    /// where outcomes are deferred.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn step(&mut self, batch: &LocalBatch, plan: &StepPlan) -> Result<Option<StepOutcome>, TrainError> {
        self.try_step(batch, plan).map_err(|error| self.ranks.cause_of(error))
    }

    fn try_step(&mut self, batch: &LocalBatch, plan: &StepPlan) -> Result<Option<StepOutcome>, TrainError> {
        let _stage = self.ranks.enter(Stage::Forward);
        let begin = Instant::now();
        let blocked = self.ranks.blocked();
        self.enter_phase(plan.phase)?;
        self.flat.zero_gradients();
        self.reducer.begin();
        let statistics = self.buffers.snapshot();
        let sums = match self.method.pair_loss() {
            Some(loss) => self.pair_step(batch, plan, loss)?,
            None => self.direct_step(batch, plan)?,
        };
        let mut events = self.device_events()?;
        if let Some((backward, _)) = &mut events {
            backward.record()?;
        }
        let tail = self.reducer.finish()?;
        if let Some((_, summed)) = &mut events {
            summed.record()?;
        }
        let active = self.flat.active_set(&self.ranks.any(&self.reducer.touched())?);
        let names: Vec<String> = sums.means.iter().map(|mean| mean.0.clone()).collect();
        let num_losses = sums.losses.len();
        let mut values: Vec<Tensor> = vec![sums.loss];
        values.extend(sums.losses);
        values.extend(sums.means.into_iter().map(|mean| mean.1));
        let mut values = Tensor::f_stack(&values, 0)?;
        self.ranks.sum_f64(&mut values)?;

        self.unscale(&active);
        let norm = clip::global_norm(&self.flat, &active, &self.shard, &self.ranks)?;
        let values = Tensor::f_cat(&[values, norm.view([1])], 0)?;
        let mut in_flight = InFlight {
            outcome: StepOutcome {
                step: plan.step,
                lr: self.lr_at(plan.step),
                anchors: sums.anchors,
                loss_scale: self.loss_scale.as_ref().map_or(1.0, |scale| scale.scale()),
                tail_secs: tail.exposed.as_secs_f64(),
                early_buckets: tail.early_buckets,
                ..StepOutcome::default()
            },
            active,
            num_losses,
            names,
            global_samples: (plan.global_samples as f64).max(1.0),
            values: HostCopy::start(&values)?,
            tail: events,
        };
        let timing = |engine: &Self, outcome: &mut StepOutcome| {
            let comm = engine.ranks.blocked().saturating_sub(blocked);
            outcome.comm_secs += comm.as_secs_f64();
            outcome.compute_secs = begin.elapsed().saturating_sub(comm).as_secs_f64();
        };
        if self.settings.deferred {
            let earlier = self.flush()?;
            self.update_on_device(&in_flight, &values, &norm, &statistics)?;
            timing(self, &mut in_flight.outcome);
            self.in_flight = Some(in_flight);
            return Ok(earlier);
        }
        let active = in_flight.active.clone();
        let mut outcome = in_flight.settle(&self.ranks)?;
        if outcome.finite {
            if let Some(max_norm) = self.settings.grad_clip {
                clip::scale_to(&self.flat, &active, outcome.grad_norm, max_norm);
            }
            self.update(&active, outcome.lr, None)?;
            self.teach(plan.step, None)?;
        } else {
            self.buffers.restore(&statistics);
        }
        self.learn_from(&outcome, sums.rows.as_ref());
        timing(self, &mut outcome);
        Ok(Some(outcome))
    }

    /// Waits for the outcome of the last step, where it is not known yet.
    ///
    /// # Errors
    /// When a GPU fails.
    pub fn flush(&mut self) -> Result<Option<StepOutcome>, TrainError> {
        let Some(in_flight) = self.in_flight.take() else { return Ok(None) };
        let active = in_flight.active.clone();
        let outcome = in_flight.settle(&self.ranks)?;
        if !outcome.finite {
            self.optimizer.forget_step(&active);
        }
        self.learn_from(&outcome, None);
        Ok(Some(outcome))
    }
}

impl Engine {
    /// Marks on the device's queue, where the host's clock says nothing about it.
    fn device_events(&self) -> Result<Option<(Event, Event)>, TrainError> {
        let device = self.device();
        if device == Device::Cpu || self.ranks.is_alone() {
            return Ok(None);
        }
        Ok(Some((Event::new(device, true)?, Event::new(device, true)?)))
    }

    /// Weights move by the gradients; where ranks keep parts, each then receives the weights of the others.
    fn update(&mut self, active: &ActiveSet, lr: f64, skip: Option<&Tensor>) -> Result<(), TrainError> {
        let _stage = self.ranks.enter(Stage::Update);
        let update = Update { lr, shard: &self.shard, ranks: &self.ranks, skip };
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
        let total_steps = self.settings.course.at(step).total_steps;
        teacher.follow(&self.flat, facts.momentum_at(step, total_steps), skip)
    }

    /// As the rest of [`Engine::step`], where the host does not know yet whether the step counts.
    fn update_on_device(
        &mut self,
        in_flight: &InFlight,
        values: &Tensor,
        norm: &Tensor,
        statistics: &super::buffers::Snapshot,
    ) -> Result<(), TrainError> {
        let finite = values.get(0).isfinite().logical_and(&norm.isfinite());
        let skipped = finite.logical_not();
        if let Some(max_norm) = self.settings.grad_clip {
            clip::scale_to_on_device(&self.flat, &in_flight.active, norm, max_norm);
        }
        let skip = skipped.to_kind(Kind::Float);
        self.update(&in_flight.active, in_flight.outcome.lr, Some(&skip))?;
        self.teach(in_flight.outcome.step, Some(&skip))?;
        self.buffers.restore_where(&skipped, statistics);
        Ok(())
    }

    /// What a finished step teaches: the loss scale, and the memory queue of a step that counts.
    fn learn_from(&mut self, outcome: &StepOutcome, rows: Option<&PairRows>) {
        if let Some(scale) = &mut self.loss_scale {
            scale.update(!outcome.finite);
        }
        if let Some(PairRows { rows, keys }) = rows.filter(|_| outcome.finite) {
            self.method.enqueue(rows, keys);
        }
    }

    /// Divides the loss scale out of the gradients.
    fn unscale(&self, active: &ActiveSet) {
        let Some(scale) = &self.loss_scale else { return };
        for range in active.ranges() {
            let _ = super::flat::part(self.flat.gradients(), range).g_mul_scalar_(1.0 / scale.scale());
        }
    }

    /// `rows.backward(gradient)`, or `rows.backward()` of a scalar, times the loss scale. Nothing happens where all that
    /// leads to `rows` is frozen.
    fn backward(&self, rows: &Tensor, gradient: Option<&Tensor>) -> Result<(), TrainError> {
        if !rows.requires_grad() {
            return Ok(());
        }
        let _stage = self.ranks.enter(Stage::Backward);
        let scalar = match gradient {
            Some(gradient) => (rows * gradient).f_sum(rows.kind())?,
            None => rows.shallow_clone(),
        };
        match &self.loss_scale {
            Some(scale) => (scalar * scale.scale()).f_backward()?,
            None => scalar.f_backward()?,
        }
        Ok(())
    }

    /// Losses that need no other rank: micro-batch by micro-batch, each weighted by its true sample count.
    fn direct_step(&mut self, batch: &LocalBatch, plan: &StepPlan) -> Result<LocalSums, TrainError> {
        let device = self.device();
        let mut sums = LocalSums::zero(device);
        let micro_batches = self.micro_batches(plan);
        let last = micro_batches.len().saturating_sub(1);
        for (index, rows) in micro_batches.iter().enumerate() {
            let part = batch.narrow(rows, self.method.num_views());
            let Objective::Direct(direct) =
                self.objective(&part, &self.training_pass(true, &part.targets, plan.step))?
            else {
                return Err(TrainError::internal("a method without a pair loss returned pairs"));
            };
            let loss = self.weighed(&direct)?;
            sums.loss += loss.detach().to_kind(Kind::Double);
            if direct.terms.len() > 1 {
                let terms = direct.terms.iter().map(|term| term.detach().to_kind(Kind::Double));
                add_up(&mut sums.losses, terms);
            }
            for (index, (name, sum)) in direct.sums.into_iter().enumerate() {
                let sum = sum.to_kind(Kind::Double);
                match sums.means.get_mut(index) {
                    Some(total) => total.1 += sum,
                    None => sums.means.push((name, sum)),
                }
            }
            if index == last {
                self.reducer.arm();
            }
            self.backward(&loss, None)?;
        }
        Ok(sums)
    }

    /// Forward pass in the run's arithmetic.
    pub(super) fn objective(&self, part: &LocalBatch, pass: &Pass) -> Result<Objective, TrainError> {
        let _reduced = self.settings.arithmetic.enter(self.device());
        Ok(self.method.objective(&part.inputs, &part.targets, pass)?)
    }
}

/// Adds `more` to `totals`, which is empty before the first micro-batch.
fn add_up(totals: &mut Vec<Tensor>, more: impl Iterator<Item = Tensor>) {
    for (index, value) in more.enumerate() {
        match totals.get_mut(index) {
            Some(total) => *total += value,
            None => totals.push(value),
        }
    }
}
