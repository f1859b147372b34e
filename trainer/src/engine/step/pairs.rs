//! Pair terms: the losses that compare all samples of the global batch.

use std::ops::Range;

use tch::{Device, Tensor};

use crate::coordinator::StepPlan;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::loss::contrastive::{PairLoss, PairProblem};
use crate::method::{GlobalRows, Objective, PairKeys, Queue};
use crate::torch_extra::set_tf32;

/// This rank's rows of a pair term, part by part.
#[derive(Debug)]
pub(in crate::engine) struct PairRows {
    /// Without graph.
    projections: Vec<Tensor>,
    keys: Vec<PairKeys>,
    num_views: u32,
    temperature: f64,
}

impl PairRows {
    /// Adds the rows of a part of the batch to those of the parts before, one entry for each pair term.
    pub(in crate::engine) fn collect(all: &mut Vec<Self>, objective: &Objective) -> Result<(), TrainError> {
        let is_first = all.is_empty();
        for (index, pairs) in objective.pairs().enumerate() {
            if is_first {
                let (num_views, temperature) = (pairs.num_views, pairs.temperature);
                all.push(Self { projections: Vec::new(), keys: Vec::new(), num_views, temperature });
            }
            let Some(rows) = all.get_mut(index) else {
                return Err(TrainError::internal("a part of a batch has more pair terms than another"));
            };
            rows.projections.push(pairs.projections.detach());
            rows.keys.push(pairs.keys.clone());
        }
        Ok(())
    }

    /// Rows of each sample.
    pub(in crate::engine) fn num_views(&self) -> usize {
        self.num_views as usize
    }

    /// Rows of all parts.
    pub(in crate::engine) fn len(&self) -> usize {
        self.keys.iter().map(PairKeys::num_rows).sum()
    }

    /// The rows of all parts and their keys.
    fn concat(&self) -> Result<(Tensor, PairKeys), TrainError> {
        let rows = match self.projections.as_slice() {
            [rows] => rows.shallow_clone(),
            parts => Tensor::f_cat(parts, 0)?,
        };
        Ok((rows, PairKeys::concat(&self.keys)))
    }
}

/// A pair term over all ranks.
#[derive(Debug)]
pub(super) struct PairLosses {
    /// This rank's share of the loss, 0-dimensional, f64.
    pub(super) loss: Tensor,
    /// With respect to this rank's projections, part by part.
    gradient: Tensor,
    /// Rows of the gradient that have been taken.
    taken: i64,
    /// Rows that had a positive, over all ranks.
    pub(super) anchors: u64,
    /// For the method's memory queue, if it has one.
    pub(super) global: Option<GlobalRows>,
}

impl PairLosses {
    /// The gradient with respect to the projections of the next part.
    pub(super) fn next_gradient(&mut self, projections: &Tensor) -> Tensor {
        let len = projections.size().first().copied().unwrap_or(0);
        let part = self.gradient.narrow(0, self.taken, len);
        self.taken += len;
        part
    }
}

/// A pair term of all ranks, ready to be computed.
pub(in crate::engine) struct GlobalPairs {
    rows: Tensor,
    keys: PairKeys,
    loss: PairLoss,
    /// This rank's rows.
    pub(in crate::engine) own: Range<usize>,
}

impl GlobalPairs {
    pub(in crate::engine) fn problem<'a>(&self, queue: Option<&'a Queue>) -> PairProblem<'a> {
        PairProblem::new(&self.rows, &self.keys, queue, &self.loss)
    }

    /// Where the rows are.
    pub(in crate::engine) fn device(&self) -> Device {
        self.rows.device()
    }
}

impl Engine {
    /// The rows of all ranks, of which each has `per_rank`.
    pub(in crate::engine) fn gather_pairs(
        &self,
        rows: &PairRows,
        per_rank: &[usize],
    ) -> Result<GlobalPairs, TrainError> {
        let (projections, keys) = rows.concat()?;
        let begin: usize = per_rank.iter().take(self.ranks.world().rank).sum();
        let own = begin..begin + projections.size().first().copied().unwrap_or(0) as usize;
        let keys = keys.with_columns(self.ranks.gather_columns(&keys.to_columns(), per_rank)?);
        let rows_of_all = self.ranks.gather_rows(&projections, per_rank)?;
        let loss = PairLoss { temperature: rows.temperature, tile: self.settings.tile };
        Ok(GlobalPairs { rows: rows_of_all, keys, loss, own })
    }

    /// The pair terms of the global batch, and their gradients with respect to this rank's projections.
    pub(super) fn pair_losses(
        &mut self,
        terms: Vec<PairRows>,
        plan: &StepPlan,
    ) -> Result<Vec<PairLosses>, TrainError> {
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        // The last step's rows enter the queue before these are compared with it; the device has this step's forward pass to do
        // meanwhile.
        self.method.settle()?;
        terms.iter().map(|rows| self.pair_loss(rows, plan)).collect()
    }

    fn pair_loss(&self, rows: &PairRows, plan: &StepPlan) -> Result<PairLosses, TrainError> {
        let per_rank: Vec<usize> = plan.counts.iter().map(|&n| n as usize * rows.num_views()).collect();
        let pairs = self.gather_pairs(rows, &per_rank)?;
        let _exact = WithoutTf32::enter(self.settings.tf32 && pairs.device() != Device::Cpu);
        let problem = pairs.problem(self.method.queue());
        let statistics = problem.row_statistics(pairs.own.clone());
        let lse = self.ranks.gather_rows(&statistics.lse, &per_rank)?;
        let gradient = problem.gradient(pairs.own.clone(), &lse);
        let anchors = problem.num_anchors();
        let loss = statistics.loss_sum() / (anchors as f64).max(1.0);
        drop(problem);
        let global = self.method.queue().map(|_| self.in_global_order(&pairs, rows.num_views(), plan));
        Ok(PairLosses { loss, gradient, taken: 0, anchors: anchors as u64, global })
    }

    /// Gathered rows, view by view in the order of the global batch, so that a queue does not depend on how ranks and
    /// micro-batches shared it.
    fn in_global_order(&self, pairs: &GlobalPairs, views: usize, plan: &StepPlan) -> GlobalRows {
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
        let keys = pairs.keys.with_columns(pairs.keys.to_columns().into_iter().map(sorted));
        let order = Tensor::from_slice(&order).to_device(pairs.device());
        GlobalRows { rows: pairs.rows.index_select(0, &order), keys }
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
