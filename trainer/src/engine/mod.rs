//! The engine: flat parameters and gradients, the optimizer, the step. It knows nothing of methods beyond [`Method`], and
//! nothing of recordings beyond tensors.

mod buffers;
pub mod clip;
#[cfg(test)]
mod equivalence;
pub mod flat;
mod gather;
mod groups;
pub mod optimizer;
mod phases;
mod precision;
mod ranks;
mod reducer;
mod replica;
mod schedule;
mod shard;
mod state;
mod stateful;
mod statistics;
mod step;
mod teacher;
mod validation;

use std::ops::Range;
use std::sync::Arc;

use dtrain_comm::Collective;
use dtrain_configs::schema::{Encoder, OptimizerConfig, ScheduleConfig, ScheduledSetting};
use tch::{Device, Kind, Tensor};

pub use clip::Clip;
pub use gather::{gather_i64, gather_rows};
pub use groups::group_of;
pub use phases::loss_weights;
pub use precision::Arithmetic;
pub use ranks::Ranks;
pub use schedule::phase_position;
pub use statistics::KeptStatistics;
pub use step::StepOutcome;
pub use validation::{LossSums, Validation};

use crate::coordinator::Course;
use crate::error::TrainError;
use crate::method::{HeadReading, Method, Reconstruction, Targets};
use crate::model::ForwardContext;
use crate::model::parameters::Parameters;
use crate::torch_extra::{LossScale, SyncStatistics, keep_large_blocks};
use buffers::Buffers;
use flat::Flat;
use optimizer::Optimizer;
use reducer::{Reducer, Reduction};
use shard::Shard;
use step::InFlight;
use teacher::Teacher;

/// Settings of a step, all resolved.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// Samples of the global batch that the learning rate is scaled by.
    pub global_batch: usize,
    /// Samples per forward pass and rank; `None` takes the whole share.
    pub micro_batch: Option<usize>,
    /// Rows of a tile of a pair loss; `None` = the loss's own default.
    pub tile: Option<usize>,
    /// Which network evaluations embed with.
    pub encoder: Encoder,
    /// Types of forward and backward.
    pub arithmetic: Arithmetic,
    /// GPUs may round the factors of fp32 products to TF32; the pair loss never does.
    pub tf32: bool,
    /// Largest gradient norm.
    pub grad_clip: Option<Clip>,
    /// Batch norm over all ranks.
    pub sync_bn: bool,
    /// Bytes of a gradient bucket.
    pub bucket_bytes: usize,
    /// Bytes of the first one.
    pub first_bucket_bytes: usize,
    /// Sum buckets while backward goes on.
    pub overlap: bool,
    /// Each rank keeps its part of the optimizer's state.
    pub shard_optimizer: bool,
    /// Learn about a step's loss while the next one is computed, so that a GPU never waits for the host.
    pub deferred: bool,
    /// Learning rate at the reference batch.
    pub schedule: ScheduleConfig,
    /// Which optimizer.
    pub optimizer: OptimizerConfig,
    /// What the method changes over the run.
    pub scheduled: Vec<ScheduledSetting>,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// What schedule and phases are computed for.
    pub course: Course,
}

/// What a pass without training makes of n samples.
pub struct Read {
    /// `[n, num_features]`, in the type of the weights.
    pub embeddings: Tensor,
    /// What each head says.
    pub heads: Vec<HeadReading>,
}

/// Everything that a step moves.
pub struct Engine {
    method: Box<dyn Method>,
    parameters: Parameters,
    flat: Flat,
    buffers: Buffers,
    /// A second network that follows the trained one, if the method has one.
    teacher: Option<Teacher>,
    optimizer: Box<dyn Optimizer>,
    /// Of each parameter, the place of its rates among those of a step.
    rate_places: Vec<usize>,
    shard: Shard,
    reducer: Reducer,
    ranks: Ranks,
    /// Sums over ranks; `None` where there is one.
    sum: Option<SyncStatistics>,
    /// The same for batch norm, if it is synchronized.
    sync: Option<SyncStatistics>,
    loss_scale: Option<LossScale>,
    /// The phase of the last step.
    phase: Option<phases::Current>,
    /// The last step that was taken, or that the weights were saved after.
    last_step: u64,
    /// Version of [`Method::started`] when it was last looked at.
    started_version: Option<i64>,
    /// The step whose outcome is not known yet.
    in_flight: Option<InFlight>,
    settings: EngineSettings,
}

