//! Training objectives, one per file. A method builds its parts and turns a batch into a loss or into projections with
//! their positive groups; ranks, micro-batches, optimizers and logging belong to the engine.

mod batch;
mod byol;
mod context;
mod dino;
mod multihead;
mod objective;
mod pairs;
mod patches;
#[cfg(test)]
mod siamese;
mod simclr;
mod simsiam;
mod statistics;
mod supcon;
mod supervised;
mod target_head;
mod targets;
mod task;
mod views;
mod vqvae;
mod xil;

use dtrain_configs::schema::{Encoder, HeadSettings, MethodConfig, MethodFacts, ModelConfig};
use dtrain_data::GroupRequest;
use tch::{Kind, TchError, Tensor};

pub use crate::batch::ViewGroup;
pub use batch::LocalBatch;
pub use context::{AfterStep, FirstStep, GlobalRows, StepContext, StepFacts};
pub use objective::{DirectTerm, Mean, Objective, Over, PairTerm, Term};
pub use statistics::{DrawnSamples, Statistics};
pub use targets::{TargetColumns, Targets};
pub use task::{HeadTask, Task};

pub use crate::loss::contrastive::{PairKeys, Queue};
use crate::loss::heads::{head_loss, predicted_classes, predicted_values, probabilities};
use crate::model::classifier::Classifier;
use crate::model::parameters::Parameters;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;
use patches::Patches;

/// Scope of the backbone's parameters; what follows `backbone.` are torchvision's names.
pub const BACKBONE: &str = "backbone";

/// Scope of the one classifier of a supervised method; torchvision's networks call theirs `fc`.
pub const CLASSIFIER: &str = "classifier";

/// Name of the share of right answers, and the end of a head's.
const ACCURACY: &str = "acc";

/// What one head says of a batch of n samples.
#[derive(Debug)]
pub struct HeadReading {
    /// Sum of the loss over the samples that have the label, 0-dimensional.
    pub loss: Tensor,
    /// Predicted classes, `[n]`.
    pub classes: Tensor,
    /// Predicted values in the label's units, `[n]`.
    pub values: Tensor,
    /// Probability of each class, `[n, K]`; `None` where the head tells a value and no probabilities.
    pub probabilities: Option<Tensor>,
}

impl HeadReading {
    /// What `scores` say, where a head with `settings` is trained to tell `classes`.
    ///
    /// # Shapes
    /// As in [`head_loss`].
    pub fn of(settings: &HeadSettings, scores: &Tensor, classes: &Tensor, values: &Tensor) -> Self {
        Self {
            loss: head_loss(settings, scores, classes, values, 1),
            classes: predicted_classes(settings, scores, values),
            values: predicted_values(settings, scores, values),
            probabilities: probabilities(settings, scores),
        }
    }
}

/// A network whose answers can be explained: what it sees of a view, and the classifier of what it sees.
pub struct Explained<'a> {
    /// From views to embeddings.
    pub backbone: &'a dyn Backbone,
    /// From embeddings to scores.
    pub classifier: &'a Classifier,
}

impl Explained<'_> {
    /// Scores of embeddings `[n, num_features]`, `[n, K]`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn scores(&self, embeddings: &Tensor) -> Result<Tensor, TchError> {
        self.classifier.forward(embeddings)
    }
}

/// What a network that codes and decodes makes of n views.
#[derive(Debug)]
pub struct Reconstruction {
    /// Mean squared error of each view, `[n]`, f64.
    pub errors: Tensor,
    /// Mean squared distance of the latents of each view from their codes, `[n]`, f64.
    pub distances: Tensor,
    /// Codes of each view, `[n, L]`, patch by patch and row by row.
    pub codes: Tensor,
    /// The decoded views, `[n, C, H, W]`, without what belongs to no patch.
    pub views: Tensor,
}

