//! What a run goes back to where an alarm takes it back: the newest checkpoint of weights that its rule has found healthy.

use std::collections::BTreeMap;

use dtrain_configs::schema::{Alarm, AlarmsConfig};
use serde::{Deserialize, Serialize};

use crate::alarms::{AlarmStates, Judgement};

/// Part of every checkpoint of a run that may go back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WayBack {
    /// Step of the first durable checkpoint.
    first_saved_at: Option<u64>,
    /// Step at which each rule was last quiet.
    quiet_at: BTreeMap<Alarm, u64>,
}

impl WayBack {
    /// Of a run whose checkpoint of `step` is its first that is known.
    pub fn from_checkpoint(step: u64) -> Self {
        Self { first_saved_at: Some(step), ..Self::default() }
    }

    /// There is a checkpoint of `step` now.
    pub(super) fn saved(&mut self, step: u64) {
        self.first_saved_at.get_or_insert(step);
    }

    /// Remembers where a rule was quiet.
    pub(super) fn take_in(&mut self, judgement: &Judgement) {
        if judgement.evidence.is_none() {
            let at = self.quiet_at.entry(judgement.alarm).or_default();
            *at = judgement.step.max(*at);
        }
    }

    /// The last step whose weights count as healthy, given that evidence began at `since`: where the rule was last quiet, or
    /// the step before where it was never judged earlier. `None`: there is no checkpoint from before.
    pub(super) fn last_healthy(&self, alarm: Alarm, since: u64) -> Option<u64> {
        let healthy = self.healthy_until(alarm, since);
        self.first_saved_at.is_some_and(|first| first <= healthy).then_some(healthy)
    }

    /// Steps of which the newest checkpoint up to each must stay, for the run to go back to.
    pub fn keeps(&self, alarms: &AlarmsConfig, states: &AlarmStates) -> Vec<u64> {
        let needed = alarms.rolling_back().filter_map(|alarm| match states.evidence_since(alarm) {
            Some(since) => Some(self.healthy_until(alarm, since)),
            None => self.quiet_at.get(&alarm).copied(),
        });
        needed.collect()
    }

    fn healthy_until(&self, alarm: Alarm, since: u64) -> u64 {
        let before = since.saturating_sub(1);
        self.quiet_at.get(&alarm).map_or(before, |at| before.min(*at))
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
        assert_eq!(back.last_healthy(ALARM, 40), None, "nothing was saved");
        back.saved(30);
        assert_eq!(back.last_healthy(ALARM, 40), None, "nobody knows whether step 30 was healthy");
        assert_eq!(WayBack { first_saved_at: Some(20), ..back.clone() }.last_healthy(ALARM, 40), Some(20));
        // Of an alarm that was never judged before only the step of the evidence is known.
        assert_eq!(back.last_healthy(Alarm::LinearGap, 40), Some(39));
        assert_eq!(back.last_healthy(Alarm::LinearGap, 30), None);
    }

    #[test]
    fn what_may_be_gone_back_to_is_kept() {
        let on = AlarmActions { uniformity: AlarmAction::Rollback, ..AlarmActions::default() };
        let config = AlarmsConfig { on, ..AlarmsConfig::default() };
        let (mut back, mut states) = (WayBack::default(), AlarmStates::default());
        let mut judge = |step, is_evidence| {
            back.take_in(&judgement(step, is_evidence));
            states.take_in(&judgement(step, is_evidence), 3);
            (back.keeps(&config, &states), back.keeps(&AlarmsConfig::default(), &states))
        };
        assert_eq!(judge(10, true), (vec![9], vec![]), "judged for the first time");
        assert_eq!(judge(20, false), (vec![20], vec![]));
        assert_eq!(judge(30, true), (vec![20], vec![]));
        assert_eq!(judge(40, true), (vec![20], vec![]));
        assert_eq!(judge(50, false), (vec![50], vec![]));
    }
}
