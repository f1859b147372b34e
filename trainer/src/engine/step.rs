//! One optimizer step: forward and backward over this rank's micro-batches, the sums over ranks, and the update.

mod context;
mod forward;
mod outcome;
mod pairs;
mod update;

use std::time::{Duration, Instant};

use dtrain_comm::Stage;
use tch::{Device, Tensor};

use super::{Engine, clip};
use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::method::LocalBatch;
use crate::torch_extra::{Event, HostCopy};
pub(super) use outcome::InFlight;
pub use outcome::StepOutcome;
use outcome::{LocalSums, Summed};
pub(super) use pairs::{PairRows, WithoutTf32};

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
        let clock = StepClock { begin: Instant::now(), blocked: self.ranks.blocked() };
        self.enter_phase(plan.phase, plan.step)?;
        self.last_step = plan.step;
        self.before_first_step(batch, plan)?;
        self.flat.zero_gradients();
        self.reducer.begin();
        let before = self.buffers.snapshot();
        let sums = self.forward_backward(batch, plan)?;
        let mut summed = self.sum_over_ranks(sums, plan)?;
        if self.settings.deferred {
            let earlier = self.flush()?;
            self.update_on_device(&summed, &before)?;
            clock.read(&self.ranks, &mut summed.in_flight.outcome);
            self.in_flight = Some(summed.in_flight);
            return Ok(earlier);
        }
        let mut outcome = self.update_when_known(summed, &before)?;
        clock.read(&self.ranks, &mut outcome);
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
        self.method.settle()?;
        self.adapt_loss_scale(&outcome);
        Ok(Some(outcome))
    }

    /// Gradients, losses, figures and statistics over all ranks.
    fn sum_over_ranks(&mut self, sums: LocalSums, plan: &StepPlan) -> Result<Summed, TrainError> {
        let mut events = self.device_events()?;
        if let Some((backward, _)) = &mut events {
            backward.record()?;
        }
        let tail = self.reducer.finish()?;
        if let Some((_, summed)) = &mut events {
            summed.record()?;
        }
        let active = self.flat.active_set(&self.ranks.any(&self.reducer.touched())?);
        let LocalSums { loss, losses, means, mut statistics, pairs, counts } = sums;
        let num_losses = losses.len();
        let means_over = |over| counts.of(over, plan.global_samples);
        let names = means.iter().map(|mean| (mean.name.clone(), means_over(mean.over))).collect();
        let values = [loss].into_iter().chain(losses).chain(means.into_iter().map(|mean| mean.sum));
        let mut values = Tensor::f_stack(&values.collect::<Vec<_>>(), 0)?;
        self.ranks.sum_f64(&mut values)?;
        statistics.sum_by(|flat| self.ranks.sum_f64(flat))?;

        self.unscale(&active);
        let norm = clip::global_norm(&self.flat, &active, &self.shard, &self.ranks)?;
        let finite = values.get(0).isfinite().logical_and(&norm.isfinite());
        let anchors = pairs.iter().map(|pairs| pairs.anchors).min();
        let outcome = StepOutcome {
            step: plan.step,
            lr: self.lr_at(plan.step),
            anchors,
            loss_scale: self.loss_scale.as_ref().map_or(1.0, |scale| scale.scale()),
            tail_secs: tail.exposed.as_secs_f64(),
            early_buckets: tail.early_buckets,
            ..StepOutcome::default()
        };
        let values = HostCopy::start(&Tensor::f_cat(&[values, norm.view([1])], 0)?)?;
        let in_flight = InFlight { outcome, active, num_losses, means: names, values, tail: events };
        let rows = pairs.into_iter().filter_map(|pairs| pairs.global).collect();
        Ok(Summed { in_flight, skipped: finite.logical_not(), norm, statistics, rows })
    }

    /// Marks on the device's queue, where the host's clock says nothing about it.
    fn device_events(&self) -> Result<Option<(Event, Event)>, TrainError> {
        let device = self.device();
        if device == Device::Cpu || self.ranks.is_alone() {
            return Ok(None);
        }
        Ok(Some((Event::new(device, true)?, Event::new(device, true)?)))
    }

    /// Divides the loss scale out of the gradients.
    fn unscale(&self, active: &super::flat::ActiveSet) {
        let Some(scale) = &self.loss_scale else { return };
        for range in active.ranges() {
            let _ = super::flat::part(self.flat.gradients(), range).g_mul_scalar_(1.0 / scale.scale());
        }
    }
}

/// When a step began.
struct StepClock {
    begin: Instant,
    /// What [`super::Ranks::blocked`] said.
    blocked: Duration,
}

impl StepClock {
    fn read(&self, ranks: &super::Ranks, outcome: &mut StepOutcome) {
        let comm = ranks.blocked().saturating_sub(self.blocked);
        outcome.comm_secs += comm.as_secs_f64();
        outcome.compute_secs = self.begin.elapsed().saturating_sub(comm).as_secs_f64();
    }
}
