//! SimCLR (Chen et al. 2020).

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, Scheduled, ScheduledSetting, ScheduledValues};
use super::pairs::{self, PairSettings, SHORT_QUEUE};
use super::{
    BatchFacts, LabelUse, LossMarks, MethodConfig, MethodFacts, MethodSettings, PairExclusion, PairFacts,
    ProjectorConfig, Sampling, ViewFacts,
};
use crate::checks::Checks;

/// SimCLR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SimclrConfig {
    /// Softmax temperature of the cosine similarities; a number, or a schedule such as `{from: 0.5, to: 0.1, kind: cosine}`.
    pub temperature: Scheduled,
    /// Head between embedding and loss.
    pub projector: ProjectorConfig,
    /// Small views of each sample besides its two large ones (multi-crop), of which `augment.small_views` has the shape;
    /// docs/configuration.md says which pairs count.
    pub small_views: u32,
    /// Embeddings of earlier batches that are kept as further rows to compare with (MoCo's queue without its encoder);
    /// 0 = none.
    pub queue_size: usize,
    /// Pairs of different samples that are alike in one of these are left out of the loss, neither positive nor negative.
    pub exclude_pairs: Vec<PairExclusion>,
    /// Keep two samples of one recording out of a batch (needs `data.recording`).
    pub distinct_recordings: bool,
}

impl Default for SimclrConfig {
    fn default() -> Self {
        Self {
            temperature: 0.1.into(),
            projector: ProjectorConfig::default(),
            small_views: 0,
            queue_size: 0,
            exclude_pairs: Vec::new(),
            distinct_recordings: true,
        }
    }
}

impl MethodSettings for SimclrConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            views: ViewFacts::crops(self.small_views),
            sampling: if self.distinct_recordings {
                Sampling::DistinctRecordings
            } else {
                Sampling::Shuffled
            },
            labels: LabelUse::Unused,
            pairs: Some(PairFacts { dim: self.projector.out_dim, queue_size: self.queue_size }),
            ..MethodFacts::default()
        }
    }

    fn scheduled(&self) -> Vec<ScheduledSetting> {
        vec![pairs::temperature(self.temperature)]
    }

    fn loss_marks(&self, batch: &BatchFacts, values: &ScheduledValues) -> LossMarks {
        // The views of one sample are each other's only positive.
        let groups = vec![1; batch.num_samples()];
        let apart = (self.queue_size, self.exclude_pairs.as_slice());
        pairs::loss_marks(&groups, self.facts().views.total(), &self.temperature, apart, values)
    }

    fn check(&self, config: &RunConfig, checks: &mut Checks) {
        ViewFacts::check_small(self.small_views, checks);
        PairSettings {
            projector: &self.projector,
            queue_size: self.queue_size,
            exclude_pairs: &self.exclude_pairs,
        }
        .check(config, checks);
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Simclr(Self {
            projector: self.projector.narrow(),
            queue_size: SHORT_QUEUE,
            exclude_pairs: vec![PairExclusion::Recording],
            ..self.clone()
        })
    }
}
