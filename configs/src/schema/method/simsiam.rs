//! SimSiam (Chen & He 2021).

use serde::{Deserialize, Serialize};

use super::super::RunConfig;
use super::{MethodConfig, MethodFacts, MethodSettings, PredictorConfig, ProjectorConfig, ViewFacts};
use crate::checks::Checks;

/// SimSiam. Predictor and stop-gradient are what keep it from collapsing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimsiamConfig {
    /// Head between embedding and loss.
    pub projector: ProjectorConfig,
    /// What predicts the other view's projection; narrower than the projection.
    pub predictor: PredictorConfig,
    /// Small views of each sample besides its two large ones (multi-crop), of which `augment.small_views` has the shape;
    /// docs/configuration.md says which pairs count.
    pub small_views: u32,
    /// Take the projection that is predicted as given. `false` lets gradients go through it, and the network collapses: the
    /// ablation of section 4.1 of the paper.
    pub stop_gradient: bool,
}

impl Default for SimsiamConfig {
    fn default() -> Self {
        Self {
            projector: ProjectorConfig {
                hidden_dim: 2048,
                out_dim: 2048,
                num_layers: 3,
                batch_norm: true,
                last_batch_norm: true,
            },
            predictor: PredictorConfig { hidden_dim: 512 },
            small_views: 0,
            stop_gradient: true,
        }
    }
}

impl MethodSettings for SimsiamConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts { views: ViewFacts::crops(self.small_views), ..MethodFacts::default() }
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        self.projector.check(checks);
        self.predictor.check(checks);
        ViewFacts::check_small(self.small_views, checks);
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Simsiam(Self {
            projector: self.projector.narrow(),
            predictor: self.predictor.narrow(),
            ..self.clone()
        })
    }
}
