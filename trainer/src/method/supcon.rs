//! SupCon: all views of a class attract each other. Khosla et al., "Supervised Contrastive Learning" (2020), equation 2
//! (the "out" form); HobbitLong/SupContrast. Departures: samples without a label take part with their own other view as
//! their only positive, and an anchor without any positive leaves the mean (the official code divides by zero there). By
//! choice, pairs of one recording are left out, and a memory queue adds positives of the class and negatives.

use dtrain_configs::schema::{Encoder, MethodFacts, PairExclusion, Scheduled, SupconConfig};
use tch::{TchError, Tensor};

use super::{AfterStep, LocalBatch, Method, Objective, Parts, Queue, StepContext, Term, normalize};
use super::{pairs, views};
use crate::model::projector::Projector;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;

/// Backbone and projector under the supervised contrastive loss.
pub struct Supcon {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    temperature: Scheduled,
    exclusions: Vec<PairExclusion>,
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
        let exclusions = config.exclude_pairs.clone();
        let queue = pairs::queue(config.queue_size, config.projector.out_dim, &exclusions, parameters);
        Self { backbone, projector, exclusions, queue, temperature: config.temperature, facts }
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
        let groups: Vec<i64> = targets
            .classes()
            .iter()
            .zip(targets.positions())
            .map(|(&class, &position)| if class >= 0 { class } else { pairs::own_group(position) })
            .collect();
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
