//! Bare training steps without directives, evaluation or files: what is measured and compared.

use std::time::Instant;

use dtrain_comm::CollectiveExt;

use super::prepare::Prepared;
use super::session::{local_batch, start_loader};
use crate::coordinator::StepPlan;
use crate::data::Loader;
use crate::engine::StepOutcome;
use crate::error::TrainError;

/// Runs the steps of a prepared training run one by one.
pub struct StepRunner {
    prepared: Prepared,
    loader: Loader,
}

impl StepRunner {
    /// Starts the loader at step 0.
    pub fn new(prepared: Prepared) -> Result<Self, TrainError> {
        let loader = start_loader(&prepared, 0, &[])?;
        Ok(Self { prepared, loader })
    }

    /// The next step, its plan, and the seconds spent waiting for its batch.
    pub fn step(
        &mut self,
        step: u64,
        steps_per_epoch: u64,
    ) -> Result<(StepOutcome, StepPlan, f64), TrainError> {
        let waiting = Instant::now();
        let batch =
            self.loader.next().transpose()?.ok_or_else(|| TrainError::internal("the loader ended early"))?;
        let waited = waiting.elapsed().as_secs_f64();
        let ranks = self.prepared.engine.collective();
        let counts: Vec<u32> =
            ranks.all_gather_usize(batch.kept.len())?.into_iter().map(|n| n as u32).collect();
        let global_samples = counts.iter().map(|&n| u64::from(n)).sum();
        let plan = StepPlan { step, epoch: step / steps_per_epoch.max(1), counts, global_samples };
        let local = local_batch(&self.prepared, &batch, &plan);
        let outcome = self.prepared.engine.step(&local, &plan)?;
        self.loader.recycle(batch.data);
        Ok((outcome, plan, waited))
    }
}
