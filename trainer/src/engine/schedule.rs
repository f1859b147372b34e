//! What the settings schedule, at a step: a function of settings and step alone, so that all ranks agree and a run that goes on
//! finds the values that it would have had.

use std::ops::Range;

use dtrain_configs::schema::{
    GroupConfig, GroupSchedule, PhaseConfig, PhaseSchedule, Position, Scheduled, ScheduledSetting,
    ScheduledValues,
};

use super::EngineSettings;
use super::optimizer::Rates;
use crate::coordinator::{Course, Phase};

impl EngineSettings {
    /// Learning rate of what is in no group, on a course that may be another one than the run's.
    pub fn lr_on(&self, course: &Course, step: u64) -> f64 {
        self.lr_of(None, course, step)
    }

    /// Learning rates of the groups that have one of their own, with their names.
    pub fn group_lrs(&self, step: u64) -> impl Iterator<Item = (&str, f64)> {
        let own = self.optimizer.groups().iter().filter(|group| group.has_own_lr());
        own.map(move |group| (group.name.as_str(), self.lr_of(Some(group), &self.course, step)))
    }

    /// How parameters move in a step: what is in no group first, then each of `optimizer.groups`.
    pub fn rates_at(&self, step: u64) -> Vec<Rates> {
        let at = self.position(&self.course, step);
        let rates_of = |group: Option<&GroupConfig>| Rates {
            lr: self.lr_of(group, &self.course, step),
            weight_decay: group
                .and_then(|group| group.weight_decay)
                .unwrap_or_else(|| self.optimizer.weight_decay())
                .at(at),
            momentum: group
                .and_then(|group| group.momentum)
                .unwrap_or_else(|| self.optimizer.momentum())
                .at(at),
        };
        std::iter::once(None).chain(self.optimizer.groups().iter().map(Some)).map(rates_of).collect()
    }

    /// Which of `optimizer.groups` are frozen in a step by a schedule of their own.
    pub fn frozen_groups(&self, step: u64) -> Vec<bool> {
        let at = self.position(&self.course, step);
        self.optimizer.groups().iter().map(|group| group.is_frozen(at)).collect()
    }

    /// What the method changes over the run, in a step.
    pub fn scheduled_values(&self, step: u64) -> ScheduledValues {
        let value =
            |own: &ScheduledSetting| (own.name.to_owned(), self.value_at(own.name, &own.schedule, step));
        self.scheduled.iter().map(value).collect()
    }

    /// What the method calls `name` in a step: by the phase's schedule, else by its own.
    pub fn value_at(&self, name: &str, own: &Scheduled, step: u64) -> f64 {
        match self.phase_at(&self.course, step).and_then(|phase| phase.config.values.get(name)) {
            Some(of_phase) => of_phase.at(self.position_in_phase(&self.course, step)),
            None => own.at(self.position(&self.course, step)),
        }
    }

    /// Where the run is, as schedules over all of it count.
    pub(super) fn position(&self, course: &Course, step: u64) -> Position {
        Position { step, steps_per_epoch: self.steps_per_epoch, total_steps: course.at(step).total_steps }
    }

    /// Where the run is, as the learning rate and what a phase sets itself count: within the phase, where it starts its
    /// schedules anew.
    pub(super) fn position_in_phase(&self, course: &Course, step: u64) -> Position {
        let whole = self.position(course, step);
        self.phase_at(course, step).map_or(whole, |phase| phase_position(&phase.config, &phase.steps, whole))
    }

    fn phase_at<'a>(&self, course: &'a Course, step: u64) -> Option<&'a Phase> {
        let phases = &course.at(step).phases;
        phases.get(phases.index_of(step))
    }

    /// Learning rate of a group, or of what is in none.
    fn lr_of(&self, group: Option<&GroupConfig>, course: &Course, step: u64) -> f64 {
        let base = group.and_then(|group| group.lr).unwrap_or_else(|| self.optimizer.lr());
        let peak = self.schedule.peak_lr(base, self.global_batch);
        let lr = match group.map(|group| group.schedule) {
            Some(GroupSchedule::Constant) => peak,
            Some(GroupSchedule::Shared) | None => {
                self.schedule.lr_at(peak, self.position_in_phase(course, step))
            }
        };
        let lr = self.phase_at(course, step).map_or(lr, |phase| phase.config.lr_scale * lr);
        group.map_or(lr, |group| lr * group.lr_scale.at(self.position(course, step)))
    }
}

/// A position as the schedules of a phase count it, whose steps are `steps`: within the phase, where it starts them anew.
pub fn phase_position(phase: &PhaseConfig, steps: &Range<u64>, whole: Position) -> Position {
    match phase.schedule {
        PhaseSchedule::Continue => whole,
        PhaseSchedule::Restart => Position {
            step: whole.step.saturating_sub(steps.start),
            total_steps: steps.end.saturating_sub(steps.start),
            ..whole
        },
    }
}
