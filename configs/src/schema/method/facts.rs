//! What a method states about itself once, as data.

use super::super::{Scheduled, ScheduledSetting, ValueRange};

/// What the rest of the program goes by, so that nothing outside of a method's own files asks for its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodFacts {
    /// Views of each sample in a training batch.
    pub num_views: u32,
    /// How global batches are drawn.
    pub sampling: Sampling,
    /// What it takes from the labels.
    pub labels: LabelUse,
    /// Its loss compares all rows of the global batch in pairs.
    pub pairs: Option<PairFacts>,
    /// A second network follows the trained one.
    pub teacher: Option<TeacherFacts>,
    /// Its losses hold gradients, so that training takes gradients of gradients.
    pub second_order: bool,
}

impl Default for MethodFacts {
    /// One view of each sample, without labels.
    fn default() -> Self {
        Self {
            num_views: 1,
            sampling: Sampling::Shuffled,
            labels: LabelUse::Unused,
            pairs: None,
            teacher: None,
            second_order: false,
        }
    }
}

/// How a method wants its global batches drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampling {
    /// Each sample once per epoch.
    Shuffled,
    /// Each sample that has the target label once per epoch.
    ShuffledLabelled,
    /// Each sample once per epoch, no two of one recording in a batch.
    DistinctRecordings,
    /// P classes x K samples.
    Balanced {
        /// K; `None`: as many as give each class in the batch the same share.
        samples_per_class: Option<usize>,
    },
}

/// What a method takes from the labels of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelUse {
    /// Nothing.
    Unused,
    /// The target tells samples that belong together.
    Groups,
    /// It learns to tell the target.
    Target,
    /// It learns to tell every label, each by a head of its own.
    EveryLabel,
}

impl LabelUse {
    /// Whether it trains classifiers.
    pub fn classifies(self) -> bool {
        matches!(self, Self::Target | Self::EveryLabel)
    }
}

/// A loss over the pairs of all rows of the global batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairFacts {
    /// Width of a row.
    pub dim: usize,
    /// Rows of earlier batches that are kept to compare with.
    pub queue_size: usize,
}

impl PairFacts {
    /// Name of the temperature among the values that are scheduled.
    pub const TEMPERATURE: &'static str = "temperature";
}

/// A second network whose weights are an exponential moving average of the trained ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TeacherFacts {
    /// Share of its own weights that it keeps in a step.
    pub momentum: Scheduled,
    /// Whether evaluations embed with it unless `eval.encoder` says otherwise.
    pub is_evaluated: bool,
}

impl TeacherFacts {
    /// Name of the momentum among the values that are scheduled.
    pub const MOMENTUM: &'static str = "momentum";

    pub(super) fn scheduled(&self) -> ScheduledSetting {
        ScheduledSetting {
            key: "method.momentum",
            name: Self::MOMENTUM,
            schedule: self.momentum,
            range: ValueRange::Fraction,
        }
    }
}
