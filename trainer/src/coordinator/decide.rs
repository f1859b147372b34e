//! From reports to the next directive.

use dtrain_configs::schema::AlarmAction;

use super::{
    Cause, CoordinatorState, Directive, Interrupt, Report, RunPlan, SaveKind, StepPlan, StopReason, WayBack,
};
use crate::alarms::{AlarmEvent, AlarmStates};

/// Decides what all ranks do next.
#[derive(Debug, Clone)]
pub struct Coordinator {
    plan: RunPlan,
    state: CoordinatorState,
    alarms: AlarmStates,
    way_back: WayBack,
    /// Of alarms, until they are told.
    events: Vec<AlarmEvent>,
    ending: Option<StopReason>,
}

impl Coordinator {
    /// At the beginning of a run, or where a checkpoint left off.
    pub fn new(plan: RunPlan, state: CoordinatorState) -> Self {
        let (alarms, way_back) = Default::default();
        Self { plan, state, alarms, way_back, events: Vec::new(), ending: None }
    }

    /// With alarms as a checkpoint has them.
    #[must_use]
    pub fn with_alarms(self, alarms: AlarmStates, way_back: WayBack) -> Self {
        Self { alarms, way_back, ..self }
    }

    /// Alarms as a checkpoint keeps them.
    pub fn alarms(&self) -> &AlarmStates {
        &self.alarms
    }

    /// What the run may go back to, as a checkpoint keeps it.
    pub fn way_back(&self) -> &WayBack {
        &self.way_back
    }

    /// What has changed about alarms since the last call.
    pub fn take_alarm_events(&mut self) -> Vec<AlarmEvent> {
        std::mem::take(&mut self.events)
    }

    /// What a checkpoint keeps.
    pub fn state(&self) -> &CoordinatorState {
        &self.state
    }

    /// What was known before the first step.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// Why no step will follow; `None` while training goes on.
    pub fn ending(&self) -> Option<&StopReason> {
        self.ending.as_ref()
    }

    /// The next thing that all ranks do, given one report per rank in rank order.
    pub fn next(&mut self, reports: &[Report]) -> Directive {
        self.absorb(reports);
        self.ending = self.reason_to_end(reports.iter().filter_map(|report| report.interrupt).max());
        let step = self.state.step;
        if let Some(last) = self.due_evaluation() {
            self.state.evaluated_at = Some(step);
            if last {
                self.state.concluded_at = Some(step);
            }
            return Directive::Evaluate { step, last };
        }
        if self.save_is_due() {
            self.state.saved_at = Some(step);
            // Without the stop request, if that is why the run ends, the same checkpoint or none.
            if !self.ends_on_request() || self.asks_for_save() {
                self.way_back.saved(step);
            }
            let kind = if self.ending.is_some() { SaveKind::Final } else { SaveKind::Periodic };
            return Directive::Save { step, kind };
        }
        if self.local_save_is_due() {
            self.state.saved_locally_at = Some(step);
            return Directive::Save { step, kind: SaveKind::Local };
        }
        match &self.ending {
            Some(reason) => Directive::Stop(reason.clone()),
            None => Directive::Step(self.next_step(reports)),
        }
    }

    /// Rank 0 speaks of what all ranks know alike: the last step and the evaluation.
    fn absorb(&mut self, reports: &[Report]) {
        let Some(first) = reports.first() else { return };
        if let Some(finite) = first.last_step_finite {
            self.state.count_step(finite);
        }
        if let Some(value) = first.monitored
            && self.state.remember_best(value, self.plan.monitor_mode)
        {
            // A checkpoint of this step was saved for a stop request, before there was a value that tells how good it is.
            self.state.saved_at = self.state.saved_at.filter(|at| *at != self.state.step);
        }
        if let (Some(value), Some(rule)) = (first.watched, &self.plan.early_stop) {
            let step = self.state.step;
            let phase = self.plan.course.index_of(step.saturating_sub(1));
            rule.judge(&mut self.state.judged, value, step, phase);
        }
        for judgement in &first.alarms {
            let patience = self.plan.alarms.patience(judgement.alarm);
            self.way_back.take_in(judgement);
            self.events.extend(self.alarms.take_in(judgement, patience));
        }
    }

