//! SupCon: all views of a class attract each other. Khosla et al., "Supervised Contrastive Learning" (2020), equation 2
//! (the "out" form); HobbitLong/SupContrast. Departures: samples without a label take part with their own other view as
//! their only positive, and an anchor without any positive leaves the mean (the official code divides by zero there). By
//! choice, samples of one recording, or near each other in one, are positives too or are left out, and a memory queue adds positives and
//! negatives.

use dtrain_configs::schema::{Encoder, MethodFacts, Scheduled, SupconConfig};
use tch::{TchError, Tensor};

use super::pairs::{self, PairRules};
use super::{AfterStep, LocalBatch, Method, Objective, Parts, Queue, StepContext, Term, normalize, views};
use crate::model::projector::Projector;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone and projector under the supervised contrastive loss.
pub struct Supcon {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    temperature: Scheduled,
    rules: PairRules,
    queue: Option<Queue>,
    facts: MethodFacts,
}

impl Supcon {
    /// Registers the projector under `projector` and the memory queue, if any, under `queue`.
    pub(super) fn build(config: &SupconConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, parameters, .. } = parts;
        let projector = parameters.scope("projector", |scope| {
            Projector::new(&config.projector, backbone.num_features(), backbone.norm(), scope)
        });
        let rules = PairRules::new(&config.positives, &config.exclude_pairs);
        let queue = rules.queue(config.queue_size, config.projector.out_dim, parameters);
        Self { backbone, projector, rules, queue, temperature: config.temperature, facts }
    }
}

impl Method for Supcon {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["supcon".into()]
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
