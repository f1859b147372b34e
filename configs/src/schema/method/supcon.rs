//! SupCon (Khosla et al. 2020).

use serde::{Deserialize, Serialize};

use super::super::{Auto, RunConfig, Scheduled, ScheduledSetting, ScheduledValues};
use super::pairs::{self, PairSettings, SHORT_QUEUE};
use super::{
    BatchFacts, LabelUse, LossMarks, MethodConfig, MethodFacts, MethodSettings, PairExclusion, PairFacts,
    ProjectorConfig, Sampling, ViewFacts,
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
    /// Pairs of different samples that are alike in one of these are left out of the loss, neither positive nor negative.
    pub exclude_pairs: Vec<PairExclusion>,
    /// Samples of each class in a batch (K of P x K, over the global batch); `auto` = as many as give each class
    /// in the batch the same share, at least 2.
    pub samples_per_class: Auto<usize>,
}

impl Default for SupconConfig {
    fn default() -> Self {
        Self {
            temperature: 0.07.into(),
            projector: ProjectorConfig::default(),
            small_views: 0,
            queue_size: 0,
            exclude_pairs: Vec::new(),
            samples_per_class: Auto::Auto,
        }
    }
}

impl MethodSettings for SupconConfig {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            views: ViewFacts::crops(self.small_views),
            sampling: Sampling::Balanced { samples_per_class: self.samples_per_class.value() },
            labels: LabelUse::Groups,
            pairs: Some(PairFacts { dim: self.projector.out_dim, queue_size: self.queue_size }),
            ..MethodFacts::default()
        }
    }

    fn scheduled(&self) -> Vec<ScheduledSetting> {
        vec![pairs::temperature(self.temperature)]
    }

    fn loss_marks(&self, batch: &BatchFacts, values: &ScheduledValues) -> LossMarks {
        // Without a label the views of one sample are each other's only positive.
        let mut groups = batch.class_counts.clone();
        groups.extend(vec![1; batch.unlabelled]);
        let apart = (self.queue_size, self.exclude_pairs.as_slice());
        pairs::loss_marks(&groups, self.facts().views.total(), &self.temperature, apart, values)
    }

    fn check(&self, config: &RunConfig, checks: &mut Checks) {
        let batch_size = config.trainer.batch_size;
        if let Some(per_class) = self.samples_per_class.value() {
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
        checks.require(
            !self.exclude_pairs.contains(&PairExclusion::Label),
            ["method.exclude_pairs"],
            || {
                "`method.exclude_pairs` has `label`, but the pairs of one label are what SupCon attracts"
                    .into()
            },
            "`method.exclude_pairs=[recording]` leaves out pairs of one recording",
        );
        ViewFacts::check_small(self.small_views, checks);
        PairSettings {
            projector: &self.projector,
            queue_size: self.queue_size,
            exclude_pairs: &self.exclude_pairs,
        }
        .check(config, checks);
    }

    fn for_proofs(&self, _labels: &[&str]) -> MethodConfig {
        MethodConfig::Supcon(Self {
            projector: self.projector.narrow(),
            queue_size: SHORT_QUEUE,
            exclude_pairs: vec![PairExclusion::Recording],
            ..self.clone()
        })
    }
}
