//! Batch-norm statistics in the place of the running ones, for evaluations.

use super::Engine;
use super::buffers::Snapshot;
use crate::error::TrainError;
use crate::method::{LocalBatch, StepContext};
use crate::model::ForwardContext;
use crate::model::statistics::NormStatistics;

/// Running statistics and counters at some time.
#[derive(Debug)]
pub struct KeptStatistics(Snapshot);

impl Engine {
    /// The statistics of every batch norm; they share the layers' memory.
    pub fn norm_statistics(&self) -> Vec<NormStatistics> {
        self.parameters.norm_statistics()
    }

    /// Remembers running statistics and counters.
    pub fn keep_statistics(&self) -> KeptStatistics {
        KeptStatistics(self.buffers.snapshot())
    }

    /// Puts back what was remembered.
    pub fn put_back_statistics(&self, kept: &KeptStatistics) {
        self.buffers.restore(&kept.0);
    }

    /// Sends a global batch, of which `batch` is this rank's share, through everything that is trained, as in training but
    /// without dropout. Afterwards the statistics of every batch norm that training lets learn are those of this batch over
    /// all ranks, whatever `trainer.sync_bn` says, and its counter has moved. Every rank takes part, if with no sample.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn take_statistics(&self, batch: &LocalBatch) -> Result<(), TrainError> {
        let pass = ForwardContext::taking_statistics(self.sum.clone());
        let context = StepContext::new(self.standing(self.last_step), batch, &pass, self.sum.clone());
        let counts = vec![1; self.method.count(&batch.targets).len()];
        let context = context.without_noise().knowing(&counts, None);
        let taken = tch::no_grad(|| self.objective(batch, &context));
        taken.map(drop).map_err(|error| self.ranks.cause_of(error))
    }

    /// Freezes what is frozen in the step before `step`, for weights that were saved there; what a method changes over the run is as
    /// in that step.
    ///
    /// # Errors
    /// When there is no such phase.
    pub fn freeze_as_before(&mut self, step: u64) -> Result<(), TrainError> {
        self.last_step = step.saturating_sub(1);
        self.enter_phase(self.settings.course.index_of(self.last_step), self.last_step)
    }
}
