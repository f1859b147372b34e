//! One optimizer step: forward and backward over this rank's micro-batches, the sum over ranks, and the update.

use std::time::Instant;

use dtrain_comm::CollectiveExt;
use tch::Tensor;

use super::Engine;
use super::gather::{gather_i64, gather_rows, sum_in_buckets};
use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::loss::contrastive;
use crate::method::{Objective, PairLoss, Targets};
use crate::model::Pass;

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
    /// Loss of the global batch.
    pub loss: f64,
    /// Named means over the global batch.
    pub means: Vec<(&'static str, f64)>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub lr: f64,
    /// False: loss or gradient was not finite and no weight moved.
    pub finite: bool,
    /// Anchors of the pair loss that had a positive; `None` for other losses.
    pub anchors: Option<u64>,
    /// Seconds in forward, backward and update.
    pub compute_secs: f64,
    /// Seconds in collectives outside forward and backward.
    pub comm_secs: f64,
}

/// Sums that a rank contributes to a step.
#[derive(Default)]
struct LocalSums {
    loss: f64,
    means: Vec<(&'static str, f64)>,
    anchors: Option<u64>,
    comm_secs: f64,
}

impl Engine {
    /// Runs step `plan` on this rank's share.
    pub fn step(&mut self, batch: &LocalBatch, plan: &StepPlan) -> Result<StepOutcome, TrainError> {
        let start = Instant::now();
        self.flat.zero_gradients();
        self.touched.clear();
        let buffers = self.copy_of_buffers();
        let mut sums = match self.method.pair_loss() {
            Some(loss) => self.pair_step(batch, plan, loss)?,
            None => self.direct_step(batch, plan)?,
        };

        let reduce = Instant::now();
        sum_in_buckets(&*self.collective, self.flat.gradients(), &self.buckets)?;
        let active = self.reduce_scalars(&mut sums)?;
        let comm_secs = sums.comm_secs + reduce.elapsed().as_secs_f64();

        let grad_norm = super::clip::global_norm(&self.flat, &active);
        let finite = grad_norm.is_finite() && sums.loss.is_finite();
        let lr = self.lr_at(plan.step);
        if finite {
            if let Some(max_norm) = self.settings.grad_clip {
                super::clip::scale_to(&self.flat, &active, grad_norm, max_norm);
            }
            self.optimizer.step(&self.flat, &active, lr)?;
        } else {
            self.put_back(&buffers);
        }
        let samples = (plan.global_samples as f64).max(1.0);
        Ok(StepOutcome {
            loss: sums.loss,
            means: sums.means.into_iter().map(|(name, sum)| (name, sum / samples)).collect(),
            grad_norm,
            lr,
            finite,
            anchors: sums.anchors,
            compute_secs: start.elapsed().as_secs_f64() - comm_secs,
            comm_secs,
        })
    }

    /// Running statistics as they are now: a forward pass moves them before anyone knows that it is not finite.
    fn copy_of_buffers(&self) -> Vec<Tensor> {
        tch::no_grad(|| self.parameters.buffers().iter().map(|buffer| buffer.tensor.copy()).collect())
    }

    fn put_back(&self, copies: &[Tensor]) {
        tch::no_grad(|| {
            for (buffer, copy) in self.parameters.buffers().iter().zip(copies) {
                buffer.tensor.shallow_clone().copy_(copy);
            }
        });
    }

    /// Losses that need no other rank: micro-batch by micro-batch, each weighted by its true sample count.
    fn direct_step(&mut self, batch: &LocalBatch, plan: &StepPlan) -> Result<LocalSums, TrainError> {
        let mut sums = LocalSums::default();
        for rows in self.micro_batches(plan) {
            let part = batch.narrow(&rows, self.method.num_views());
            if let Objective::Direct(direct) =
                self.method.objective(&part.inputs, &part.targets, &self.training_pass(true))?
            {
                sums.loss += direct.loss.double_value(&[]);
                for (index, (name, sum)) in direct.sums.into_iter().enumerate() {
                    match sums.means.get_mut(index) {
                        Some(total) => total.1 += sum,
                        None => sums.means.push((name, sum)),
                    }
                }
                direct.loss.f_backward()?;
            }
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
            let (projections, groups) = self.project(part, &self.training_pass(true))?;
            let (sums, gradient) = self.pair_gradient(&projections, &groups, plan, loss)?;
            backward_from(&projections, &gradient)?;
            return Ok(sums);
        }

        let mut rows = Vec::with_capacity(parts.len());
        let mut groups = Vec::new();
        for part in &parts {
            let (projections, part_groups) = tch::no_grad(|| self.project(part, &self.training_pass(false)))?;
            rows.push(projections);
            groups.extend(part_groups);
        }
        let (sums, gradient) = self.pair_gradient(&Tensor::cat(&rows, 0), &groups, plan, loss)?;
        let mut offset = 0;
        for part in &parts {
            let (projections, _) = self.project(part, &self.training_pass(true))?;
            let len = projections.size().first().copied().unwrap_or(0);
            backward_from(&projections, &gradient.narrow(0, offset, len))?;
            offset += len;
        }
        Ok(sums)
    }

