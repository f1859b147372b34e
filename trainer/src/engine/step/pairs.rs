//! The step of a method whose loss compares all samples of the global batch.

use tch::{Device, Tensor};

use super::batch::LocalBatch;
use super::outcome::{LocalSums, PairRows};
use crate::coordinator::StepPlan;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::loss::contrastive::PairProblem;
use crate::method::{Objective, PairKeys, PairLoss};
use crate::model::Pass;
use crate::torch_extra::set_tf32;

impl Engine {
    /// The contrastive loss over the whole global batch. With several micro-batches all samples are encoded without
    /// graph first, and again with graph to take their slice of the gradient (Gao et al. 2021, GradCache).
    pub(super) fn pair_step(
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
pub(in crate::engine) struct WithoutTf32(bool);

impl WithoutTf32 {
    pub(in crate::engine) fn enter(was_on: bool) -> Self {
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
