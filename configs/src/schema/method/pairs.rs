//! What the methods that compare all rows of the global batch in pairs share.

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, Scheduled, ScheduledSetting, ScheduledValues, ValueRange};
use super::{LossMarks, PairFacts, ProjectorConfig, marks};
use crate::checks::Checks;

/// Rows of the memory queue in proofs.
pub(super) const SHORT_QUEUE: usize = 64;

/// Longest memory queue, in rows.
const MAX_QUEUE: u64 = 1 << 24;

/// What makes a pair of samples one that the contrastive loss leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairExclusion {
    /// Both come from one recording (`data.recording`).
    Recording,
    /// Both have the same target label. In SupCon such pairs are the positives and cannot be left out.
    Label,
}

/// The temperature among what is scheduled.
pub(super) fn temperature(schedule: Scheduled) -> ScheduledSetting {
    let range = ValueRange::Positive;
    ScheduledSetting { key: "method.temperature", name: PairFacts::TEMPERATURE, schedule, range }
}

/// What is known of a contrastive loss whose positives are the rows of a group, given the samples of each group. Of pairs that are
/// left out nothing is known, since recordings differ from batch to batch.
pub(super) fn loss_marks(
    samples_of_groups: &[usize],
    num_views: u32,
    temperature: &Scheduled,
    (queue_size, exclude_pairs): (usize, &[PairExclusion]),
    values: &ScheduledValues,
) -> LossMarks {
    if !exclude_pairs.is_empty() {
        return LossMarks::default();
    }
    let temperature = values.get(PairFacts::TEMPERATURE).unwrap_or_else(|| temperature.ends()[0]);
    marks::of_contrast(samples_of_groups, num_views, temperature, queue_size)
}

/// The settings of a contrastive loss.
pub(super) struct PairSettings<'a> {
    pub projector: &'a ProjectorConfig,
    pub queue_size: usize,
    pub exclude_pairs: &'a [PairExclusion],
}

impl PairSettings<'_> {
    pub fn check(&self, config: &RunConfig, checks: &mut Checks) {
        checks.count("method.queue_size", self.queue_size as u64, 0, MAX_QUEUE);
        checks.require(
            !self.exclude_pairs.contains(&PairExclusion::Recording) || config.data.recording.is_some(),
            ["method.exclude_pairs", "data.recording"],
            || "`method.exclude_pairs` has `recording`, but `data.recording` names no label".into(),
            "set `data.recording` to the label that names a sample's recording",
        );
        self.projector.check(checks);
        checks.require(
            config.trainer.batch_size != 1,
            ["trainer.batch_size", "method.name"],
            || {
                let name = config.method.name();
                format!(
                    "`trainer.batch_size` is 1, but `method.name` = {name} compares the samples of a batch"
                )
            },
            "contrastive methods need at least 2 samples, and do better with hundreds",
        );
    }
}