    /// The order of precedence is told at [`super`].
    fn reason_to_end(&self, request: Option<Interrupt>) -> Option<StopReason> {
        if self.state.nonfinite_in_a_row >= self.plan.max_nonfinite_steps.max(1) {
            return Some(StopReason::NonFinite);
        }
        match (&self.ending, request) {
            (Some(StopReason::Requeue), Some(Interrupt::User)) => Some(StopReason::Interrupted),
            (Some(reason), _) => Some(reason.clone()),
            (None, Some(request)) => Some(request.into()),
            (None, None) if self.state.step >= self.plan.total_steps => Some(StopReason::Finished),
            (None, None) if self.out_of_patience() => Some(StopReason::EarlyStopped),
            (None, None) => self.end_by_alarm(),
        }
    }

    fn out_of_patience(&self) -> bool {
        self.plan.early_stop.is_some_and(|rule| rule.is_exhausted(&self.state.judged))
    }

    /// An alarm that stops the run is stronger than one that takes it back, which stops it where there is no way back.
    fn end_by_alarm(&self) -> Option<StopReason> {
        let raised_for =
            |action| self.alarms.raised().filter(move |(alarm, _)| self.plan.alarms.action(*alarm) == action);
        if raised_for(AlarmAction::Stop).next().is_some() {
            return Some(StopReason::Alarm);
        }
        let (alarm, raised) = raised_for(AlarmAction::Rollback).next()?;
        let to_step = self.way_back.newest_healthy(alarm, raised.since);
        Some(to_step.map_or(StopReason::Alarm, |to_step| {
            StopReason::Rollback(Cause { alarm, since: raised.since, step: self.state.step, to_step })
        }))
    }

    /// Whether an evaluation is due, and whether it is the one that ends the run.
    fn due_evaluation(&self) -> Option<bool> {
        if self.plan.eval_every_epochs == 0 {
            return None;
        }
        let step = self.state.step;
        match &self.ending {
            Some(StopReason::Finished | StopReason::EarlyStopped | StopReason::Alarm) => {
                (self.state.concluded_at != Some(step)).then_some(true)
            }
            Some(_) => None,
            None => {
                let at_epoch = self.plan.is_epoch_end(step)
                    && self.plan.epoch_of(step).is_multiple_of(self.plan.eval_every_epochs);
                let due = at_epoch || (self.plan.eval_at_start && step == 0);
                (due && self.state.evaluated_at != Some(step)).then_some(false)
            }
        }
    }

    fn save_is_due(&self) -> bool {
        let step = self.state.step;
        if self.plan.save_every_steps == Some(0) || self.state.saved_at == Some(step) {
            return false;
        }
        match &self.ending {
            // Weights that became non-finite are not worth a checkpoint: the last good one stays the newest.
            Some(StopReason::NonFinite | StopReason::Rollback(_)) => false,
            Some(_) => step > 0,
            None => self.asks_for_save(),
        }
    }

    /// Whether interval or best value ask for a checkpoint here. Those of stop requests do not count as the last one, so that
    /// what follows is saved as in a run without them.
    fn asks_for_save(&self) -> bool {
        let step = self.state.step;
        let asked_for = self.plan.last_save_asked_for(step) > self.way_back.last_saved_at().unwrap_or(0);
        self.may_save() && (asked_for || self.is_best(step))
    }

    fn ends_on_request(&self) -> bool {
        matches!(self.ending, Some(StopReason::Interrupted | StopReason::Requeue))
    }

    /// Whether the weights after `step` are the best so far: they are saved, whatever the interval.
    fn is_best(&self, step: u64) -> bool {
        step > 0 && self.state.best.is_some_and(|(_, at)| at == step)
    }

    /// Steps that are skipped in a row may be the first sign of weights that are lost: what was saved before stays the
    /// newest until a step counts again, and what was due meanwhile is saved then.
    fn may_save(&self) -> bool {
        self.state.nonfinite_in_a_row == 0
    }

    /// Between two durable checkpoints; never at a step that has one, and never at the end, which is durable.
    fn local_save_is_due(&self) -> bool {
        let Some(every) = self.plan.local_save_every_steps.filter(|&every| every > 0) else { return false };
        let step = self.state.step;
        let saved = [self.state.saved_at, self.state.saved_locally_at].contains(&Some(step));
        self.ending.is_none() && self.may_save() && !saved && step > 0 && step.is_multiple_of(every)
    }

    fn next_step(&mut self, reports: &[Report]) -> StepPlan {
        let counts: Vec<u32> = reports.iter().map(|report| report.ready_samples).collect();
        let global_samples = counts.iter().map(|&n| u64::from(n)).sum();
        let step = self.state.step;
        self.state.step += 1;
        self.state.samples_seen += global_samples;
        StepPlan {
            step,
            epoch: self.plan.epoch_of(step),
            phase: self.plan.course.index_of(step),
            counts,
            global_samples,
        }
    }
}

#[cfg(test)]
mod tests;
