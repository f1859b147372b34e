//! One optimizer step: forward and backward over this rank's micro-batches, the sums over ranks, and the update.

use std::ops::Range;
use std::time::Instant;

use dtrain_comm::Stage;
use tch::{Device, Kind, Tensor};

use super::flat::ActiveSet;
use super::optimizer::Update;
use super::ranks::Ranks;
use super::{Engine, clip, state};
use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::loss::contrastive::PairProblem;
use crate::method::{Objective, PairKeys, PairLoss, Targets};
use crate::model::Pass;
use crate::torch_extra::{Event, HostCopy, set_tf32};

/// This rank's share of a global batch.
pub struct LocalBatch {
    /// `[num_views * n, C, H, W]`, view-major.
    pub inputs: Tensor,
    /// What the method may know about the samples.
    pub targets: Targets,
}

/// What a step did; the same on all ranks except for the times.
#[derive(Debug, Clone, Default)]
pub struct StepOutcome {
    /// Zero-based number of the step.
    pub step: u64,
    /// Loss of the global batch.
    pub loss: f64,
    /// Value of each of the method's losses before it is weighed; empty where there is only one.
    pub losses: Vec<f64>,
    /// Named means over the global batch.
    pub means: Vec<(String, f64)>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// False: loss or gradient was not finite and no weight moved.
    pub finite: bool,
    /// Anchors of the pair loss that had a positive; `None` for other losses.
    pub anchors: Option<u64>,
    /// What the loss was multiplied by before backward; 1 but with 16-bit floats.
    pub loss_scale: f64,
    /// Seconds of the step in which this rank worked.
    pub compute_secs: f64,
    /// Seconds in which this rank's host was blocked by other ranks: gathers, statistics and the tail of the gradient sums.
    pub comm_secs: f64,
    /// Of them, from the end of backward to the last gradient sum: by the device's clock on a GPU.
    pub tail_secs: f64,
    /// Gradient buckets that were sent while backward went on.
    pub early_buckets: usize,
}

/// A step whose sums are still on the device.
pub(super) struct InFlight {
    outcome: StepOutcome,
    active: ActiveSet,
    num_losses: usize,
    names: Vec<String>,
    global_samples: f64,
    /// Loss, losses before they are weighed, sums of the means, gradient norm.
    values: HostCopy,
    /// On a GPU: the end of backward, and of the last gradient sum.
    tail: Option<(Event, Event)>,
}

/// Sums that a rank contributes to a step.
struct LocalSums {
    /// 0-dimensional, f64.
    loss: Tensor,
    /// As [`StepOutcome::losses`], 0-dimensional, f64.
    losses: Vec<Tensor>,
    means: Vec<(String, Tensor)>,
    anchors: Option<u64>,
    /// For the method's memory queue, if it has one.
    rows: Option<PairRows>,
}

