//! Stages of a run as ranges of its steps: a pure function of the settings and the number of steps, so that a run that
//! goes on finds itself in the phase that it was in.

use std::ops::Range;

use dtrain_configs::schema::{PhaseConfig, PhasesConfig};
use serde::{Deserialize, Serialize};

/// One stage with its steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What is trained and how.
    pub config: PhaseConfig,
    /// Its steps; none where the run has fewer steps than phases.
    pub steps: Range<u64>,
}

/// The stages of a run, which cover its steps without a gap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phases(Vec<Phase>);

/// Phases that do not fit the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhaseError {
    /// More steps than the run has.
    #[error("the phases' `steps` add up to {steps}, but the run has {total}")]
    TooLong {
        /// Steps of all phases that name a number.
        steps: u64,
        /// Steps of the run.
        total: u64,
    },
    /// All phases name a number of steps, and some steps of the run are in none.
    #[error("the phases' `steps` add up to {steps}, and {} steps of the run are in no phase", total - steps)]
    TooShort {
        /// Steps of all phases.
        steps: u64,
        /// Steps of the run.
        total: u64,
    },
}

impl PhaseError {
    /// The next step.
    pub fn hint(&self) -> &'static str {
        match self {
            PhaseError::TooLong { .. } => {
                "shorten a phase, or train for longer with `trainer.max_steps` or `trainer.max_epochs`"
            }
            PhaseError::TooShort { .. } => {
                "leave `steps` out of one phase, which then takes the rest by its fraction in `phases.fracs`"
            }
        }
    }
}

impl Phases {
    /// One stage that trains everything.
    pub fn whole(total_steps: u64) -> Self {
        Self(vec![Phase { config: everything(), steps: 0..total_steps }])
    }

    /// The stages that the settings describe.
    ///
    /// # Errors
    /// The numbers of steps do not fit the run.
    pub fn new(config: &PhasesConfig, total_steps: u64) -> Result<Self, PhaseError> {
        if !config.enabled || config.list.is_empty() {
            return Ok(Self::whole(total_steps));
        }
        let lengths: Vec<Length> = config
            .list
            .iter()
            .enumerate()
            .map(|(index, phase)| match phase.steps {
                Some(steps) => Length::Steps(steps),
                None => Length::Share(config.fracs.get(index).copied().unwrap_or(0.0)),
            })
            .collect();
        let mut begin = 0;
        let phases = config.list.iter().zip(divide(total_steps, &lengths)?).map(|(config, len)| {
            let steps = begin..begin + len;
            begin = steps.end;
            Phase { config: config.clone(), steps }
        });
        Ok(Self(phases.collect()))
    }

    /// Index of the phase of a step; beyond the end, of the last one that has steps.
    pub fn index_of(&self, step: u64) -> u32 {
        let within = self.0.iter().position(|phase| phase.steps.contains(&step));
        let last = || self.0.iter().rposition(|phase| !phase.steps.is_empty());
        within.or_else(last).unwrap_or(0) as u32
    }

    /// The phase with that index.
    pub fn get(&self, index: u32) -> Option<&Phase> {
        self.0.get(index as usize)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Phase> {
        self.0.iter()
    }

    /// Whether there is more than one stage, or one that leaves something out.
    pub fn is_staged(&self) -> bool {
        self.0.len() > 1 || self.0.iter().any(|phase| phase.config != everything())
    }
}

/// The only stage of a run without stages.
fn everything() -> PhaseConfig {
    PhaseConfig { name: "train".into(), ..PhaseConfig::default() }
}

/// How long a phase is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Length {
    Steps(u64),
    /// In proportion to the other shares.
    Share(f64),
}

