//! SupCon: all views of a class attract each other. Khosla et al., "Supervised Contrastive Learning" (2020), equation 2
//! (the "out" form); HobbitLong/SupContrast. Departures: samples without a label take part with their own other view as
//! their only positive, and an anchor without any positive leaves the mean (the official code divides by zero there).

use dtrain_configs::schema::SupconConfig;
use tch::{TchError, Tensor};

use super::{Method, Objective, PairBatch, PairLoss, Sampling, Targets, normalize};
use crate::model::parameters::Parameters;
use crate::model::projector::Projector;
use crate::model::{Backbone, Pass};

/// Backbone and projector under the supervised contrastive loss.
pub struct Supcon {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    loss: PairLoss,
    samples_per_class: Option<usize>,
    num_classes: i64,
}

impl Supcon {
    /// Registers the projector under `projector`.
    pub fn build(
        config: &SupconConfig,
        backbone: Box<dyn Backbone>,
        num_classes: i64,
        parameters: &mut Parameters,
    ) -> Self {
        let projector = parameters
            .scope("projector", |scope| Projector::new(&config.projector, backbone.num_features(), scope));
        Self {
            backbone,
            projector,
            loss: PairLoss { temperature: config.temperature, tile: config.tile.value() },
            samples_per_class: config.samples_per_class.value(),
            num_classes,
        }
    }
}

impl Method for Supcon {
    fn num_views(&self) -> u32 {
        2
    }

    fn sampling(&self) -> Sampling {
        Sampling::Balanced { samples_per_class: self.samples_per_class }
    }

    fn pair_loss(&self) -> Option<PairLoss> {
        Some(self.loss)
    }

    fn objective(&self, inputs: &Tensor, targets: &Targets, pass: &Pass) -> Result<Objective, TchError> {
        let embeddings = self.backbone.forward(inputs, pass)?;
        let projections = normalize(&self.projector.forward(&embeddings, pass)?);
        let one_view: Vec<i64> = targets
            .classes
            .iter()
            .zip(&targets.positions)
            .map(|(&class, &position)| if class >= 0 { class } else { self.num_classes + position })
            .collect();
        let groups = [one_view.as_slice(), one_view.as_slice()].concat();
        Ok(Objective::Pairs(PairBatch { projections, groups }))
    }

    fn embed(&self, inputs: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }
}
