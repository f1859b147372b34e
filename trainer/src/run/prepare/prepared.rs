//! A run that is ready for its first step.

use std::sync::Arc;

use dtrain_configs::RunConfig;
use dtrain_data::{Dataset, LabelColumn, Sampler, Views};

use super::bank::Bank;
use super::heads::task;
use super::probes::probe_labels;
use super::resolve::{Choice, Place, Resolved};
use super::view_size::view_shapes;
use crate::coordinator::RunPlan;
use crate::engine::Engine;
use crate::error::TrainError;
use crate::method::Task;

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Training; a sampler is needed.
    Train,
    /// Probing or embedding with given weights.
    Evaluate,
}

/// Everything that a run needs, built the same way on all ranks.
pub struct Prepared {
    /// Settings as composed.
    pub config: RunConfig,
    /// Automatic choices.
    pub resolved: Resolved,
    /// Where this rank computes.
    pub place: Place,
    /// Their reasons.
    pub choices: Vec<Choice>,
    /// Samples, labels, split.
    pub dataset: Arc<Dataset>,
    /// Makes views.
    pub maker: Arc<dyn Views>,
    /// Draws global batches; `None` where nothing is planned in steps, as mostly for evaluation.
    pub sampler: Option<Arc<Sampler>>,
    /// Length of the run.
    pub plan: RunPlan,
    /// Network, optimizer, step.
    pub engine: Engine,
    /// Further data that evaluations during training and at its end probe; none for evaluation alone, which opens them when it asks.
    pub(crate) banks: Vec<Bank>,
    /// Metrics that the run measures and that tell it from others, the monitor first; empty for evaluation.
    pub judged_by: Vec<String>,
    /// Settings that these data and this method leave without a meaning, and that nobody asked for.
    pub notes: Vec<String>,
}

impl Prepared {
    /// The labels that probes ask for: the target, `eval.probes`, and the recording where it is known.
    pub fn probe_labels(&self) -> Vec<&LabelColumn> {
        probe_labels(&self.config, &self.dataset)
    }

    /// What the data ask of a network.
    pub fn task(&self) -> Task {
        task(&self.config, &self.dataset, self.maker.shape())
    }

    /// Channels, height and width of the views of each group of the method's.
    ///
    /// # Errors
    /// Those of [`view_shapes`], which the start has ruled out.
    pub fn view_shapes(&self) -> Result<Vec<[usize; 3]>, TrainError> {
        view_shapes(self.engine.method(), &*self.maker)
    }
}
