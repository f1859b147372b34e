//! BYOL (Grill et al. 2020).

use serde::{Deserialize, Serialize};

use super::super::RunConfig;
use super::{MethodConfig, MethodFacts, MethodSettings, PredictorConfig, ProjectorConfig, TeacherFacts};
use crate::checks::Checks;

/// BYOL. Batch norm in projector and predictor is what keeps it from collapsing in practice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByolConfig {
    /// Head between embedding and loss.
    pub projector: ProjectorConfig,
    /// What predicts the teacher's projections.
    pub predictor: PredictorConfig,
    /// Share of its own weights that the teacher keeps in the first step; it rises to 1 over the run on half a cosine. The
    /// paper has 0.996 for 1000 epochs and 0.99 for 300.
    pub momentum: f64,
}

impl Default for ByolConfig {
    fn default() -> Self {
        Self {
            projector: ProjectorConfig { hidden_dim: 4096, out_dim: 256, ..ProjectorConfig::default() },
            predictor: PredictorConfig { hidden_dim: 4096 },
            momentum: 0.99,
        }
    }
}

impl MethodSettings for ByolConfig {
    fn facts(&self) -> MethodFacts {
        let teacher = TeacherFacts { momentum: self.momentum, is_evaluated: false };
        MethodFacts { num_views: 2, teacher: Some(teacher), ..MethodFacts::default() }
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        self.projector.check(checks);
        self.predictor.check(checks);
        checks.below_one("method.momentum", self.momentum);
    }

    /// With a teacher that moves within a few steps.
    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Byol(Self {
            projector: self.projector.narrow(),
            predictor: self.predictor.narrow(),
            momentum: 0.8,
        })
    }
}
