//! What a method states about itself once, as data.

use super::super::{Scheduled, ScheduledSetting, ValueRange};
use super::PositiveRule;
use crate::checks::Checks;

/// What the rest of the program goes by, so that nothing outside of a method's own files asks for its name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MethodFacts {
    /// Views of each sample in a training batch.
    pub views: ViewFacts,
    /// How global batches are drawn.
    pub sampling: Sampling,
    /// What it takes from the labels.
    pub labels: LabelUse,
    /// Its loss compares all rows of the global batch in pairs.
    pub pairs: Option<PairFacts>,
    /// A second network follows the trained one.
    pub teacher: Option<TeacherFacts>,
    /// Equal patches along time that each view is cut into before the network sees it; 1: it sees whole views.
    pub patches: u32,
    /// It rounds views to codes and decodes them again.
    pub codes: bool,
    /// It is given the mask of each sample beside its views.
    pub masks: bool,
    /// Its losses hold gradients, so that training takes gradients of gradients.
    pub second_order: bool,
    /// Its objective has to know sums over the global batch, for which all samples go through a pass of their own before.
    pub first_pass: bool,
}

impl Default for MethodFacts {
    /// One view of each sample, without labels.
    fn default() -> Self {
        Self {
            views: ViewFacts::of(1),
            sampling: Sampling::Shuffled,
            labels: LabelUse::Unused,
            pairs: None,
            teacher: None,
            patches: 1,
            codes: false,
            masks: false,
            second_order: false,
            first_pass: false,
        }
    }
}

/// Most groups of views that a method may ask for.
const MAX_GROUPS: usize = 4;

/// The views of each sample in a training batch, group by group. Those of a group have one shape and one list of
/// augmentations: the group's number says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewFacts {
    num_views: [u32; MAX_GROUPS],
    num_groups: usize,
}

impl ViewFacts {
    /// Large views of a method that compares views of a sample.
    const LARGE: u32 = 2;
    /// Most small views of a sample.
    const MAX_SMALL: u64 = 32;

    /// Whether `method.small_views` is a number that a batch can hold.
    pub(super) fn check_small(num_small: u32, checks: &mut Checks) {
        checks.count("method.small_views", u64::from(num_small), 0, Self::MAX_SMALL);
    }

    /// One group.
    pub const fn of(num_views: u32) -> Self {
        let mut counts = [0; MAX_GROUPS];
        counts[0] = num_views;
        Self { num_views: counts, num_groups: 1 }
    }

    /// Two large views, and `num_small` small ones of another shape where there are any (multi-crop, Caron et al. 2020,
    /// arXiv 2006.09882, section 3.2).
    pub const fn crops(num_small: u32) -> Self {
        match num_small {
            0 => Self::of(Self::LARGE),
            _ => Self::of(Self::LARGE).and(num_small),
        }
    }

    /// One group more, the fourth at most. It may be empty.
    #[must_use]
    pub const fn and(mut self, num_views: u32) -> Self {
        assert!(self.num_groups < MAX_GROUPS, "a method has four groups of views at most");
        self.num_views[self.num_groups] = num_views;
        self.num_groups += 1;
        self
    }

    /// Views of each group, in their order.
    pub fn groups(&self) -> &[u32] {
        self.num_views.get(..self.num_groups).unwrap_or_default()
    }

    /// Kinds of views that are asked for, each a shape and a list of augmentations: one, or as many as there are groups up to
    /// the last that is not empty.
    pub fn num_specs(&self) -> usize {
        self.groups().iter().rposition(|&num_views| num_views > 0).map_or(1, |last| last + 1)
    }

    /// Views of all groups.
    pub fn total(&self) -> u32 {
        self.groups().iter().sum()
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
    /// What a loss over pairs takes from the labels.
    pub(super) fn of_positives(rules: &[PositiveRule]) -> Self {
        if rules.contains(&PositiveRule::Label) { Self::Groups } else { Self::Unused }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_views_add_up() {
        assert_eq!((ViewFacts::of(2).groups(), ViewFacts::of(2).total()), ([2].as_slice(), 2));
        let several = ViewFacts::of(2).and(0).and(6);
        assert_eq!((several.groups(), several.total()), ([2, 0, 6].as_slice(), 8));
        assert_eq!((ViewFacts::of(2).num_specs(), several.num_specs()), (1, 3));
        assert_eq!((ViewFacts::of(2).and(0).num_specs(), ViewFacts::of(2).and(1).and(0).num_specs()), (1, 2));
    }
}
