//! What the methods that compare all rows of the global batch in pairs share.

use serde::{Deserialize, Serialize};

use super::super::{RunConfig, Scheduled, ScheduledSetting, ScheduledValues, ValueRange};
use super::{BatchFacts, LossMarks, PairFacts, PositiveRule, ProjectorConfig, marks};
use crate::checks::Checks;

/// Rows of the memory queue in proofs.
pub(super) const SHORT_QUEUE: usize = 64;

/// Longest memory queue, in rows.
const MAX_QUEUE: u64 = 1 << 24;

const NAME_THE_RECORDING: &str = "set `data.recording` to the label that names a sample's recording";

/// What makes a pair of samples one that the contrastive loss leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairExclusion {
    /// Both come from one recording (`data.recording`, or one file that is cut into samples).
    Recording,
    /// Both have the same target label.
    Label,
}

impl PairExclusion {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Label => "label",
        }
    }
}

/// The temperature among what is scheduled.
pub(super) fn temperature(schedule: Scheduled) -> ScheduledSetting {
    let range = ValueRange::Positive;
    ScheduledSetting { key: "method.temperature", name: PairFacts::TEMPERATURE, schedule, range }
}

/// What is known of a contrastive loss over such a batch. Where all rows are the same it does not matter which are positives.
/// The smallest loss is known where positives are the rows of a group of which all batches have as many as this one
/// (`samples_of_groups`). Of pairs that are left out nothing is known, since recordings differ from batch to batch.
pub(super) fn loss_marks(
    (batch, samples_of_groups): (&BatchFacts, Option<&[usize]>),
    num_views: u32,
    temperature: &Scheduled,
    (queue_size, exclude_pairs): (usize, &[PairExclusion]),
    values: &ScheduledValues,
) -> LossMarks {
    if !exclude_pairs.is_empty() {
        return LossMarks::default();
    }
    let temperature = values.get(PairFacts::TEMPERATURE).unwrap_or_else(|| temperature.ends()[0]);
    let of_groups = |groups: &[usize]| marks::of_contrast(groups, num_views, temperature, queue_size);
    match samples_of_groups {
        Some(groups) => of_groups(groups),
        None => LossMarks { minimum: None, ..of_groups(&each_alone(batch)) },
    }
}

/// Groups of one sample.
pub(super) fn each_alone(batch: &BatchFacts) -> Vec<usize> {
    vec![1; batch.num_samples()]
}

/// The settings of a contrastive loss.
pub(super) struct PairSettings<'a> {
    pub projector: &'a ProjectorConfig,
    pub queue_size: usize,
    pub positives: &'a [PositiveRule],
    pub exclude_pairs: &'a [PairExclusion],
}

impl PairSettings<'_> {
    pub fn check(&self, config: &RunConfig, checks: &mut Checks) {
        checks.count("method.queue_size", self.queue_size as u64, 0, MAX_QUEUE);
        checks.require(
            !self.exclude_pairs.contains(&PairExclusion::Recording) || config.data.tells_recordings(),
            ["method.exclude_pairs", "data.recording"],
            || "`method.exclude_pairs` has `recording`, but `data.recording` names no label".into(),
            NAME_THE_RECORDING,
        );
        self.check_positives(config, checks);
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

    fn check_positives(&self, config: &RunConfig, checks: &mut Checks) {
        let is_within = |rule: &&PositiveRule| matches!(rule, PositiveRule::WithinSecs { .. });
        checks.require(
            self.positives.iter().filter(is_within).count() < 2,
            ["method.positives"],
            || format!("`method.positives` has `within_secs` twice: {}", listed(self.positives)),
            "the longer one alone says the same",
        );
        for rule in self.positives {
            let excluded = match rule {
                PositiveRule::Label => PairExclusion::Label,
                PositiveRule::Recording | PositiveRule::WithinSecs { .. } => PairExclusion::Recording,
            };
            checks.require(
                !self.exclude_pairs.contains(&excluded),
                ["method.positives", "method.exclude_pairs"],
                || {
                    let word = excluded.as_str();
                    format!(
                        "`method.positives` attracts pairs by `{rule}`, but `method.exclude_pairs` leaves out all pairs of \
                         one {word}"
                    )
                },
                "take it out of one of the two: a pair is a positive, or left out",
            );
            checks.require(
                !rule.is_of_recordings() || config.data.tells_recordings(),
                ["method.positives", "data.recording"],
                || format!("`method.positives` has `{rule}`, but `data.recording` names no label"),
                NAME_THE_RECORDING,
            );
            checks.require(
                !is_within(&rule) || config.data.tells_offsets(),
                ["method.positives", "data.offset"],
                || {
                    format!("`method.positives` has `{rule}`, but the data do not say where in its recording a sample begins")
                },
                "cut recordings into samples (`data.audio.segment_secs`, or `data.labels.begin` of a table), or name the label that \
                 says where a file begins, in seconds: `data.offset`",
            );
        }
    }
}

fn listed(rules: &[PositiveRule]) -> String {
    rules.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::{MethodConfig, SimclrConfig, SupconConfig};
    use super::*;

    #[test]
    fn the_smallest_loss_is_known_where_all_batches_have_as_many_positives() {
        let batch = BatchFacts { class_counts: vec![4, 4], unlabelled: 2, num_classes: 2 };
        let marks = |method: MethodConfig| method.loss_marks(&batch, &ScheduledValues::default());
        let supcon = |positives: &[PositiveRule]| {
            marks(MethodConfig::Supcon(SupconConfig {
                positives: positives.to_vec(),
                ..SupconConfig::default()
            }))
        };
        let simclr = |positives: &[PositiveRule]| {
            marks(MethodConfig::Simclr(SimclrConfig {
                positives: positives.to_vec(),
                ..SimclrConfig::default()
            }))
        };
        let (label, within) = (PositiveRule::Label, PositiveRule::WithinSecs { secs: 5.0 });
        for known in [supcon(&[label]), supcon(&[]), simclr(&[])] {
            assert!(known.minimum.is_some(), "{known:?}");
        }
        for silent in [supcon(&[label, within]), supcon(&[PositiveRule::Recording]), simclr(&[label])] {
            assert_eq!(silent.minimum, None);
            // Ten samples of two views: 19 others.
            assert!((silent.chance.unwrap() - 19.0_f64.ln()).abs() < 1e-12);
        }
    }

    #[test]
    fn whoever_attracts_by_label_needs_labels_and_draws_by_them() {
        use super::super::{LabelUse, Sampling};
        let facts = |positives: &[PositiveRule]| {
            let config = SupconConfig { positives: positives.to_vec(), ..SupconConfig::default() };
            let facts = MethodConfig::Supcon(config).facts();
            (facts.labels, matches!(facts.sampling, Sampling::Balanced { .. }))
        };
        assert_eq!(facts(&[PositiveRule::Recording, PositiveRule::Label]), (LabelUse::Groups, true));
        assert_eq!(facts(&[PositiveRule::Recording]), (LabelUse::Unused, false));
        let sampling = |positives: &[PositiveRule]| {
            let config = SimclrConfig { positives: positives.to_vec(), ..SimclrConfig::default() };
            MethodConfig::Simclr(config).facts().sampling
        };
        assert_eq!(sampling(&[PositiveRule::Label]), Sampling::DistinctRecordings);
        assert_eq!(sampling(&[PositiveRule::WithinSecs { secs: 1.0 }]), Sampling::Shuffled);
    }
}
