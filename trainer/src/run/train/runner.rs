//! Bare training steps without directives, evaluation or files: what is measured and compared.

use std::time::Instant;

use dtrain_comm::CollectiveExt;

use super::collate::{local_batch, start_loader};
use crate::batch::{Loader, upload};
use crate::coordinator::StepPlan;
use crate::engine::StepOutcome;
use crate::error::TrainError;
use crate::run::prepare::{Prepared, explain};

/// Runs the steps of a prepared training run one by one.
pub struct StepRunner {
    prepared: Prepared,
    loader: Loader,
}

/// A step that was started.
#[derive(Debug)]
pub struct Stepped {
    /// What it was told.
    pub plan: StepPlan,
    /// Seconds of waiting for its batch.
    pub data_secs: f64,
    /// Seconds of waiting for the other ranks before it.
    pub wait_secs: f64,
    /// The outcome that became known: of this step, or on a GPU of the one before.
    pub known: Option<StepOutcome>,
}

impl StepRunner {
    /// Starts the loader at step 0.
    pub fn new(prepared: Prepared) -> Result<Self, TrainError> {
        let loader = start_loader(&prepared, 0, &[])?;
        Ok(Self { prepared, loader })
    }

    /// What is being run.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// Runs the next step.
    pub fn step(&mut self, step: u64) -> Result<Stepped, TrainError> {
        let waiting = Instant::now();
        let batch =
            self.loader.next().transpose()?.ok_or_else(|| TrainError::internal("the loader ended early"))?;
        let inputs = upload(&batch, self.prepared.engine.device())?;
        let data_secs = waiting.elapsed().as_secs_f64();
        let waiting = Instant::now();
        let ranks = self.prepared.engine.collective();
        let counts: Vec<u32> =
            ranks.all_gather_usize(batch.kept.len())?.into_iter().map(|n| n as u32).collect();
        let wait_secs = waiting.elapsed().as_secs_f64();
        let global_samples = counts.iter().map(|&n| u64::from(n)).sum();
        let run = &self.prepared.plan;
        let (epoch, phase) = (run.epoch_of(step), run.course.index_of(step));
        let plan = StepPlan { step, epoch, phase, counts, global_samples };
        let local = local_batch(&self.prepared, &batch, inputs, &plan)?;
        let stepped = self.prepared.engine.step(&local, &plan);
        drop(local);
        let known = stepped.map_err(|error| explain(&self.prepared, error))?;
        Ok(Stepped { plan, data_secs, wait_secs, known })
    }

    /// Waits for the last step.
    pub fn flush(&mut self) -> Result<Option<StepOutcome>, TrainError> {
        self.prepared.engine.flush()
    }
}
