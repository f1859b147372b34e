//! SimCLR (Chen et al. 2020).

use serde::{Deserialize, Serialize};

use super::super::{Auto, RunConfig, Scheduled, ScheduledSetting, ScheduledValues};
use super::pairs::{self, PairSettings, SHORT_QUEUE};
use super::{
    BatchFacts, LabelUse, LossMarks, MethodConfig, MethodFacts, MethodSettings, PairExclusion, PairFacts,
    PositiveRule, ProjectorConfig, Sampling, ViewFacts,
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
    /// Samples that are positives of each other by any of these rules, besides the views of one sample. What
    /// `exclude_pairs` leaves out is none.
    pub positives: Vec<PositiveRule>,
    /// Pairs of different samples that are alike in one of these are left out of the loss, neither positive nor negative.
    pub exclude_pairs: Vec<PairExclusion>,
    /// Keep two samples of one recording out of a batch (needs `data.recording`, or files that are cut into samples); `auto` =
    /// unless `positives` has pairs of one recording.
    pub distinct_recordings: Auto<bool>,
}

impl Default for SimclrConfig {
    fn default() -> Self {
        Self {
            temperature: 0.1.into(),
            projector: ProjectorConfig::default(),
            small_views: 0,
            queue_size: 0,
            positives: Vec::new(),
            exclude_pairs: Vec::new(),
            distinct_recordings: Auto::Auto,
        }
    }
}

impl SimclrConfig {
    fn attracts_recordings(&self) -> bool {
        self.positives.iter().any(|rule| rule.is_of_recordings())
    }
}

impl MethodSettings for SimclrConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            views: ViewFacts::crops(self.small_views),
            sampling: if self.distinct_recordings.value().unwrap_or(!self.attracts_recordings()) {
                Sampling::DistinctRecordings
            } else {
                Sampling::Shuffled
            },
            labels: LabelUse::of_positives(&self.positives),
            pairs: Some(PairFacts { dim: self.projector.out_dim, queue_size: self.queue_size }),
            ..MethodFacts::default()
        }
    }

    fn scheduled(&self) -> Vec<ScheduledSetting> {
        vec![pairs::temperature(self.temperature)]
    }

    fn loss_marks(&self, batch: &BatchFacts, values: &ScheduledValues) -> LossMarks {
        // Without a rule the views of one sample are each other's only positives. Classes are drawn as they come.
        let groups = self.positives.is_empty().then(|| pairs::each_alone(batch));
        let apart = (self.queue_size, self.exclude_pairs.as_slice());
        pairs::loss_marks(
            (batch, groups.as_deref()),
            self.facts().views.total(),
            &self.temperature,
            apart,
            values,
        )
    }

    fn check(&self, config: &RunConfig, checks: &mut Checks) {
        checks.require(
            self.distinct_recordings.value() != Some(true) || !self.attracts_recordings(),
            ["method.distinct_recordings", "method.positives"],
            || {
                "`method.distinct_recordings` keeps two samples of one recording out of a batch, but `method.positives` \
                 attracts them"
                    .into()
            },
            "leave `method.distinct_recordings` at `auto`",
        );
        ViewFacts::check_small(self.small_views, checks);
        PairSettings {
            projector: &self.projector,
            queue_size: self.queue_size,
            positives: &self.positives,
            exclude_pairs: &self.exclude_pairs,
        }
        .check(config, checks);
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Simclr(Self {
            projector: self.projector.narrow(),
            queue_size: SHORT_QUEUE,
            positives: Vec::new(),
            exclude_pairs: vec![PairExclusion::Recording],
            ..self.clone()
        })
    }
}
