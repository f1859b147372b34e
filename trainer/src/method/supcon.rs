//! SupCon: all views of a class attract each other. Khosla et al., "Supervised Contrastive Learning" (2020), equation 2
//! (the "out" form); HobbitLong/SupContrast. Departures: samples without a label take part with their own other view as
//! their only positive, and an anchor without any positive leaves the mean (the official code divides by zero there). By
//! choice, pairs of one recording are left out, and a memory queue adds positives of the class and negatives.

use dtrain_configs::schema::{PairExclusion, SupconConfig};
use tch::{TchError, Tensor};

use super::pairs::{self, NUM_VIEWS};
use super::{Method, Objective, PairBatch, PairKeys, PairLoss, Queue, Sampling, Targets, normalize};
use crate::model::parameters::Parameters;
use crate::model::projector::Projector;
use crate::model::{Backbone, Pass};
use crate::state::Stateful;

/// Backbone and projector under the supervised contrastive loss.
pub struct Supcon {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    loss: PairLoss,
    exclusions: Vec<PairExclusion>,
    queue: Option<Queue>,
    samples_per_class: Option<usize>,
}

impl Supcon {
    /// Registers the projector under `projector` and the memory queue, if any, under `queue`.
    pub fn build(config: &SupconConfig, backbone: Box<dyn Backbone>, parameters: &mut Parameters) -> Self {
        let projector = parameters.scope("projector", |scope| {
            Projector::new(&config.projector, backbone.num_features(), backbone.norm(), scope)
        });
        let exclusions = config.exclude_pairs.clone();
        let queue = pairs::queue(config.queue_size, config.projector.out_dim, &exclusions, parameters);
        Self {
            backbone,
            projector,
            exclusions,
            queue,
            loss: PairLoss { temperature: config.temperature, tile: config.tile.value() },
            samples_per_class: config.samples_per_class.value(),
        }
    }
}

impl Method for Supcon {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn num_views(&self) -> u32 {
        NUM_VIEWS
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["supcon".into()]
    }

    fn sampling(&self) -> Sampling {
        Sampling::Balanced { samples_per_class: self.samples_per_class }
    }

    fn pair_loss(&self) -> Option<PairLoss> {
        Some(self.loss)
    }

    fn queue(&self) -> Option<&Queue> {
        self.queue.as_ref()
    }

    fn enqueue(&mut self, projections: &Tensor, keys: &PairKeys) {
        if let Some(queue) = &mut self.queue {
            queue.push(projections, keys);
        }
    }

    fn objective(&self, inputs: &Tensor, targets: &Targets, pass: &Pass) -> Result<Objective, TchError> {
        let embeddings = self.backbone.forward(inputs, pass)?;
        let projections = normalize(&self.projector.forward(&embeddings, pass)?);
        let groups: Vec<i64> = targets
            .classes
            .iter()
            .zip(&targets.positions)
            .map(|(&class, &position)| if class >= 0 { class } else { pairs::own_group(position) })
            .collect();
        let keys = pairs::keys(&groups, targets, &self.exclusions);
        Ok(Objective::Pairs(PairBatch { projections, keys }))
    }

    fn embed(&self, inputs: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }
}
