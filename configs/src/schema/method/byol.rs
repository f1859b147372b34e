//! BYOL (Grill et al. 2020).

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, TeacherMomentum};
use super::{
    MethodConfig, MethodFacts, MethodSettings, PredictorConfig, ProjectorConfig, TeacherFacts, ViewFacts,
};
use crate::checks::Checks;

/// BYOL. Batch norm in projector and predictor is what keeps it from collapsing in practice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ByolConfig {
    /// Head between embedding and loss.
    pub projector: ProjectorConfig,
    /// What predicts the teacher's projections.
    pub predictor: PredictorConfig,
    /// Small views of each sample besides its two large ones (multi-crop), of which `augment.small_views` has the shape;
    /// docs/configuration.md says which pairs count.
    pub small_views: u32,
    /// Share of its own weights that the teacher keeps. A number is that of the first step, from which it rises to 1 over the
    /// run on half a cosine; BYOL's paper has 0.996 for 1000 epochs and 0.99 for 300, DINO's 0.996 for batches of 512 and more.
    /// Another schedule is written in full, such as `{from: 0.99, kind: constant}`.
    pub momentum: TeacherMomentum,
}

impl Default for ByolConfig {
    fn default() -> Self {
        Self {
            projector: ProjectorConfig { hidden_dim: 4096, out_dim: 256, ..ProjectorConfig::default() },
            predictor: PredictorConfig { hidden_dim: 4096 },
            small_views: 0,
            momentum: TeacherMomentum::rising_from(0.99),
        }
    }
}

impl MethodSettings for ByolConfig {
    fn facts(&self) -> MethodFacts {
        let teacher = TeacherFacts { momentum: self.momentum.0, is_evaluated: false };
        MethodFacts {
            views: ViewFacts::crops(self.small_views),
            teacher: Some(teacher),
            ..MethodFacts::default()
        }
    }

    fn check(&self, _config: &RunConfig, checks: &mut Checks) {
        self.projector.check(checks);
        self.predictor.check(checks);
        ViewFacts::check_small(self.small_views, checks);
        checks.require(
            self.momentum.0.ends()[0] != 1.0,
            ["method.momentum"],
            || "`method.momentum` begins at 1: the teacher would stay as it begins".into(),
            "the paper has 0.99 to 0.996",
        );
    }

    /// With a teacher that moves within a few steps.
    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Byol(Self {
            projector: self.projector.narrow(),
            predictor: self.predictor.narrow(),
            momentum: TeacherMomentum::rising_from(0.8),
            ..self.clone()
        })
    }
}
