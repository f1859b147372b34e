//! Training objectives, one per file. A method builds its parts and turns a batch into a loss or into projections with
//! their positive groups; ranks, micro-batches, optimizers and logging belong to the engine.

mod multihead;
mod pairs;
mod simclr;
mod supcon;
mod supervised;
mod task;

use std::ops::Range;

use dtrain_configs::schema::{MethodConfig, ModelConfig};
use tch::{Kind, TchError, Tensor};

pub use pairs::PairBatch;
pub use task::{HeadTask, Task};

pub use crate::loss::contrastive::{PairKeys, PairLoss, Queue};
use crate::model::Pass;
use crate::model::parameters::Parameters;
use crate::state::Stateful;

/// Scope of the backbone's parameters; what follows `backbone.` are torchvision's names.
pub const BACKBONE: &str = "backbone";

/// How a method wants its global batches drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Each sample once per epoch.
    Shuffled,
    /// Each sample that has the target label once per epoch.
    ShuffledLabelled,
    /// Each sample once per epoch, no two of one recording in a batch.
    DistinctRecordings,
    /// P classes x K samples.
    Balanced {
        /// K; `None`: as many as give each class in the batch the same share.
        samples_per_class: Option<usize>,
    },
}

/// What a method may know about the rows of a batch. Rows are view-major: row `v * n + i` is view `v` of sample `i`.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// Number of each sample in the data set.
    pub sample_ids: Vec<i64>,
    /// Target class of each sample; -1 without a label.
    pub classes: Vec<i64>,
    /// Class of each sample for each label of the data, `[label][sample]`; -1 without. Empty where the method has no use
    /// for them.
    pub labels: Vec<Vec<i64>>,
    /// Recording that each sample was cut from; -1 if unknown.
    pub recordings: Vec<i64>,
    /// Position of each sample in the global batch.
    pub positions: Vec<i64>,
    /// Samples of the global batch.
    pub global_samples: u64,
}

impl Targets {
    /// The samples `range` of a batch that stays the same.
    pub fn narrow(&self, range: &Range<usize>) -> Self {
        let part = |values: &[i64]| values.get(range.clone()).unwrap_or_default().to_vec();
        Self {
            sample_ids: part(&self.sample_ids),
            classes: part(&self.classes),
            labels: self.labels.iter().map(|classes| part(classes)).collect(),
            recordings: part(&self.recordings),
            positions: part(&self.positions),
            global_samples: self.global_samples,
        }
    }
}

/// What a forward pass leads to.
#[derive(Debug)]
pub enum Objective {
    /// This rank's share of the global loss: the sum over ranks is the loss, and the sum of its gradients the gradient.
    Direct(DirectLoss),
    /// Projections whose loss the engine computes over all ranks.
    Pairs(PairBatch),
}

/// A loss that needs no other rank.
#[derive(Debug)]
pub struct DirectLoss {
    /// One scalar with graph for each of [`Method::loss_names`], in that order. The engine weighs and adds them.
    pub terms: Vec<Tensor>,
    /// Named sums over this rank's samples, 0-dimensional and on the device; the engine divides by the global count.
    pub sums: Vec<(String, Tensor)>,
}

impl DirectLoss {
    /// All terms at their own weight.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn sum(&self) -> Result<Tensor, TchError> {
        Tensor::f_stack(&self.terms, 0)?.f_sum(None::<Kind>)
    }
}

/// What one head says of a batch.
#[derive(Debug)]
pub struct HeadReading {
    /// Sum of the loss over the samples, 0-dimensional.
    pub loss: Tensor,
    /// Predicted classes, `[n]`.
    pub classes: Tensor,
    /// Predicted values in the label's units, `[n]`.
    pub values: Tensor,
}

/// A training objective with its network.
pub trait Method: Send {
    /// What it has learned besides registered parameters and buffers, which are saved with the model. Without a default:
    /// whoever writes a method says that there is nothing.
    fn own_state(&mut self) -> Option<&mut dyn Stateful>;

    /// Views of each sample in a training batch.
    fn num_views(&self) -> u32;

    /// How batches are drawn.
    fn sampling(&self) -> Sampling;

    /// Names of the losses that add up to the objective. A phase may change their weights or switch some of them off; a
    /// term that is switched off takes no part in backward, so that what only it trains stays as it is.
    fn loss_names(&self) -> Vec<String>;

    /// Factor on each of [`Method::loss_names`], besides that of the phase.
    fn loss_weights(&self) -> Vec<f64> {
        vec![1.0; self.loss_names().len()]
    }

    /// The pair loss of the method, when it has one.
    fn pair_loss(&self) -> Option<PairLoss> {
        None
    }

    /// The memory queue of the pair loss, when it has one.
    fn queue(&self) -> Option<&Queue> {
        None
    }

    /// Takes the projections of a global batch, `[N, D]` of all ranks in rank order, into the memory queue. For steps that
    /// moved the weights, after them.
    fn enqueue(&mut self, _projections: &Tensor, _keys: &PairKeys) {}

    /// Forward pass of `inputs` `[num_views * n, C, H, W]`.
    fn objective(&self, inputs: &Tensor, targets: &Targets, pass: &Pass) -> Result<Objective, TchError>;

    /// Embeddings `[n, num_features]` of `inputs` `[n, C, H, W]`, as probes see them.
    fn embed(&self, inputs: &Tensor, pass: &Pass) -> Result<Tensor, TchError>;

    /// Class scores `[n, num_classes]` of embeddings, when the method trains a classifier.
    fn classify(&self, _embeddings: &Tensor) -> Result<Option<Tensor>, TchError> {
        Ok(None)
    }

    /// The labels that the method predicts by heads of their own.
    fn heads(&self) -> &[HeadTask] {
        &[]
    }

    /// What the heads say of `inputs` `[n, C, H, W]`, one after the other.
    fn read_heads(
        &self,
        _inputs: &Tensor,
        _targets: &Targets,
        _pass: &Pass,
    ) -> Result<Vec<HeadReading>, TchError> {
        Ok(Vec::new())
    }
}

/// Builds the method and its network, and registers every parameter.
pub fn build(
    method: &MethodConfig,
    model: &ModelConfig,
    task: &Task,
    parameters: &mut Parameters,
) -> Box<dyn Method> {
    let backbone =
        parameters.scope(BACKBONE, |scope| crate::model::build_backbone(model, task.in_channels, scope));
    match method {
        MethodConfig::Simclr(config) => Box::new(simclr::Simclr::build(config, backbone, parameters)),
        MethodConfig::Supcon(config) => Box::new(supcon::Supcon::build(config, backbone, parameters)),
        MethodConfig::Multihead(config) => {
            Box::new(multihead::Multihead::build(config, backbone, task, parameters))
        }
        MethodConfig::Supervised(config) => {
            Box::new(supervised::Supervised::build(config, backbone, task.num_classes, parameters))
        }
    }
}

/// Unit rows: z / max(|z|, eps), as `torch.nn.functional.normalize`, in fp32 at least.
fn normalize(z: &Tensor) -> Tensor {
    let z = match z.kind() {
        Kind::Half | Kind::BFloat16 => z.to_kind(Kind::Float),
        _ => z.shallow_clone(),
    };
    let norm = z.norm_scalaropt_dim(2, [1], true).clamp_min(1e-12);
    z / norm
}