/// Steps of each phase. They add up to `total`: what phases with a number of steps leave is shared by largest remainder,
/// and a share above 0 gets at least one step where there are enough.
fn divide(total: u64, lengths: &[Length]) -> Result<Vec<u64>, PhaseError> {
    let fixed = lengths.iter().map(|length| match length {
        Length::Steps(steps) => *steps,
        Length::Share(_) => 0,
    });
    let steps = fixed.clone().fold(0_u64, u64::saturating_add);
    let rest = total.checked_sub(steps).ok_or(PhaseError::TooLong { steps, total })?;
    let shares: Vec<f64> = lengths
        .iter()
        .map(|length| match length {
            Length::Share(share) if share.is_finite() && *share > 0.0 => *share,
            _ => 0.0,
        })
        .collect();
    if rest > 0 && shares.iter().all(|share| *share == 0.0) {
        return Err(PhaseError::TooShort { steps, total });
    }
    Ok(fixed.zip(share_out(rest, &shares)).map(|(fixed, shared)| fixed + shared).collect())
}

/// `total` in proportion to `shares`, of which one is above 0 unless `total` is 0.
fn share_out(total: u64, shares: &[f64]) -> Vec<u64> {
    let sum: f64 = shares.iter().sum();
    let mut left = total;
    let mut parts: Vec<Part> = shares
        .iter()
        .map(|share| {
            let ideal = if sum > 0.0 { total as f64 * (share / sum) } else { 0.0 };
            // Rounding of large numbers must not hand out more than there is.
            let steps = (ideal.floor() as u64).min(left);
            left -= steps;
            Part { takes_part: *share > 0.0, remainder: ideal.fract(), steps }
        })
        .collect();

    let mut by_remainder: Vec<&mut Part> = parts.iter_mut().filter(|part| part.takes_part).collect();
    by_remainder.sort_by(|a, b| b.remainder.total_cmp(&a.remainder));
    for part in &mut by_remainder {
        let one = left.min(1);
        part.steps += one;
        left -= one;
    }
    if let Some(first) = by_remainder.first_mut() {
        first.steps += left;
    }

    let is_empty = |part: &Part| part.takes_part && part.steps == 0;
    for _ in 0..parts.iter().filter(|part| is_empty(part)).count() {
        let longest = parts.iter_mut().rev().max_by_key(|part| part.steps);
        let Some(longest) = longest.filter(|part| part.steps > 1) else { break };
        longest.steps -= 1;
        if let Some(empty) = parts.iter_mut().find(|part| is_empty(part)) {
            empty.steps = 1;
        }
    }
    parts.into_iter().map(|part| part.steps).collect()
}

/// A share in the making.
struct Part {
    takes_part: bool,
    remainder: f64,
    steps: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phases(fracs: &[f64], steps: &[Option<u64>], total: u64) -> Result<Vec<Range<u64>>, PhaseError> {
        let list = steps.iter().enumerate().map(|(index, steps)| PhaseConfig {
            name: index.to_string(),
            steps: *steps,
            ..PhaseConfig::default()
        });
        let config = PhasesConfig { enabled: true, fracs: fracs.to_vec(), list: list.collect() };
        Ok(Phases::new(&config, total)?.iter().map(|phase| phase.steps.clone()).collect())
    }

    #[test]
    fn fractions_become_ranges_that_add_up() {
        let shared = |fracs: &[f64], total| phases(fracs, &vec![None; fracs.len()], total).unwrap();
        assert_eq!(shared(&[0.2, 0.6, 0.2], 50), [0..10, 10..40, 40..50]);
        // 2.2, 6.6 and 2.2: the largest remainder gets the step that is left.
        assert_eq!(shared(&[0.2, 0.6, 0.2], 11), [0..2, 2..9, 9..11]);
        assert_eq!(shared(&[0.01, 0.98, 0.01], 10), [0..1, 1..9, 9..10]);
        assert_eq!(shared(&[0.5, 0.0, 0.5], 3), [0..2, 2..2, 2..3]);
        assert_eq!(shared(&[0.2, 0.6, 0.2], 2), [0..1, 1..2, 2..2]);
        assert_eq!(shared(&[0.5, 0.5], 0), [0..0, 0..0]);
    }