/// A training objective with its network.
pub trait Method: Send {
    /// What it has learned besides registered parameters and buffers, which are saved with the model. Without a default:
    /// whoever writes a method says that there is nothing.
    fn own_state(&mut self) -> Option<&mut dyn Stateful>;

    /// What its settings state about it.
    fn facts(&self) -> MethodFacts;

    /// Views of each sample in a training batch, over all groups.
    fn num_views(&self) -> u32 {
        self.facts().views.total()
    }

    /// What is asked of the loader for a training batch: the groups of views, and behind them the masks where it is given them.
    fn view_groups(&self) -> Vec<GroupRequest> {
        let MethodFacts { views, masks, .. } = self.facts();
        let groups = views.groups().iter().enumerate();
        let groups = groups.map(|(spec, &num_views)| GroupRequest { num_views, spec });
        groups.chain(masks.then(GroupRequest::masks)).collect()
    }

    /// Names of the losses that add up to the objective. A phase may change their weights or switch some of them off; a
    /// term that is switched off takes no part in backward, so that what only it trains stays as it is.
    fn loss_names(&self) -> Vec<String>;

    /// Factor on each of [`Method::loss_names`], besides that of the phase.
    fn loss_weights(&self) -> Vec<f64> {
        vec![1.0; self.loss_names().len()]
    }

    /// Names of all [`Objective::means`]: a monitor may ask for any of them, and for no other.
    fn mean_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// What its runs are judged by, the most telling metric first: the first of them that a run measures names the best
    /// checkpoint, unless the settings name another. Without a default: whoever writes a method says it.
    fn monitors(&self) -> &'static [&'static str];

    /// How many of a part's samples belong to each group that the method takes a mean over; the same groups in the same order
    /// for every part. Before the forward pass the engine sums them over the global batch ([`StepContext::counts`]).
    fn count(&self, _targets: &Targets) -> Vec<u64> {
        Vec::new()
    }

    /// Rows of earlier steps that those of its pair terms are compared with.
    fn queue(&self) -> Option<&Queue> {
        None
    }

    /// A buffer `[]` of integers that is 0 until [`Method::before_first_step`] has run; the method registers it, so that
    /// checkpoints hold it, and the engine sets it. `None`: there is nothing to do before the first step.
    fn started(&self) -> Option<&Tensor> {
        None
    }

    /// Once in a run, before its first step, on every rank and without graph: what is found from the first batch, such as
    /// the first entries of a codebook. `parts` are this rank's micro-batches of it, in their order.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    fn before_first_step(&mut self, _parts: &[LocalBatch], _start: &FirstStep<'_>) -> Result<(), TchError> {
        Ok(())
    }

    /// A first pass over the part without graph, for what the objective has to know of the whole batch, where the facts state
    /// one: its statistics are summed over the global batch before [`Method::objective`] is asked
    /// ([`StepContext::first_pass`]). Running statistics of layers stay as they are.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    fn first_pass(&self, _part: &LocalBatch, _context: &StepContext<'_>) -> Result<Statistics, TchError> {
        Ok(Statistics::default())
    }

    /// The losses of a part of the batch, and what is measured beside them. The part may have no sample: losses are 0 then,
    /// and layers that meet other ranks run all the same.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError>;

    /// After the update, on every rank alike and without graph: moves what no gradient moves, such as a queue, a centre or a
    /// codebook. Not called for a step that is known not to count; where that is not known yet, [`AfterStep::skip`] knows it.
    ///
    /// # Errors
    /// When memory runs out.
    fn after_step(&mut self, _after: &AfterStep<'_>) -> Result<(), TchError> {
        Ok(())
    }

    /// Finishes what [`Method::after_step`] has left open until the host knows whether the step counts. It knows now.
    ///
    /// # Errors
    /// When a GPU fails.
    fn settle(&mut self) -> Result<(), TchError> {
        Ok(())
    }

    /// Width of an embedding.
    fn num_features(&self) -> i64;

    /// Embeddings `[n, num_features]` of `inputs` `[n, C, H, W]`, as probes see them. A method without a teacher is asked
    /// for those of the trained network only.
    fn embed(&self, inputs: &Tensor, encoder: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError>;

    /// The labels that the method predicts, each by a classifier of its own.
    fn heads(&self) -> &[HeadTask] {
        &[]
    }

    /// Whether what the heads say has all losses; otherwise an evaluation computes the objective besides.
    fn heads_say_losses(&self) -> bool {
        !self.heads().is_empty()
    }

    /// Names of the losses that only augmented views measure, such as one that asks which augmentation was drawn: evaluations,
    /// whose views have none, take them from views as training has them.
    fn measured_augmented(&self) -> Vec<String> {
        Vec::new()
    }

    /// The network and the classifier whose answers an evaluation explains; `None` where there is no one classifier.
    fn explained(&self) -> Option<Explained<'_>> {
        None
    }

    /// Codes that there are, of a method that codes views.
    fn num_codes(&self) -> Option<i64> {
        None
    }

    /// `inputs` `[n, C, H, W]` coded and decoded, in evaluation mode; `None` for a method that does no such thing.
    ///
    /// # Errors
    /// When memory runs out.
    fn reconstruct(&self, _inputs: &Tensor) -> Result<Option<Reconstruction>, TchError> {
        Ok(None)
    }

    /// What the heads say of `embeddings` `[n, num_features]`, one after the other.
    fn read_heads(&self, _embeddings: &Tensor, _targets: &Targets) -> Result<Vec<HeadReading>, TchError> {
        Ok(Vec::new())
    }
}

