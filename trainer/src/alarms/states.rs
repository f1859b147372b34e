//! From evidence in a row to an alarm that is raised once, until it clears.

use std::collections::BTreeMap;

use dtrain_configs::schema::Alarm;
use serde::{Deserialize, Serialize};

/// What a rule says at one point of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Whose rule.
    pub alarm: Alarm,
    /// Optimizer steps done.
    pub step: u64,
    /// In words; `None`: there is none, and the alarm clears.
    pub evidence: Option<String>,
}

/// An alarm that is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// Optimizer steps done when it was raised.
    pub step: u64,
    /// When the evidence began.
    pub since: u64,
    /// The evidence that raised it.
    pub evidence: String,
}

/// A change of an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlarmEvent {
    /// Which.
    pub alarm: Alarm,
    /// Optimizer steps done.
    pub step: u64,
    /// `None`: it has cleared.
    pub raised: Option<Raised>,
}

/// All alarms of a run; part of every checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmStates(BTreeMap<Alarm, State>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    /// Judgements in a row that were evidence.
    in_a_row: u64,
    /// Step of the first of them.
    since: u64,
    /// Step of the last judgement: a step that is done again after a resume counts once.
    judged_at: Option<u64>,
    raised: Option<Raised>,
}

impl AlarmStates {
    /// Takes a judgement in; what it changes. `patience`: evidence in a row that raises the alarm.
    pub fn take_in(&mut self, judgement: &Judgement, patience: u64) -> Option<AlarmEvent> {
        let Judgement { alarm, step, evidence } = judgement;
        let state = self.0.entry(*alarm).or_default();
        if state.judged_at.is_some_and(|at| at >= *step) {
            return None;
        }
        state.judged_at = Some(*step);
        let Some(evidence) = evidence else {
            let was_raised = state.raised.take().is_some();
            state.in_a_row = 0;
            return was_raised.then_some(AlarmEvent { alarm: *alarm, step: *step, raised: None });
        };
        if state.in_a_row == 0 {
            state.since = *step;
        }
        state.in_a_row = state.in_a_row.saturating_add(1);
        if state.raised.is_some() || state.in_a_row < patience {
            return None;
        }
        let raised = Raised { step: *step, since: state.since, evidence: evidence.clone() };
        state.raised = Some(raised.clone());
        Some(AlarmEvent { alarm: *alarm, step: *step, raised: Some(raised) })
    }

    /// Step of the first of the last judgements in a row that are evidence; `None` where the last one was not.
    pub fn evidence_since(&self, alarm: Alarm) -> Option<u64> {
        self.0.get(&alarm).filter(|state| state.in_a_row > 0).map(|state| state.since)
    }

    /// The alarms that are on.
    pub fn raised(&self) -> impl Iterator<Item = (Alarm, &Raised)> {
        self.0.iter().filter_map(|(alarm, state)| Some((*alarm, state.raised.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(step: u64, is_evidence: bool) -> Judgement {
        let evidence = is_evidence.then(|| format!("at {step}"));
        Judgement { alarm: Alarm::Uniformity, step, evidence }
    }

    #[test]
    fn an_alarm_is_raised_once_after_enough_evidence_in_a_row_and_clears() {
        let mut states = AlarmStates::default();
        let mut events = Vec::new();
        let script =
            [(1, true), (2, false), (3, true), (4, true), (5, true), (6, false), (7, false), (8, true)];
        for (step, is_evidence) in script {
            events.extend(states.take_in(&says(step, is_evidence), 2));
        }
        let raised = Raised { step: 4, since: 3, evidence: "at 4".into() };
        let event = |step, raised| AlarmEvent { alarm: Alarm::Uniformity, step, raised };
        assert_eq!(events, [event(4, Some(raised)), event(6, None)]);
        assert_eq!(states.raised().count(), 0);
        assert!(states.take_in(&says(9, true), 2).is_some(), "and again");
        assert_eq!(
            states.raised().map(|(alarm, raised)| (alarm, raised.since)).last(),
            Some((Alarm::Uniformity, 8))
        );
    }

    #[test]
    fn a_step_counts_once_and_alarms_do_not_mix() {
        let mut states = AlarmStates::default();
        for _ in 0..5 {
            assert_eq!(states.take_in(&says(3, true), 2), None);
        }
        let other = Judgement { alarm: Alarm::LinearGap, ..says(4, true) };
        assert_eq!(states.take_in(&other, 2), None);
        assert!(states.take_in(&other, 1).is_none(), "the same step");
        assert!(states.take_in(&says(4, true), 2).is_some());
        assert_eq!(states.raised().count(), 1);
    }
}