    #[test]
    fn a_number_of_steps_goes_before_fractions() {
        assert_eq!(phases(&[0.0, 0.5, 0.5], &[Some(4), None, None], 10), Ok(vec![0..4, 4..7, 7..10]));
        assert_eq!(phases(&[], &[Some(4), Some(6)], 10), Ok(vec![0..4, 4..10]));
        let too_long = phases(&[0.0, 1.0], &[Some(11), None], 10).unwrap_err();
        assert_eq!(too_long.to_string(), "the phases' `steps` add up to 11, but the run has 10");
        let too_short = phases(&[], &[Some(4), Some(4)], 10).unwrap_err();
        assert_eq!(
            too_short.to_string(),
            "the phases' `steps` add up to 8, and 2 steps of the run are in no phase"
        );
    }

    #[test]
    fn without_phases_the_run_is_one_stage() {
        let whole = Phases::new(&PhasesConfig::default(), 7).unwrap();
        assert_eq!(whole, Phases::whole(7));
        assert!(!whole.is_staged());
        assert_eq!((whole.index_of(0), whole.index_of(99)), (0, 0));
        let freezing = PhaseConfig { freeze: vec!["backbone".into()], ..PhaseConfig::default() };
        let one = PhasesConfig { enabled: true, fracs: vec![1.0], list: vec![freezing] };
        assert!(Phases::new(&one, 7).unwrap().is_staged());
    }

    proptest! {
        #[test]
        fn parts_cover_the_run_in_proportion(
            others in prop::collection::vec(prop_oneof![Just(0.0), 0.001_f64..1.0], 0..6),
            last in 0.001_f64..1.0,
            total in prop_oneof![0_u64..40, 0_u64..1_000_000_000],
        ) {
            let fracs = [others, vec![last]].concat();
            let sum: f64 = fracs.iter().sum();
            let ranges = phases(&fracs, &vec![None; fracs.len()], total).unwrap();
            let positive = fracs.iter().filter(|frac| **frac > 0.0).count() as u64;
            let mut end = 0;
            for (range, frac) in ranges.iter().zip(&fracs) {
                prop_assert_eq!(range.start, end);
                end = range.end;
                let len = range.end - range.start;
                if *frac == 0.0 {
                    prop_assert_eq!(len, 0);
                } else {
                    prop_assert!(len > 0 || total < positive);
                    // Off by less than a step, but for the steps that guarantee one to each.
                    prop_assert!((len as f64 - total as f64 * frac / sum).abs() <= positive as f64 + 1e-3);
                }
            }
            prop_assert_eq!(end, total);
        }

        #[test]
        fn any_lengths_add_up_or_are_refused(
            lengths in prop::collection::vec((prop::option::of(0_u64..30), 0.0_f64..1.0), 1..6),
            total in prop_oneof![0_u64..60, Just(u64::MAX), Just(1_u64 << 60)],
        ) {
            let (steps, fracs): (Vec<_>, Vec<_>) = lengths.iter().copied().unzip();
            let fixed: u64 = steps.iter().flatten().sum();
            match phases(&fracs, &steps, total) {
                Ok(ranges) => {
                    let lens = ranges.iter().map(|range| range.end - range.start);
                    prop_assert_eq!(lens.clone().sum::<u64>(), total);
                    for (len, steps) in lens.zip(&steps) {
                        prop_assert!(steps.is_none_or(|steps| steps == len));
                    }
                }
                Err(PhaseError::TooLong { .. }) => prop_assert!(fixed > total),
                Err(PhaseError::TooShort { .. }) => prop_assert!(fixed < total),
            }
        }

        #[test]
        fn every_step_is_in_one_phase(
            fracs in prop::collection::vec(0.0_f64..1.0, 1..6),
            total in 1_u64..80,
        ) {
            prop_assume!(fracs.iter().sum::<f64>() > 0.0);
            let list = vec![PhaseConfig::default(); fracs.len()];
            let phases = Phases::new(&PhasesConfig { enabled: true, fracs, list }, total).unwrap();
            let mut last = 0;
            for step in 0..total + 5 {
                let index = phases.index_of(step);
                prop_assert!(index >= last);
                last = index;
                let phase = phases.get(index).unwrap();
                prop_assert!(phase.steps.contains(&step) || (step >= total && phase.steps.end == total));
            }
        }
    }
}