/// What a method builds itself from.
struct Parts<'a> {
    /// What its settings state.
    facts: MethodFacts,
    /// Settings of the network.
    model: &'a ModelConfig,
    /// The network, registered under [`BACKBONE`].
    backbone: Box<dyn Backbone>,
    /// What the data ask for.
    task: &'a Task,
    /// Where it registers what it adds.
    parameters: &'a mut Parameters,
}

impl Parts<'_> {
    /// A teacher of the backbone and of what `build` registers with it.
    fn teacher<T>(&mut self, build: impl FnOnce(&mut Parameters) -> T) -> (Box<dyn Backbone>, T) {
        let (model, input) = (self.model, self.task.input);
        self.parameters.teacher(|parameters| {
            let backbone =
                parameters.scope(BACKBONE, |scope| crate::model::build_backbone(model, input, scope));
            (backbone, build(parameters))
        })
    }
}

/// Builds the method and its network, and registers every parameter.
pub fn build(
    method: &MethodConfig,
    model: &ModelConfig,
    task: &Task,
    parameters: &mut Parameters,
) -> Box<dyn Method> {
    let facts = method.facts();
    let seen = Patches::of(facts.patches).shape(task.input);
    let backbone = parameters.scope(BACKBONE, |scope| crate::model::build_backbone(model, seen, scope));
    let parts = Parts { facts, model, backbone, task, parameters };
    match method {
        MethodConfig::Simclr(config) => Box::new(simclr::Simclr::build(config, parts)),
        MethodConfig::Supcon(config) => Box::new(supcon::Supcon::build(config, parts)),
        MethodConfig::Byol(config) => Box::new(byol::Byol::build(config, parts)),
        MethodConfig::Simsiam(config) => Box::new(simsiam::Simsiam::build(config, parts)),
        MethodConfig::Dino(config) => Box::new(dino::Dino::build(config, parts)),
        MethodConfig::Supervised(config) => Box::new(supervised::Supervised::build(config, parts)),
        MethodConfig::Multihead(config) => Box::new(multihead::Multihead::build(config, parts)),
        MethodConfig::Vqvae(config) => Box::new(vqvae::Vqvae::build(config, parts)),
        MethodConfig::Xil(config) => Box::new(xil::Xil::build(config, parts)),
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
