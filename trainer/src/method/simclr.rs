//! SimCLR: the views of a sample attract each other, all other views repel. Chen et al., "A Simple Framework for
//! Contrastive Learning of Visual Representations" (2020); google-research/simclr. With small views besides the two large ones
//! every ordered pair of views of a sample is positive, and an anchor's loss is the mean over them, as in SupCon. By choice, pairs of one recording or
//! label are left out, and a memory queue adds negatives; queued views of a sample are left out of its own rows.

use dtrain_configs::schema::{Encoder, MethodFacts, PairExclusion, Scheduled, SimclrConfig};
use tch::{TchError, Tensor};

use super::{AfterStep, LocalBatch, Method, Objective, Parts, Queue, StepContext, Term, normalize};
use super::{pairs, views};
use crate::model::projector::Projector;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone and projector under NT-Xent.
pub struct Simclr {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    temperature: Scheduled,
    exclusions: Vec<PairExclusion>,
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
        let exclusions = config.exclude_pairs.clone();
        let queue = pairs::queue(config.queue_size, config.projector.out_dim, &exclusions, parameters);
        Self { backbone, projector, temperature: config.temperature, exclusions, queue, facts }
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
        // The views of one sample are each other's only positive.
        let groups: Vec<i64> = targets.positions().iter().copied().map(pairs::own_group).collect();
        let views = (projections, views::num_views(part));
        let pairs = pairs::term(views, &self.temperature, &groups, &self.exclusions, (targets, context));
        Ok(Objective::of(vec![Term::Pairs(pairs)]))
    }

    fn num_features(&self) -> i64 {
        self.backbone.num_features()
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }
}
