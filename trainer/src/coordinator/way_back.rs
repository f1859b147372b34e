//! What a run goes back to where an alarm takes it back: the newest checkpoint of weights that its rule has found healthy.

use std::collections::BTreeMap;

use dtrain_configs::schema::{Alarm, AlarmsConfig};
use serde::{Deserialize, Serialize};

use crate::alarms::{AlarmStates, Judgement};

/// Part of every checkpoint of a run that may go back. Checkpoints that a stop request asked for are no part of it: a run that
/// was interrupted goes back to where the undisturbed one does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// Steps of the durable checkpoints that the run's own settings asked for, in order, whether they still exist or not.
    saved_at: Vec<u64>,
    /// Step at which each rule was last quiet.
    quiet_at: BTreeMap<Alarm, u64>,
}

impl WayBack {
    /// Of a run whose checkpoint of `step` is its first that is known.
    pub fn from_checkpoint(step: u64) -> Self {
        Self { saved_at: vec![step], ..Self::default() }
    }

    /// There is a checkpoint of `step` now.
    pub(super) fn saved(&mut self, step: u64) {
        if self.last_saved_at() != Some(step) {
            self.saved_at.push(step);
        }
    }

    /// Step of the newest checkpoint.
    pub(super) fn last_saved_at(&self) -> Option<u64> {
        self.saved_at.last().copied()
    }

    /// Remembers where a rule was quiet.
    pub(super) fn take_in(&mut self, judgement: &Judgement) {
        if judgement.evidence.is_none() {
            let at = self.quiet_at.entry(judgement.alarm).or_default();
            *at = judgement.step.max(*at);
        }
    }

    /// Step of the newest checkpoint of weights that count as healthy, given that evidence began at `since`: up to where the
    /// rule was last quiet, or to the step before where it was never judged earlier. `None`: there is no such checkpoint.
    pub(super) fn newest_healthy(&self, alarm: Alarm, since: u64) -> Option<u64> {
        let before = since.saturating_sub(1);
        self.newest_up_to(self.quiet_at.get(&alarm).map_or(before, |at| before.min(*at)))
    }

    /// Steps of the checkpoints that must stay after `done` steps, for the run to go back to.
    pub fn keeps(&self, alarms: &AlarmsConfig, states: &AlarmStates, done: u64) -> Vec<u64> {
        let needed = alarms.rolling_back().filter_map(|alarm| match states.evidence_since(alarm) {
            Some(since) => self.newest_healthy(alarm, since),
            // Where it was never judged, evidence may begin here.
            None => self.newest_up_to(*self.quiet_at.get(&alarm).unwrap_or(&done.saturating_sub(1))),
        });
        needed.collect()
    }

    fn newest_up_to(&self, step: u64) -> Option<u64> {
        self.saved_at.iter().rfind(|&&at| at <= step).copied()
    }
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::{AlarmAction, AlarmActions};

    use super::*;

    const ALARM: Alarm = Alarm::Uniformity;

    fn judgement(step: u64, is_evidence: bool) -> Judgement {
        Judgement { alarm: ALARM, step, evidence: is_evidence.then(|| "so".into()) }
    }

    #[test]
    fn a_checkpoint_between_the_last_quiet_judgement_and_the_evidence_does_not_count() {
        let mut back = WayBack::default();
        back.take_in(&judgement(20, false));
        back.take_in(&judgement(40, true));
        assert_eq!(back.newest_healthy(ALARM, 40), None, "nothing was saved");
        back.saved(30);
        assert_eq!(back.newest_healthy(ALARM, 40), None, "nobody knows whether step 30 was healthy");
        assert_eq!(
            WayBack { saved_at: vec![10, 20, 30], ..back.clone() }.newest_healthy(ALARM, 40),
            Some(20)
        );
        // Of an alarm that was never judged before only the step of the evidence is known.
        assert_eq!(back.newest_healthy(Alarm::LinearGap, 40), Some(30));
        assert_eq!(back.newest_healthy(Alarm::LinearGap, 30), None);
    }

    #[test]
    fn what_may_be_gone_back_to_is_kept() {
        let on = AlarmActions { uniformity: AlarmAction::Rollback, ..AlarmActions::default() };
        let config = AlarmsConfig { on, ..AlarmsConfig::default() };
        let (mut back, mut states) = (WayBack::default(), AlarmStates::default());
        let mut judge = |step, is_evidence| {
            back.take_in(&judgement(step, is_evidence));
            states.take_in(&judgement(step, is_evidence), 3);
            back.saved(step);
            (back.keeps(&config, &states, step), back.keeps(&AlarmsConfig::default(), &states, step))
        };
        assert_eq!(judge(10, true), (vec![], vec![]), "nothing was saved before");
        assert_eq!(judge(20, false), (vec![20], vec![]));
        assert_eq!(judge(30, true), (vec![20], vec![]));
        assert_eq!(judge(40, true), (vec![20], vec![]));
        assert_eq!(judge(50, false), (vec![50], vec![]));
        let unjudged = WayBack { saved_at: vec![10, 20], ..WayBack::default() };
        assert_eq!(unjudged.keeps(&config, &AlarmStates::default(), 20), [10]);
        assert_eq!(unjudged.keeps(&config, &AlarmStates::default(), 25), [20]);
    }
}
