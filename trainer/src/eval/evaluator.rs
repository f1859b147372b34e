//! A piece of an evaluation: what it asks of the network and what it makes of the answers. One orchestration
//! ([`super::Examiner`]) reads each part once for all of them; who adds one writes its file and a line in [`super::evaluators`].

use dtrain_configs::schema::EvalConfig;
use dtrain_data::{Dataset, LabelColumn};
use tch::Tensor;

use super::{Embeddings, Evaluation, Reading, Thoroughness};
use crate::batch::Batch;
use crate::engine::{Engine, Read};
use crate::error::TrainError;
use crate::method::{Method, Reconstruction, TargetColumns, Targets};

/// What is evaluated, as far as it is known before any sample is read.
pub struct Subject<'a> {
    /// The objective and its network.
    pub method: &'a dyn Method,
    /// The samples.
    pub dataset: &'a Dataset,
    /// Labels that probes ask for, the target first.
    pub labels: Vec<&'a LabelColumn>,
    /// Settings.
    pub config: &'a EvalConfig,
    /// How the objective is computed.
    pub losses: LossBatches<'a>,
}

/// How validation batches are made.
#[derive(Debug, Clone, Copy)]
pub struct LossBatches<'a> {
    /// Samples of a global batch; as in training, since a contrastive loss depends on the number of negatives.
    pub batch_size: usize,
    /// Of the run.
    pub seed: u64,
    /// Labels that the method looks at.
    pub columns: TargetColumns<'a>,
}

/// What a part is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The training part: probes learn from it.
    Train,
    /// The part that the evaluation is about.
    Examined,
}

/// What is asked of the network for every sample of a part, in evaluation mode and without augmentation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// The embeddings, all of them kept on the host.
    pub embeddings: bool,
    /// What the method's heads say.
    pub heads: bool,
    /// Views coded and decoded.
    pub reconstruction: bool,
    /// The views themselves, and their masks.
    pub masks: bool,
}

impl Asks {
    /// What either asks for.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            embeddings: self.embeddings || other.embeddings,
            heads: self.heads || other.heads,
            reconstruction: self.reconstruction || other.reconstruction,
            masks: self.masks || other.masks,
        }
    }

    /// Whether the part need not be read.
    pub(super) fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// A batch of a part, with the network's answers.
pub struct Seen<'a> {
    /// The samples.
    pub batch: &'a Batch,
    /// Their views, [n, C, H, W].
    pub inputs: &'a Tensor,
    /// Their masks, [n, 1, H, W], where those were asked for.
    pub masks: Option<&'a Tensor>,
    /// What is known of them, with the label of each head.
    pub targets: &'a Targets,
    /// What was asked for.
    pub read: &'a Read,
    /// The views coded and decoded, where that was asked for and the method does it.
    pub reconstruction: Option<&'a Reconstruction>,
}

/// What an evaluator concludes from, when a part has been read.
pub struct Conclusion<'a> {
    /// The network.
    pub engine: &'a Engine,
    /// How parts are read.
    pub reading: &'a Reading,
    /// The samples.
    pub dataset: &'a Dataset,
    /// The samples of the part, of all ranks.
    pub ids: &'a [u32],
    /// Embeddings of the training part; no rows where nobody asked for them.
    pub train: &'a Embeddings,
    /// Embeddings of the part; no rows where nobody asked for them.
    pub part: &'a Embeddings,
    /// What was to be done.
    pub thoroughness: Thoroughness,
}

/// A piece of an evaluation. All ranks call it alike, each with its share of the samples.
pub trait Evaluator {
    /// Names of everything that it measures on `part`, so that a monitor that nothing measures is refused before the first
    /// step.
    fn metrics(&self, part: &str, thoroughness: Thoroughness) -> Vec<String>;

    /// What it asks of the network for the samples of a part.
    fn asks(&self, role: Role, thoroughness: Thoroughness) -> Asks;

    /// A part will be read, of which [`Self::see`] is given the batches.
    fn begin(&mut self, _role: Role, _thoroughness: Thoroughness) {}

    /// Takes in a batch of a part that it has asked something of.
    ///
    /// # Errors
    /// When memory runs out.
    fn see(&mut self, _role: Role, _seen: &Seen<'_>) -> Result<(), TrainError> {
        Ok(())
    }

    /// Adds what it has found to `evaluation`, whose part is named there. Returns the samples of any rank's share that it could
    /// not read itself, with their reasons.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError>;
}
