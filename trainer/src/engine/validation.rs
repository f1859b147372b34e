//! The objective on samples that are not learned from: in evaluation mode, without graph, over all ranks, and the same
//! whichever parts a rank reads its share in.

use dtrain_comm::CollectiveExt;
use tch::{Device, Kind, Tensor};

use super::Engine;
use super::step::{PairRows, WithoutTf32};
use crate::error::TrainError;
use crate::method::{LocalBatch, Over, Term};

/// A global batch of which this rank has read some parts.
#[derive(Debug, Default)]
pub struct Validation {
    /// Sum of each of the method's losses over the samples so far, `[num_losses]`, f64; of a pair term nothing yet.
    sums: Option<Tensor>,
    num_samples: u64,
    /// Samples of each group that the method counts.
    counts: Vec<u64>,
    /// What each direct loss is a mean over; `None` for a pair term.
    over: Vec<Option<Over>>,
    /// Of each pair term.
    pairs: Vec<PairRows>,
}

/// Losses of a global batch, which add up over batches; the same on all ranks.
#[derive(Debug, Clone, PartialEq)]
pub struct LossSums {
    /// Sum of each of the method's losses before it is weighted.
    pub sums: Vec<f64>,
    /// What the mean of each is over: samples, those of a group, or the rows of a pair term that have a positive.
    pub counts: Vec<f64>,
}

impl Engine {
    /// Reads a part of this rank's share. Its targets say `global_samples` = 1, so that a direct loss is a sum.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn validate(&self, batch: &mut Validation, part: &LocalBatch) -> Result<(), TrainError> {
        let counts = self.method.count(&part.targets);
        let ones = vec![1; counts.len()];
        let context = self.evaluation_context(part).knowing(&ones, None);
        let read = || self.objective(part, &context);
        // A loss that holds gradients needs a graph to take them in.
        let objective = if context.pass().differentiable_twice { read() } else { tch::no_grad(read) }?;
        let nothing = || Tensor::zeros([0_i64; 0], (Kind::Double, self.device()));
        let values = objective.terms.iter().map(|term| match term {
            Term::Direct(term) => term.loss.detach().to_kind(Kind::Double),
            Term::Pairs(_) => nothing(),
        });
        let values = Tensor::f_stack(&values.collect::<Vec<_>>(), 0)?;
        batch.sums = Some(match batch.sums.take() {
            Some(sums) => sums.f_add(&values)?,
            None => values,
        });
        batch.over = objective.terms.iter().map(Term::over).collect();
        batch.counts.resize(counts.len(), 0);
        batch.counts.iter_mut().zip(counts).for_each(|(total, count)| *total += count);
        batch.num_samples += part.num_samples() as u64;
        PairRows::collect(&mut batch.pairs, &objective)
    }

    /// The losses of a batch of which every rank has read its share, at least one part each, which may be empty.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn conclude_validation(&self, batch: Validation) -> Result<LossSums, TrainError> {
        let Some(sums) = &batch.sums else {
            return Err(TrainError::internal("a validation batch without a part"));
        };
        let mut sums: Vec<f64> = Vec::try_from(sums.f_to_device(Device::Cpu)?)?;
        let mut counts: Vec<f64> = Vec::with_capacity(sums.len());
        let mut pairs = batch.pairs.iter();
        for (sum, over) in sums.iter_mut().zip(&batch.over) {
            counts.push(match over {
                Some(Over::Samples) => batch.num_samples as f64,
                Some(Over::Group(group)) => batch.counts.get(*group).copied().unwrap_or(0) as f64,
                None => {
                    let Some(rows) = pairs.next() else {
                        return Err(TrainError::internal("a pair term without rows"));
                    };
                    let anchors;
                    (*sum, anchors) = self.pair_sum(rows)?;
                    anchors
                }
            });
        }
        let num_losses = sums.len();
        sums.append(&mut counts);
        self.collective().sum_f64(&mut sums)?;
        let counts = sums.split_off(num_losses);
        Ok(LossSums { sums, counts })
    }

    /// Sum of a pair term over this rank's rows among the rows of all ranks, without a memory queue: its rows are of the
    /// training part. Rank 0 counts the anchors for all.
    fn pair_sum(&self, rows: &PairRows) -> Result<(f64, f64), TrainError> {
        let per_rank = self.collective().all_gather_usize(rows.len())?;
        let pairs = self.gather_pairs(rows, &per_rank)?;
        let _exact = WithoutTf32::enter(self.settings.tf32 && pairs.device() != Device::Cpu);
        let problem = pairs.problem(None);
        let sum = problem.row_statistics(pairs.own.clone()).loss_sum();
        let anchors = if self.ranks.world().rank == 0 { problem.num_anchors() as f64 } else { 0.0 };
        Ok((sum.f_to_device(Device::Cpu)?.double_value(&[]), anchors))
    }
}