impl Engine {
    /// Lays the parameters out flat and prepares the optimizer.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(
        method: Box<dyn Method>,
        parameters: Parameters,
        ranks: Ranks,
        settings: EngineSettings,
    ) -> Result<Self, TrainError> {
        keep_large_blocks();
        let flat = Flat::new(&parameters)?;
        let buffers = Buffers::new(&parameters)?;
        let teacher = Teacher::new(&parameters, &flat)?;
        let buckets = flat.buckets(settings.bucket_bytes, settings.first_bucket_bytes);
        let scatter = settings.shard_optimizer && !ranks.is_alone();
        let shard = if scatter {
            Shard::of_rank(&buckets, ranks.world().rank, ranks.world().world_size)
        } else {
            Shard::whole(flat.num_elements())
        };
        let optimizer = optimizer::build(&settings.optimizer, &flat, &shard)?;
        let rate_places = groups::places(settings.optimizer.groups(), &flat);
        let reduction =
            Reduction { overlap: settings.overlap && ranks.reaches(parameters.device()), scatter };
        let reducer = Reducer::new(&parameters, &flat, buckets, reduction, ranks.clone())?;
        let sum = (!ranks.is_alone()).then(|| sync_handle(ranks.clone()));
        let sync = sum.clone().filter(|_| settings.sync_bn);
        let loss_scale = settings.arithmetic.loss_scale();
        Ok(Self {
            method,
            parameters,
            flat,
            buffers,
            teacher,
            optimizer,
            rate_places,
            shard,
            reducer,
            ranks,
            sum,
            sync,
            loss_scale,
            phase: None,
            last_step: 0,
            started_version: None,
            in_flight: None,
            settings,
        })
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

    /// The settings of a step.
    pub fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    /// The ways between ranks.
    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// Host messages between ranks.
    pub fn collective(&self) -> &Arc<dyn Collective> {
        self.ranks.control()
    }

    /// Bytes and number of parameters of each piece in which gradients are summed, in their order.
    pub fn bucket_shapes(&self) -> Vec<(u64, usize)> {
        let element_bytes = self.kind().elt_size_in_bytes() as u64;
        let inside = |bucket: &Range<usize>| {
            self.flat.segments().iter().filter(|segment| bucket.contains(&segment.offset)).count()
        };
        let buckets = self.reducer.buckets().iter();
        buckets.map(|bucket| (bucket.len() as u64 * element_bytes, inside(bucket))).collect()
    }

    /// Where tensors live.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// Type of parameters and inputs.
    pub fn kind(&self) -> Kind {
        self.parameters.kind()
    }

    /// Largest learning rate of the run.
    pub fn peak_lr(&self) -> f64 {
        let s = &self.settings;
        s.schedule.peak_lr(s.optimizer.lr(), s.global_batch)
    }

    /// Makes the method's teacher, if it has one, a copy of the trained network, as at the start of a run.
    ///
    /// # Errors
    /// When a GPU fails.
    pub fn copy_to_teacher(&self) -> Result<(), TrainError> {
        self.teacher.as_ref().map_or(Ok(()), |teacher| teacher.copy(&self.parameters, &self.flat))
    }

    /// What the network makes of `inputs` `[n, C, H, W]`, with running statistics and without graph; `ask_heads`: the
    /// method's heads too, about `targets`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn read(&self, inputs: &Tensor, targets: &Targets, ask_heads: bool) -> Result<Read, TrainError> {
        let _reduced = self.settings.arithmetic.enter(self.device());
        tch::no_grad(|| {
            let embeddings = self.method.embed(inputs, self.settings.encoder, &ForwardContext::eval())?;
            let heads = if ask_heads { self.method.read_heads(&embeddings, targets)? } else { Vec::new() };
            Ok(Read { embeddings: embeddings.f_to_kind(self.kind())?, heads })
        })
    }
}

impl Engine {
    /// `inputs` `[n, C, H, W]` coded and decoded, where the method does that.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn reconstruct(&self, inputs: &Tensor) -> Result<Option<Reconstruction>, TrainError> {
        let _reduced = self.settings.arithmetic.enter(self.device());
        Ok(tch::no_grad(|| self.method.reconstruct(inputs))?)
    }
}

/// Sums batch-norm statistics over all ranks, on the device where the transport reaches it.
fn sync_handle(ranks: Ranks) -> SyncStatistics {
    let sum = move |ranks: &Ranks, sums: &mut Tensor| -> Result<(), TrainError> {
        if ranks.reaches(sums.device()) {
            return ranks.sum_f64(sums);
        }
        let mut host = sums.f_to_device(Device::Cpu)?;
        ranks.sum_f64(&mut host)?;
        Ok(sums.f_copy_(&host)?)
    };
    SyncStatistics::on_device(move |sums| sum(&ranks, sums).map_err(|error| ranks.keep_failure(error)))
}
