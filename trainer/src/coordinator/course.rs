//! The lengths that a run's schedule and phases are computed for: its own from beginning to end, or, where it went on with
//! another length, that of then from a step on. A pure function of the settings, so that a run that goes on finds itself on
//! the course that it was on.

use dtrain_configs::schema::{PhaseConfig, PhasesConfig};
use serde::{Deserialize, Serialize};

use super::phases::{PhaseError, Phases};

/// A stretch of the course.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    /// First step that it holds for.
    pub from_step: u64,
    /// Steps that the schedule is computed for, counted from the beginning of the run.
    pub total_steps: u64,
    /// The phases of a run of that length.
    pub phases: Phases,
}

/// The legs of a run: the first begins with it, each holds up to the next, and all have the same phases of other lengths.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    first: Leg,
    later: Vec<Leg>,
}

impl Course {
    /// One length, and one phase that trains everything.
    pub fn whole(total_steps: u64) -> Self {
        Self::of_phases(Phases::whole(total_steps), total_steps)
    }

    /// One length.
    pub fn of_phases(phases: Phases, total_steps: u64) -> Self {
        Self { first: Leg { from_step: 0, total_steps, phases }, later: Vec::new() }
    }

    /// `first` steps, and each of `later` from its step on.
    ///
    /// # Errors
    /// The numbers of steps of the phases do not fit one of the lengths.
    pub fn new(config: &PhasesConfig, first: u64, later: &[(u64, u64)]) -> Result<Self, PhaseError> {
        let leg = |from_step, total_steps| {
            Ok(Leg { from_step, total_steps, phases: Phases::new(config, total_steps)? })
        };
        let later = later.iter().map(|&(from_step, total_steps)| leg(from_step, total_steps));
        Ok(Self { first: leg(0, first)?, later: later.collect::<Result<_, _>>()? })
    }

    /// The leg of a step.
    pub fn at(&self, step: u64) -> &Leg {
        self.later.iter().rev().find(|leg| leg.from_step <= step).unwrap_or(&self.first)
    }

    /// The one that the run ends on.
    pub fn last(&self) -> &Leg {
        self.later.last().unwrap_or(&self.first)
    }

    /// Index of the phase of a step.
    pub fn index_of(&self, step: u64) -> u32 {
        self.at(step).phases.index_of(step)
    }

    /// What is trained in the phase with that index, and how.
    pub fn phase(&self, index: u32) -> Option<&PhaseConfig> {
        self.first.phases.get(index).map(|phase| &phase.config)
    }

    /// Whether there is more than one stage, or one that leaves something out.
    pub fn is_staged(&self) -> bool {
        self.first.phases.is_staged()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves() -> PhasesConfig {
        let phase = |name: &str| PhaseConfig { name: name.into(), ..PhaseConfig::default() };
        PhasesConfig { enabled: true, fracs: vec![0.5, 0.5], list: vec![phase("a"), phase("b")] }
    }

    #[test]
    fn each_leg_holds_from_its_step_on() {
        let course = Course::new(&halves(), 10, &[(8, 40), (30, 60)]).unwrap();
        let lengths = [0, 7, 8, 29, 30, 99].map(|step| course.at(step).total_steps);
        assert_eq!(lengths, [10, 10, 40, 40, 60, 60]);
        assert_eq!(course.last().total_steps, 60);
        // The second half had begun; of the longer run the first half is not over yet.
        let phases = [4, 5, 7, 8, 19, 20, 29, 30].map(|step| course.index_of(step));
        assert_eq!(phases, [0, 1, 1, 0, 0, 1, 1, 1]);
        assert!(course.is_staged());
    }

    #[test]
    fn the_last_phase_goes_on_beyond_the_length_that_it_was_made_for() {
        let course = Course::new(&halves(), 10, &[]).unwrap();
        assert_eq!((course.index_of(9), course.index_of(10), course.index_of(500)), (1, 1, 1));
        assert_eq!(course.phase(1).map(|phase| phase.name.as_str()), Some("b"));
        assert_eq!(course.phase(2), None);
    }

    #[test]
    fn a_length_that_the_phases_do_not_fit_is_refused() {
        let mut phases = halves();
        phases.list.iter_mut().for_each(|phase| phase.steps = Some(5));
        assert!(Course::new(&phases, 10, &[]).is_ok());
        let refused = Course::new(&phases, 10, &[(8, 40)]).unwrap_err();
        assert_eq!(refused, PhaseError::TooShort { steps: 10, total: 40 });
    }
}
