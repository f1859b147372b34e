//! The objective on samples that are not learned from: in evaluation mode, without graph, over all ranks, and the same
//! whichever pieces a rank reads its share in.

use dtrain_comm::CollectiveExt;
use tch::{Device, Kind, Tensor};

use super::Engine;
use super::step::{LocalBatch, WithoutTf32};
use crate::error::TrainError;
use crate::loss::contrastive::PairProblem;
use crate::method::{Objective, PairKeys, PairLoss};
use crate::model::Pass;

/// A global batch of which this rank has read some pieces.
#[derive(Debug, Default)]
pub struct Validation {
    /// Sum of each of the method's losses over the samples so far, `[num_losses]`, f64.
    sums: Option<Tensor>,
    num_samples: usize,
    rows: Vec<Tensor>,
    keys: Vec<PairKeys>,
}

/// Losses of a global batch, which add up over batches; the same on all ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct LossSums {
    /// Sum of each of the method's losses before it is weighed.
    pub sums: Vec<f64>,
    /// What the mean is over: samples, or the rows of a pair loss that have a positive.
    pub count: f64,
}

impl Engine {
    /// Reads a piece of this rank's share. Its targets say `global_samples` = 1, so that a direct loss is a sum.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn validate(&self, batch: &mut Validation, piece: &LocalBatch) -> Result<(), TrainError> {
        let _reduced = self.settings.arithmetic.enter(self.device());
        let objective = tch::no_grad(|| self.method.objective(&piece.inputs, &piece.targets, &Pass::eval()))?;
        match objective {
            Objective::Direct(direct) => {
                let terms = Tensor::f_stack(&direct.terms, 0)?.f_to_kind(Kind::Double)?;
                batch.sums = Some(match batch.sums.take() {
                    Some(sums) => sums.f_add(&terms)?,
                    None => terms,
                });
                batch.num_samples += piece.targets.sample_ids.len();
            }
            Objective::Pairs(pairs) => {
                batch.rows.push(pairs.projections);
                batch.keys.push(pairs.keys);
            }
        }
        Ok(())
    }

    /// The losses of a batch of which every rank has read its share, at least one piece each, which may be empty.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn conclude_validation(&self, batch: Validation) -> Result<LossSums, TrainError> {
        let (sums, count) = match self.method.pair_loss() {
            Some(loss) => self.pair_losses(&batch, loss)?,
            None => (batch.sums, batch.num_samples as f64),
        };
        let sums = sums.ok_or_else(|| TrainError::internal("a validation batch without a piece"))?;
        let mut values: Vec<f64> = Vec::try_from(sums.f_to_device(Device::Cpu)?.f_view(-1)?)?;
        values.push(count);
        self.collective().sum_f64(&mut values)?;
        let count = values.pop().unwrap_or(0.0);
        Ok(LossSums { sums: values, count })
    }

    /// Sum of the pair loss over this rank's rows among the rows of all ranks, without a memory queue: its rows are of the
    /// training part. Rank 0 counts the anchors for all.
    fn pair_losses(&self, batch: &Validation, loss: PairLoss) -> Result<(Option<Tensor>, f64), TrainError> {
        if batch.rows.is_empty() {
            return Ok((None, 0.0));
        }
        let rows = Tensor::f_cat(&batch.rows, 0)?;
        let keys = PairKeys::concat(&batch.keys);
        let rank = self.ranks.world().rank;
        let own = rows.size().first().copied().unwrap_or(0) as usize;
        let per_rank = self.collective().all_gather_usize(own)?;
        let begin: usize = per_rank.iter().take(rank).sum();
        let keys = PairKeys::from_columns(self.ranks.gather_columns(&keys.to_columns(), &per_rank)?);
        let rows = self.ranks.gather_rows(&rows, &per_rank)?;
        let loss = PairLoss { tile: loss.tile.or(self.settings.tile), ..loss };
        let _exact = WithoutTf32::enter(self.settings.tf32 && rows.device() != Device::Cpu);
        let problem = PairProblem::new(&rows, &keys, None, &loss);
        let sum = problem.row_statistics(begin..begin + own).loss_sum();
        let anchors = if rank == 0 { problem.num_anchors() as f64 } else { 0.0 };
        Ok((Some(sum.f_view([1])?), anchors))
    }
}
