//! The engine: flat parameters and gradients, the optimizer, the step and the loop. It knows nothing of methods beyond
//! [`Method`], and nothing of recordings beyond tensors.

pub mod clip;
#[cfg(test)]
mod equivalence;
pub mod flat;
mod gather;
pub mod optimizer;
pub mod schedule;
mod step;
mod touched;

use std::ops::Range;
use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::schema::{OptimizerConfig, ScheduleConfig};
use tch::{Device, Kind, Tensor};

pub use gather::{gather_i64, gather_rows};
pub use step::{LocalBatch, StepOutcome};

use crate::coordinator::StepPlan;
use crate::error::TrainError;
use crate::method::Method;
use crate::model::Pass;
use crate::model::parameters::Parameters;
use crate::torch_extra::{SyncStatistics, keep_large_blocks};
use flat::Flat;
use optimizer::Optimizer;
use touched::Touched;

/// Bytes of a gradient bucket, and of the first one, which is small so that little is left to send when backward ends
/// (PyTorch DDP's defaults).
const BUCKET_BYTES: usize = 25 << 20;
const FIRST_BUCKET_BYTES: usize = 1 << 20;

/// Settings of a step, all resolved.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Samples of the global batch that the learning rate is scaled by.
    pub global_batch: usize,
    /// Samples per forward pass and rank; `None` takes the whole share.
    pub micro_batch: Option<usize>,
    /// Largest gradient norm.
    pub grad_clip: Option<f64>,
    /// Batch norm over all ranks.
    pub sync_bn: bool,
    /// Learning rate at the reference batch.
    pub schedule: ScheduleConfig,
    /// Which optimizer.
    pub optimizer: OptimizerConfig,
    /// Steps of the run.
    pub total_steps: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
}

/// Everything that a step moves.
pub struct Engine {
    method: Box<dyn Method>,
    parameters: Parameters,
    flat: Flat,
    optimizer: Box<dyn Optimizer>,
    touched: Touched,
    buckets: Vec<Range<usize>>,
    collective: Arc<dyn Collective>,
    sync: Option<SyncStatistics>,
    settings: EngineSettings,
}

impl Engine {
    /// Lays the parameters out flat and prepares the optimizer.
    ///
    /// # Errors
    /// When the ranks did not start from the same weights.
    pub fn new(
        method: Box<dyn Method>,
        parameters: Parameters,
        collective: Arc<dyn Collective>,
        settings: EngineSettings,
    ) -> Result<Self, TrainError> {
        keep_large_blocks();
        let flat = Flat::new(&parameters)?;
        let optimizer = optimizer::build(&settings.optimizer, &flat);
        let touched = Touched::watch(&parameters)?;
        let buckets = flat.buckets(BUCKET_BYTES, FIRST_BUCKET_BYTES);
        let sync = (settings.sync_bn && collective.world().world_size > 1)
            .then(|| sync_handle(Arc::clone(&collective)));
        Ok(Self { method, parameters, flat, optimizer, touched, buckets, collective, sync, settings })
    }

    /// The objective and its network.
    pub fn method(&self) -> &dyn Method {
        &*self.method
    }

    /// Named parameters and buffers.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Flat parameters and gradients.
    pub fn flat(&self) -> &Flat {
        &self.flat
    }

    /// The optimizer's state.
    pub fn optimizer(&self) -> &dyn Optimizer {
        &*self.optimizer
    }

    /// Restores what the optimizer's `tensors` and `steps` gave.
    pub fn restore_optimizer(&mut self, tensors: &[Tensor], steps: &[u64]) -> Result<(), TrainError> {
        self.optimizer.restore(&self.flat, tensors, steps)
    }

    /// The ranks.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        &self.collective
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// Type of parameters and inputs.
    pub fn kind(&self) -> Kind {
        self.parameters.kind()
    }

    /// Hash of all weights; equal on ranks that hold the same ones.
    pub fn fingerprint(&self) -> Result<u64, TrainError> {
        let weights = self.flat.parameters().f_to_device(Device::Cpu)?;
        Ok(xxhash_rust::xxh3::xxh3_64(gather::bytes_of(&weights)))
    }

    /// Largest learning rate of the run.
    pub fn peak_lr(&self) -> f64 {
        let s = &self.settings;
        schedule::peak_lr(&s.schedule, s.optimizer.lr(), s.global_batch)
    }

    /// Learning rate of a step.
    pub fn lr_at(&self, step: u64) -> f64 {
        let s = &self.settings;
        schedule::lr_at(step, s.total_steps, s.steps_per_epoch, &s.schedule, s.optimizer.lr(), s.global_batch)
    }

    /// Embeddings `[n, num_features]` with running statistics and without graph.
    pub fn embed(&self, inputs: &Tensor) -> Result<Tensor, TrainError> {
        Ok(tch::no_grad(|| self.method.embed(inputs, &Pass::eval()))?)
    }

    /// How batch norm behaves in training; `update_statistics` is false in the first of two passes.
    fn training_pass(&self, update_statistics: bool) -> Pass {
        let pass = Pass::train(self.sync.clone());
        if update_statistics { pass } else { pass.without_update() }
    }

    /// This rank's micro-batches as ranges over its samples. All ranks have the same number, empty ones included,
    /// because synchronized layers hold collectives.
    fn micro_batches(&self, plan: &StepPlan) -> Vec<Range<usize>> {
        let own = plan.counts.get(self.collective.world().rank).map_or(0, |&n| n as usize);
        let largest = plan.counts.iter().max().map_or(0, |&n| n as usize);
        let micro = self.settings.micro_batch.unwrap_or(largest).max(1);
        let rounds = largest.div_ceil(micro).max(1);
        (0..rounds).map(|i| (i * micro).min(own)..((i + 1) * micro).min(own)).collect()
    }
}

/// Sums batch-norm statistics over all ranks.
fn sync_handle(collective: Arc<dyn Collective>) -> SyncStatistics {
    SyncStatistics::new(move |values: &mut [f64]| collective.sum_f64(values).map_err(|e| e.to_string()))
}
