//! SimCLR: the views of a sample attract each other, all other views repel. Chen et al., "A Simple Framework for
//! Contrastive Learning of Visual Representations" (2020); google-research/simclr. With small views besides the two large ones
//! every ordered pair of views of a sample is positive, and an anchor's loss is the mean over them, as in SupCon. By choice, samples of one
//! label or recording, or near each other in one, are positives too or are left out, and a memory queue adds rows to compare with; queued
//! views of a sample are left out of its own rows, unless a rule makes them positives.

use dtrain_configs::schema::{Encoder, MethodFacts, Scheduled, SimclrConfig};
use tch::{TchError, Tensor};

use super::pairs::{self, PairRules};
use super::{AfterStep, LocalBatch, Method, Objective, Parts, Queue, StepContext, Term, normalize, views};
use crate::model::projector::Projector;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone and projector under NT-Xent.
pub struct Simclr {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    temperature: Scheduled,
    rules: PairRules,
    queue: Option<Queue>,
    facts: MethodFacts,
}

impl Simclr {
    /// Registers the projector under `projector` and the memory queue, if any, under `queue`.
    pub(super) fn build(config: &SimclrConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, parameters, .. } = parts;
        let projector = parameters.scope("projector", |scope| {
            Projector::new(&config.projector, backbone.num_features(), backbone.norm(), scope)
        });
        let rules = PairRules::new(&config.positives, &config.exclude_pairs);
        let queue = rules.queue(config.queue_size, config.projector.out_dim, parameters);
        Self { backbone, projector, temperature: config.temperature, rules, queue, facts }
    }
}

impl Method for Simclr {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["nt_xent".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/knn_top1", "val/loss"]
    }

    fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        pairs::enqueue(self.queue.as_mut(), after)
    }

    fn settle(&mut self) -> Result<(), TchError> {
        self.queue.as_mut().map_or(Ok(()), Queue::settle)
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (targets, pass) = (&part.targets, context.pass());
        let embeddings = views::embeddings(&*self.backbone, part, context)?;
        let projections = normalize(&self.projector.forward(&embeddings, pass)?);
        let views = (projections, views::num_views(part));
        let pairs = self.rules.term(views, &self.temperature, (targets, context));
        Ok(Objective::of(vec![Term::Pairs(pairs)]))
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }
}
