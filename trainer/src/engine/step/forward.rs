//! Forward and backward over micro-batches: every term of the objective weighted, and pair terms compared over all ranks.

use std::ops::Range;

use dtrain_comm::Stage;
use tch::{Kind, Tensor};

use super::outcome::{GlobalCounts, LocalSums};
use super::pairs::{PairLosses, PairRows};
use crate::coordinator::StepPlan;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::{LocalBatch, Objective, Statistics, StepContext, Term};

/// What all parts of a batch share.
struct Known {
    counts: GlobalCounts,
    first_pass: Option<Statistics>,
}

impl Engine {
    /// Gradients of this rank's share, and its sums. Each micro-batch counts by its true number of samples.
    ///
    /// Pair terms need the rows of all samples before any gradient: with several micro-batches all samples are encoded without
    /// graph first, and again with graph to take their slice of the gradient (Gao et al. 2021, GradCache).
    pub(super) fn forward_backward(
        &mut self,
        batch: &LocalBatch,
        plan: &StepPlan,
    ) -> Result<LocalSums, TrainError> {
        let parts = self.micro_batches(plan);
        let counts = self.global_counts(batch)?;
        let first_pass = self.first_pass(batch, plan, &parts, &counts)?;
        let known = Known { counts, first_pass };
        let encoded_first = self.method.facts().pairs.is_some() && parts.len() > 1;
        let mut pairs = match encoded_first {
            true => self.encode(batch, plan, &parts, &known)?,
            false => Vec::new(),
        };
        let mut sums = LocalSums::zero(self.device());
        let last = parts.len().saturating_sub(1);
        for (index, rows) in parts.iter().enumerate() {
            let part = batch.narrow(rows)?;
            let context = self.training_context(&part, plan.step, true);
            let context = context.knowing(&known.counts.0, known.first_pass.as_ref());
            let objective = self.objective(&part, &context)?;
            if !encoded_first {
                let mut rows = Vec::new();
                PairRows::collect(&mut rows, &objective)?;
                pairs = self.pair_losses(rows, plan)?;
            }
            if index == last {
                self.reducer.arm();
            }
            let loss = self.weighted(&objective, &mut pairs, &mut sums, index == 0)?;
            self.backward(&loss)?;
            sums.add(objective, &pairs, index == 0)?;
        }
        Ok(LocalSums { pairs, counts: known.counts, ..sums })
    }

    /// What the method finds in the global batch before its objective; `None` where it asks for no such pass.
    fn first_pass(
        &self,
        batch: &LocalBatch,
        plan: &StepPlan,
        parts: &[Range<usize>],
        counts: &GlobalCounts,
    ) -> Result<Option<Statistics>, TrainError> {
        if !self.method.facts().first_pass {
            return Ok(None);
        }
        let mut found = Statistics::default();
        for rows in parts {
            let part = batch.narrow(rows)?;
            let context = self.training_context(&part, plan.step, false).knowing(&counts.0, None);
            let _reduced = self.settings.arithmetic.enter(self.device());
            found.add(tch::no_grad(|| self.method.first_pass(&part, &context))?)?;
        }
        found.sum_by(|flat| self.ranks.sum_f64(flat))?;
        Ok(Some(found))
    }

    /// The pair terms of the whole batch, from projections without graph.
    fn encode(
        &mut self,
        batch: &LocalBatch,
        plan: &StepPlan,
        parts: &[Range<usize>],
        known: &Known,
    ) -> Result<Vec<PairLosses>, TrainError> {
        let mut rows = Vec::new();
        for range in parts {
            let part = batch.narrow(range)?;
            let context = self.training_context(&part, plan.step, false);
            let context = context.knowing(&known.counts.0, known.first_pass.as_ref());
            let objective = tch::no_grad(|| self.objective(&part, &context))?;
            PairRows::collect(&mut rows, &objective)?;
        }
        self.pair_losses(rows, plan)
    }

    /// The scalar that backward starts from, of the terms that are not switched off: a gradient of zero would let decay and
    /// momentum move what only they train. Values go into `sums`, of pair terms with the first part.
    fn weighted(
        &self,
        objective: &Objective,
        pairs: &mut [PairLosses],
        sums: &mut LocalSums,
        is_first: bool,
    ) -> Result<Tensor, TrainError> {
        let weights = self.loss_weights();
        if weights.len() != objective.terms.len() {
            return Err(TrainError::internal("a method has more or fewer losses than it names"));
        }
        let mut pairs = pairs.iter_mut();
        let (mut direct, mut compared): (Option<Tensor>, Option<Tensor>) = (None, None);
        for (term, &weight) in objective.terms.iter().zip(weights) {
            match term {
                Term::Direct(term) => {
                    if weight != 0.0 {
                        plus(&mut direct, times(&term.scaled()?, weight));
                    }
                }
                Term::Pairs(term) => {
                    let Some(pairs) = pairs.next() else {
                        return Err(TrainError::internal(
                            "a method returned pairs that its facts do not state",
                        ));
                    };
                    let gradient = pairs.next_gradient(&term.projections);
                    if weight != 0.0 {
                        let product = &term.projections * times(&gradient, weight);
                        plus(&mut compared, product.f_sum(term.projections.kind())?);
                    }
                    if weight != 0.0 && is_first {
                        sums.loss += times(&pairs.loss, weight);
                    }
                }
            }
        }
        if let Some(direct) = &direct {
            sums.loss += direct.detach().to_kind(Kind::Double);
        }
        if let Some(compared) = compared {
            plus(&mut direct, compared);
        }
        direct.ok_or_else(|| TrainError::internal("every loss is switched off"))
    }

    /// `loss.backward()`, times the loss scale. Nothing happens where all that leads to `loss` is frozen.
    fn backward(&self, loss: &Tensor) -> Result<(), TrainError> {
        if !loss.requires_grad() {
            return Ok(());
        }
        let _stage = self.ranks.enter(Stage::Backward);
        match &self.loss_scale {
            Some(scale) => (loss * scale.scale()).f_backward()?,
            None => loss.f_backward()?,
        }
        Ok(())
    }

    /// Forward pass in the run's arithmetic.
    pub(in crate::engine) fn objective(
        &self,
        part: &LocalBatch,
        context: &StepContext<'_>,
    ) -> Result<Objective, TrainError> {
        let _reduced = self.settings.arithmetic.enter(self.device());
        Ok(self.method.objective(part, context)?)
    }
}

fn times(value: &Tensor, weight: f64) -> Tensor {
    if weight == 1.0 { value.shallow_clone() } else { value * weight }
}

fn plus(total: &mut Option<Tensor>, more: Tensor) {
    *total = Some(match total.take() {
        Some(total) => total + more,
        None => more,
    });
}