/// Projections of all ranks and what they are.
struct PairRows {
    rows: Tensor,
    keys: PairKeys,
}

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
        self.update(&in_flight.active, in_flight.outcome.lr, Some(&skipped.to_kind(Kind::Float)))?;
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

    /// The contrastive loss over the whole global batch. With several micro-batches all samples are encoded without
    /// graph first, and again with graph to take their slice of the gradient (Gao et al. 2021, GradCache).
    fn pair_step(
        &mut self,
        batch: &LocalBatch,
        plan: &StepPlan,
        loss: PairLoss,
    ) -> Result<LocalSums, TrainError> {
        let views = self.method.num_views();
        let micro_batches = self.micro_batches(plan);
        let parts: Vec<LocalBatch> = micro_batches.iter().map(|rows| batch.narrow(rows, views)).collect();
        if let [part] = parts.as_slice() {
            let (projections, keys) =
                self.project(part, &self.training_pass(true, &part.targets, plan.step))?;
            let (sums, gradient) = self.pair_gradient(&projections, &keys, plan, loss)?;
            self.reducer.arm();
            self.backward(&projections, Some(&gradient))?;
            return Ok(sums);
        }

        let mut rows = Vec::with_capacity(parts.len());
        let mut keys = Vec::with_capacity(parts.len());
        for part in &parts {
            let (projections, part_keys) =
                tch::no_grad(|| self.project(part, &self.training_pass(false, &part.targets, plan.step)))?;
            rows.push(projections);
            keys.push(part_keys);
        }
        let (sums, gradient) =
            self.pair_gradient(&Tensor::cat(&rows, 0), &PairKeys::concat(&keys), plan, loss)?;
        drop(rows);
        let mut offset = 0;
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.iter().enumerate() {
            let (projections, _) = self.project(part, &self.training_pass(true, &part.targets, plan.step))?;
            let len = projections.size().first().copied().unwrap_or(0);
            if index == last {
                self.reducer.arm();
            }
            self.backward(&projections, Some(&gradient.narrow(0, offset, len)))?;
            offset += len;
        }
        Ok(sums)
    }

    /// Forward pass in the run's arithmetic.
    fn objective(&self, part: &LocalBatch, pass: &Pass) -> Result<Objective, TrainError> {
        let _reduced = self.settings.arithmetic.enter(self.device());
        Ok(self.method.objective(&part.inputs, &part.targets, pass)?)
    }

    fn project(&self, part: &LocalBatch, pass: &Pass) -> Result<(Tensor, PairKeys), TrainError> {
        match self.objective(part, pass)? {
            Objective::Pairs(pairs) => Ok((pairs.projections, pairs.keys)),
            Objective::Direct(_) => {
                Err(TrainError::internal("a method with a pair loss returned a direct loss"))
            }
        }
    }

    /// Gathered rows, view by view in the order of the global batch, so that a queue does not depend on how ranks and
    /// micro-batches shared it.
    fn in_global_order(&self, rows: &Tensor, keys: &PairKeys, plan: &StepPlan) -> PairRows {
        let views = self.method.num_views() as usize;
        let samples: usize = plan.counts.iter().map(|&n| n as usize).sum();
        let mut order = vec![0_i64; views * samples];
        let mut row = 0;
        for rank in 0..plan.counts.len() {
            let first = plan.offset(rank) as usize;
            for part in self.micro_batches_of(rank, plan) {
                for view in 0..views {
                    for sample in part.clone() {
                        if let Some(place) = order.get_mut(view * samples + first + sample) {
                            *place = row;
                        }
                        row += 1;
                    }
                }
            }
        }
        let sorted = |column: Vec<i64>| {
            order.iter().map(|&row| column.get(row as usize).copied().unwrap_or(-1)).collect()
        };
        let keys = PairKeys::from_columns(keys.to_columns().into_iter().map(sorted).collect());
        let order = Tensor::from_slice(&order).to_device(rows.device());
        PairRows { rows: rows.index_select(0, &order), keys }
    }

    /// Loss of the global batch and its gradient with respect to this rank's projections.
    fn pair_gradient(
        &self,
        projections: &Tensor,
        keys: &PairKeys,
        plan: &StepPlan,
        loss: PairLoss,
    ) -> Result<(LocalSums, Tensor), TrainError> {
        let views = self.method.num_views() as usize;
        let per_rank: Vec<usize> = plan.counts.iter().map(|&n| n as usize * views).collect();
        let begin: usize = per_rank.iter().take(self.ranks.world().rank).sum();
        let own = begin..begin + projections.size().first().copied().unwrap_or(0) as usize;

        let keys = PairKeys::from_columns(self.ranks.gather_columns(&keys.to_columns(), &per_rank)?);
        let z = self.ranks.gather_rows(projections, &per_rank)?;
        let loss = PairLoss { tile: loss.tile.or(self.settings.tile), ..loss };
        let _exact = WithoutTf32::enter(self.settings.tf32 && z.device() != Device::Cpu);
        let problem = PairProblem::new(&z, &keys, self.method.queue(), &loss);
        let statistics = problem.row_statistics(own.clone());
        let lse = self.ranks.gather_rows(&statistics.lse, &per_rank)?;
        let mut gradient = problem.gradient(own, &lse);
        let num_anchors = problem.num_anchors();
        let mut loss = statistics.loss_sum() / (num_anchors as f64).max(1.0);
        let weight = self.pair_weight();
        if weight != 1.0 {
            gradient *= weight;
            loss *= weight;
        }

        let sums = LocalSums {
            loss,
            losses: Vec::new(),
            means: Vec::new(),
            anchors: Some(num_anchors as u64),
            rows: self.method.queue().map(|_| self.in_global_order(&z, &keys, plan)),
        };
        Ok((sums, gradient))
    }
}

/// TF32 is off until this is dropped; similarities divided by a temperature need every bit.
struct WithoutTf32(bool);

impl WithoutTf32 {
    fn enter(was_on: bool) -> Self {
        if was_on {
            set_tf32(false);
        }
        Self(was_on)
    }
}

impl Drop for WithoutTf32 {
    fn drop(&mut self) {
        if self.0 {
            set_tf32(true);
        }
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

impl LocalSums {
    fn zero(device: Device) -> Self {
        Self {
            loss: Tensor::zeros([0i64; 0], (Kind::Double, device)),
            losses: Vec::new(),
            means: Vec::new(),
            anchors: None,
            rows: None,
        }
    }
}

impl InFlight {
    /// Waits for the values.
    fn settle(self, ranks: &Ranks) -> Result<StepOutcome, TrainError> {
        let _stage = ranks.enter(Stage::Device);
        let values = self.values.wait()?;
        let mut outcome = self.outcome;
        if let Some((backward, summed)) = &self.tail {
            // Both lie before the values that have just arrived.
            outcome.tail_secs = backward.elapsed_ms(summed)? * 1e-3;
            outcome.comm_secs += outcome.tail_secs;
        }
        let (loss, rest) = values.split_first().unwrap_or((&f64::NAN, &[]));
        let (norm, sums) = rest.split_last().unwrap_or((&f64::NAN, &[]));
        (outcome.loss, outcome.grad_norm) = (*loss, *norm);
        let (losses, sums) = sums.split_at(self.num_losses.min(sums.len()));
        outcome.losses = losses.to_vec();
        outcome.means =
            self.names.into_iter().zip(sums).map(|(name, sum)| (name, sum / self.global_samples)).collect();
        outcome.finite = loss.is_finite() && norm.is_finite();
        Ok(outcome)
    }
}

impl LocalBatch {
    /// The samples `rows`, all of their views.
    fn narrow(&self, rows: &Range<usize>, num_views: u32) -> LocalBatch {
        let samples = self.targets.classes.len();
        let inputs = if *rows == (0..samples) {
            self.inputs.shallow_clone()
        } else {
            let views: Vec<Tensor> = (0..num_views as usize)
                .map(|v| self.inputs.narrow(0, (v * samples + rows.start) as i64, rows.len() as i64))
                .collect();
            Tensor::cat(&views, 0)
        };
        LocalBatch { inputs, targets: self.targets.narrow(rows) }
    }
}