    fn project(&self, part: &LocalBatch, pass: &Pass) -> Result<(Tensor, Vec<i64>), TrainError> {
        match self.method.objective(&part.inputs, &part.targets, pass)? {
            Objective::Pairs(pairs) => Ok((pairs.projections, pairs.groups)),
            Objective::Direct(_) => {
                Err(TrainError::internal("a method with a pair loss returned a direct loss"))
            }
        }
    }

    /// Loss of the global batch and its gradient with respect to this rank's projections.
    fn pair_gradient(
        &self,
        projections: &Tensor,
        groups: &[i64],
        plan: &StepPlan,
        loss: PairLoss,
    ) -> Result<(LocalSums, Tensor), TrainError> {
        let collective = &*self.collective;
        let rank = collective.world().rank;
        let views = self.method.num_views() as usize;
        let per_rank: Vec<usize> = plan.counts.iter().map(|&n| n as usize * views).collect();
        let begin: usize = per_rank.iter().take(rank).sum();
        let own = begin..begin + groups.len();

        let mut comm = Stopwatch::default();
        let z = comm.time(|| gather_rows(collective, projections, &per_rank))?;
        let groups = comm.time(|| gather_i64(collective, groups, &per_rank))?;
        let index = contrastive::Groups::new(&groups, z.device());
        let tile = loss.tile.unwrap_or(contrastive::DEFAULT_TILE);
        let statistics = contrastive::row_statistics(&z, &index, own.clone(), loss.temperature, tile);
        let lse = comm.time(|| gather_rows(collective, &statistics.lse, &per_rank))?;
        let gradient = contrastive::gradient(&z, &index, own, &lse, loss.temperature, tile);

        let sums = LocalSums {
            loss: statistics.loss_sum().double_value(&[]) / (index.num_anchors() as f64).max(1.0),
            anchors: Some(index.num_anchors() as u64),
            comm_secs: comm.secs,
            ..LocalSums::default()
        };
        Ok((sums, gradient))
    }

    /// Sums loss and means over ranks and learns which parameters had a gradient on any rank.
    fn reduce_scalars(&mut self, sums: &mut LocalSums) -> Result<super::flat::ActiveSet, TrainError> {
        let touched = self.touched.snapshot();
        let mut scalars = vec![sums.loss];
        scalars.extend(sums.means.iter().map(|m| m.1));
        let num_scalars = scalars.len();
        scalars.extend(touched.iter().map(|&t| f64::from(u8::from(t))));
        self.collective.sum_f64(&mut scalars)?;
        let (values, touched) = scalars.split_at(num_scalars);
        if let Some((loss, means)) = values.split_first() {
            sums.loss = *loss;
            for (mean, value) in sums.means.iter_mut().zip(means) {
                mean.1 = *value;
            }
        }
        let active: Vec<bool> = touched.iter().map(|&t| t > 0.0).collect();
        Ok(self.flat.active_set(&active))
    }
}

impl LocalBatch {
    /// The samples `rows`, all of their views.
    fn narrow(&self, rows: &std::ops::Range<usize>, num_views: u32) -> LocalBatch {
        let samples = self.targets.classes.len();
        let inputs = if *rows == (0..samples) {
            self.inputs.shallow_clone()
        } else {
            let views: Vec<Tensor> = (0..num_views as usize)
                .map(|v| self.inputs.narrow(0, (v * samples + rows.start) as i64, rows.len() as i64))
                .collect();
            Tensor::cat(&views, 0)
        };
        let pick = |values: &[i64]| values.get(rows.clone()).map(<[i64]>::to_vec).unwrap_or_default();
        let targets = Targets {
            classes: pick(&self.targets.classes),
            positions: pick(&self.targets.positions),
            global_samples: self.targets.global_samples,
        };
        LocalBatch { inputs, targets }
    }
}

/// `rows.backward(gradient)`: the derivative of the sum of their product.
fn backward_from(rows: &Tensor, gradient: &Tensor) -> Result<(), TrainError> {
    (rows * gradient).sum(rows.kind()).f_backward()?;
    Ok(())
}

/// Adds up the time of several calls.
#[derive(Default)]
struct Stopwatch {
    secs: f64,
}

impl Stopwatch {
    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = call();
        self.secs += start.elapsed().as_secs_f64();
        value
    }
}
