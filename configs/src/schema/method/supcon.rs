//! SupCon (Khosla et al. 2020).

use serde::{Deserialize, Serialize};

use super::super::{Auto, RunConfig, Scheduled, ScheduledSetting, ScheduledValues};
use super::pairs::{self, PairSettings, SHORT_QUEUE};
use super::{
    BatchFacts, LabelUse, LossMarks, MethodConfig, MethodFacts, MethodSettings, PairExclusion, PairFacts,
    PositiveRule, ProjectorConfig, Sampling, ViewFacts,
};
use crate::checks::Checks;

/// SupCon, the "out" form (equation 2 of the paper).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SupconConfig {
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
    /// Samples of each class in a batch (K of P x K, over the global batch); `auto` = as many as give each class
    /// in the batch the same share, at least 2. Without `label` among `positives` samples are drawn once per epoch instead.
    pub samples_per_class: Auto<usize>,
}

impl Default for SupconConfig {
    fn default() -> Self {
        Self {
            temperature: 0.07.into(),
            projector: ProjectorConfig::default(),
            small_views: 0,
            queue_size: 0,
            positives: vec![PositiveRule::Label],
            exclude_pairs: Vec::new(),
            samples_per_class: Auto::Auto,
        }
    }
}

impl SupconConfig {
    fn attracts_labels(&self) -> bool {
        self.positives.contains(&PositiveRule::Label)
    }
}

impl MethodSettings for SupconConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            views: ViewFacts::crops(self.small_views),
            sampling: if self.attracts_labels() {
                Sampling::Balanced { samples_per_class: self.samples_per_class.value() }
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
        let groups = match self.positives.as_slice() {
            [] => Some(pairs::each_alone(batch)),
            // Without a label the views of one sample are each other's only positives.
            [PositiveRule::Label] => {
                Some([batch.class_counts.as_slice(), &vec![1; batch.unlabelled]].concat())
            }
            _ => None,
        };
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
        let batch_size = config.trainer.batch_size;
        if let Some(per_class) = self.samples_per_class.value() {
            checks.require_of_asked(
                self.attracts_labels(),
                ["method.samples_per_class", "method.positives"],
                || {
                    format!("`method.samples_per_class` = {per_class} draws by class, but `method.positives` has no `label`")
                },
                "leave `method.samples_per_class` at `auto`, or add `label` to `method.positives`",
            );
            checks.require(
                per_class >= 2,
                ["method.samples_per_class"],
                || format!("`method.samples_per_class` must be at least 2, not {per_class}"),
                "with one sample of a class in a batch, an anchor has no positive but its own other view",
            );
            checks.require(
                per_class <= batch_size,
                ["method.samples_per_class", "trainer.batch_size"],
                || {
                    format!("`method.samples_per_class` = {per_class} is more than `trainer.batch_size` = {batch_size}")
                },
                "a batch holds `batch_size / samples_per_class` classes",
            );
        }
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
        MethodConfig::Supcon(Self {
            projector: self.projector.narrow(),
            queue_size: SHORT_QUEUE,
            positives: vec![PositiveRule::Label],
            exclude_pairs: vec![PairExclusion::Recording],
            ..self.clone()
        })
    }
}
