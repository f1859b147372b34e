//! SimCLR: two views of a sample attract each other, all other views repel. Chen et al., "A Simple Framework for
//! Contrastive Learning of Visual Representations" (2020); google-research/simclr.

use dtrain_configs::schema::SimclrConfig;
use tch::{TchError, Tensor};

use super::{Method, Objective, PairBatch, PairLoss, Sampling, Targets, normalize};
use crate::model::parameters::Parameters;
use crate::model::projector::Projector;
use crate::model::{Backbone, Pass};

/// Backbone and projector under NT-Xent.
pub struct Simclr {
    backbone: Box<dyn Backbone>,
    projector: Projector,
    loss: PairLoss,
    sampling: Sampling,
}

impl Simclr {
    /// Registers the projector under `projector`.
    pub fn build(config: &SimclrConfig, backbone: Box<dyn Backbone>, parameters: &mut Parameters) -> Self {
        let projector = parameters
            .scope("projector", |scope| Projector::new(&config.projector, backbone.num_features(), scope));
        let sampling =
            if config.distinct_recordings { Sampling::DistinctRecordings } else { Sampling::Shuffled };
        let loss = PairLoss { temperature: config.temperature, tile: config.tile.value() };
        Self { backbone, projector, loss, sampling }
    }
}

impl Method for Simclr {
    fn num_views(&self) -> u32 {
        2
    }

    fn sampling(&self) -> Sampling {
        self.sampling
    }

    fn pair_loss(&self) -> Option<PairLoss> {
        Some(self.loss)
    }

    fn objective(&self, inputs: &Tensor, targets: &Targets, pass: &Pass) -> Result<Objective, TchError> {
        let embeddings = self.backbone.forward(inputs, pass)?;
        let projections = normalize(&self.projector.forward(&embeddings, pass)?);
        // The views of one sample are each other's only positive.
        let groups = [targets.positions.as_slice(), targets.positions.as_slice()].concat();
        Ok(Objective::Pairs(PairBatch { projections, groups }))
    }

    fn embed(&self, inputs: &Tensor, pass: &Pass) -> Result<Tensor, TchError> {
        self.backbone.forward(inputs, pass)
    }
}
