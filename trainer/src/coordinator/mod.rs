//! Rank 0's decisions as a pure state machine: the reports of all ranks go in, one directive comes out and is heard by
//! all. No I/O and no clock, so that no sequence of reports can make ranks part ways.

mod directive;
mod report;

pub use directive::{Directive, SaveKind, StepPlan, StopReason};
pub use report::{Interrupt, Report};

use dtrain_configs::schema::MonitorMode;
use serde::{Deserialize, Serialize};

/// What is known before the first step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// Optimizer steps of one pass over the training set.
    pub steps_per_epoch: u64,
    /// Optimizer steps of the run.
    pub total_steps: u64,
    /// Steps between two checkpoints; `None` saves at each end of an epoch; `Some(0)` never saves.
    pub save_every_steps: Option<u64>,
    /// Steps between two checkpoints on the fast tier, besides the others; `None`: there is no such tier.
    pub local_save_every_steps: Option<u64>,
    /// Epochs between two evaluations; 0 switches evaluation off.
    pub eval_every_epochs: u64,
    /// Whether more of the monitored metric is better.
    pub monitor_mode: MonitorMode,
    /// Non-finite steps in a row that end the run.
    pub max_nonfinite_steps: u64,
}

/// What the coordinator remembers; part of every checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CoordinatorState {
    /// Optimizer steps done.
    pub step: u64,
    /// Samples that took part in them.
    pub samples_seen: u64,
    /// Step of the last evaluation.
    pub evaluated_at: Option<u64>,
    /// Step of the last checkpoint.
    pub saved_at: Option<u64>,
    /// Step of the last checkpoint on the fast tier.
    pub saved_locally_at: Option<u64>,
    /// Best monitored value and its step.
    pub best: Option<(f64, u64)>,
    /// Non-finite steps since the last finite one.
    pub nonfinite_in_a_row: u64,
    /// Non-finite steps of the whole run; they change no weight.
    pub nonfinite_steps: u64,
}

/// Decides what all ranks do next.
#[derive(Debug, Clone)]
pub struct Coordinator {
    plan: RunPlan,
    state: CoordinatorState,
    ending: Option<StopReason>,
}

impl Coordinator {
    /// At the beginning of a run, or where a checkpoint left off.
    pub fn new(plan: RunPlan, state: CoordinatorState) -> Self {
        Self { plan, state, ending: None }
    }

    /// What a checkpoint keeps.
    pub fn state(&self) -> &CoordinatorState {
        &self.state
    }

    /// What was known before the first step.
    pub fn plan(&self) -> &RunPlan {
        &self.plan
    }

    /// The next thing that all ranks do, given one report per rank in rank order.
    pub fn next(&mut self, reports: &[Report]) -> Directive {
        self.absorb(reports);
        if self.ending.is_none() && self.state.step >= self.plan.total_steps {
            self.ending = Some(StopReason::Finished);
        }
        if self.evaluation_is_due() {
            self.state.evaluated_at = Some(self.state.step);
            return Directive::Evaluate { step: self.state.step };
        }
        if self.save_is_due() {
            self.state.saved_at = Some(self.state.step);
            let kind = if self.ending.is_some() { SaveKind::Final } else { SaveKind::Periodic };
            return Directive::Save { step: self.state.step, kind };
        }
        if self.local_save_is_due() {
            self.state.saved_locally_at = Some(self.state.step);
            return Directive::Save { step: self.state.step, kind: SaveKind::Local };
        }
        if let Some(reason) = &self.ending {
            return Directive::Stop(reason.clone());
        }
        let counts: Vec<u32> = reports.iter().map(|r| r.ready_samples).collect();
        let samples = counts.iter().map(|&n| u64::from(n)).sum();
        let plan = StepPlan {
            step: self.state.step,
            epoch: self.state.step / self.plan.steps_per_epoch.max(1),
            counts,
            global_samples: samples,
        };
        self.state.step += 1;
        self.state.samples_seen += samples;
        Directive::Step(plan)
    }

    fn absorb(&mut self, reports: &[Report]) {
        if let Some(interrupt) = reports.iter().filter_map(|r| r.interrupt).max() {
            self.ending.get_or_insert(StopReason::from(interrupt));
        }
        match reports.first().and_then(|r| r.last_step_finite) {
            Some(true) => self.state.nonfinite_in_a_row = 0,
            Some(false) => {
                self.state.nonfinite_in_a_row += 1;
                self.state.nonfinite_steps += 1;
                if self.state.nonfinite_in_a_row >= self.plan.max_nonfinite_steps.max(1) {
                    self.ending.get_or_insert(StopReason::NonFinite);
                }
            }
            None => {}
        }
        if let Some(value) = reports.first().and_then(|r| r.monitored).filter(|v| v.is_finite()) {
            let better = match (self.state.best, self.plan.monitor_mode) {
                (None, _) => true,
                (Some((best, _)), MonitorMode::Max) => value > best,
                (Some((best, _)), MonitorMode::Min) => value < best,
            };
            if better {
                self.state.best = Some((value, self.state.step));
            }
        }
    }

    fn at_epoch_end(&self) -> bool {
        self.state.step > 0 && self.state.step.is_multiple_of(self.plan.steps_per_epoch.max(1))
    }

    fn evaluation_is_due(&self) -> bool {
        if self.plan.eval_every_epochs == 0 || self.state.evaluated_at == Some(self.state.step) {
            return false;
        }
        let epoch = self.state.step / self.plan.steps_per_epoch.max(1);
        match &self.ending {
            Some(StopReason::Finished) => true,
            Some(_) => false,
            None => self.at_epoch_end() && epoch.is_multiple_of(self.plan.eval_every_epochs),
        }
    }

    fn save_is_due(&self) -> bool {
        if self.plan.save_every_steps == Some(0) || self.state.saved_at == Some(self.state.step) {
            return false;
        }
        match (&self.ending, self.plan.save_every_steps) {
            // Weights that became non-finite are not worth a checkpoint: the last good one stays the newest.
            (Some(StopReason::NonFinite), _) => false,
            (Some(_), _) => self.state.step > 0,
            (None, Some(every)) => self.state.step > 0 && self.state.step.is_multiple_of(every),
            (None, None) => self.at_epoch_end(),
        }
    }

    /// Between two durable checkpoints; never at a step that has one, and never at the end, which is durable.
    fn local_save_is_due(&self) -> bool {
        let Some(every) = self.plan.local_save_every_steps.filter(|&every| every > 0) else { return false };
        let step = self.state.step;
        let saved = [self.state.saved_at, self.state.saved_locally_at].contains(&Some(step));
        self.ending.is_none() && !saved && step > 0 && step.is_multiple_of(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plan() -> RunPlan {
        RunPlan {
            steps_per_epoch: 4,
            total_steps: 10,
            save_every_steps: Some(3),
            local_save_every_steps: None,
            eval_every_epochs: 1,
            monitor_mode: MonitorMode::Max,
            max_nonfinite_steps: 10,
        }
    }

    fn ready(n: u32) -> Vec<Report> {
        vec![Report { ready_samples: n, ..Report::default() }; 2]
    }

    fn names(coordinator: &mut Coordinator) -> Vec<String> {
        let mut names = Vec::new();
        loop {
            let directive = coordinator.next(&ready(8));
            names.push(match &directive {
                Directive::Step(p) => format!("step{}", p.step),
                Directive::Evaluate { .. } => "eval".into(),
                Directive::Save { kind, .. } => format!("save-{kind:?}"),
                Directive::Stop(reason) => format!("stop-{reason:?}"),
            });
            if matches!(directive, Directive::Stop(_)) {
                return names;
            }
        }
    }

    #[test]
    fn a_run_evaluates_at_epoch_ends_and_saves_every_third_step_and_at_the_end() {
        let mut coordinator = Coordinator::new(plan(), CoordinatorState::default());
        assert_eq!(
            names(&mut coordinator).join(" "),
            "step0 step1 step2 save-Periodic step3 eval step4 step5 save-Periodic step6 step7 eval step8 \
             save-Periodic step9 eval save-Final stop-Finished"
        );
        assert_eq!(coordinator.state().samples_seen, 160);
    }

    #[test]
    fn the_fast_tier_is_saved_between_durable_checkpoints() {
        let plan = RunPlan { local_save_every_steps: Some(2), eval_every_epochs: 0, ..plan() };
        let mut coordinator = Coordinator::new(plan, CoordinatorState::default());
        assert_eq!(
            names(&mut coordinator).join(" "),
            "step0 step1 save-Local step2 save-Periodic step3 save-Local step4 step5 save-Periodic step6 step7 \
             save-Local step8 save-Periodic step9 save-Final stop-Finished"
        );
    }

    #[test]
    fn an_interrupt_of_any_rank_saves_and_stops_all() {
        let mut coordinator = Coordinator::new(plan(), CoordinatorState::default());
        coordinator.next(&ready(8));
        let mut reports = ready(8);
        reports[1].interrupt = Some(Interrupt::User);
        assert_eq!(coordinator.next(&reports), Directive::Save { step: 1, kind: SaveKind::Final });
        assert_eq!(coordinator.next(&ready(8)), Directive::Stop(StopReason::Interrupted));
    }

    #[test]
    fn non_finite_steps_in_a_row_stop_without_a_checkpoint() {
        let mut coordinator = Coordinator::new(plan(), CoordinatorState::default());
        coordinator.plan.total_steps = 1000;
        coordinator.plan.save_every_steps = None;
        coordinator.plan.steps_per_epoch = 1000;
        let mut reports = ready(8);
        reports[0].last_step_finite = Some(false);
        let mut steps = 0;
        loop {
            match coordinator.next(&reports) {
                Directive::Step(_) => steps += 1,
                Directive::Stop(reason) => {
                    assert_eq!(reason, StopReason::NonFinite);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(steps, plan().max_nonfinite_steps - 1);
    }

    proptest! {
        #[test]
        fn a_resumed_coordinator_continues_as_the_uninterrupted_one(
            steps_per_epoch in 1u64..6, total in 1u64..30, every in proptest::option::of(1u64..7), eval in 0u64..3,
            local in proptest::option::of(1u64..4), cut in 0usize..60,
        ) {
            let plan = RunPlan {
                steps_per_epoch, total_steps: total, save_every_steps: every,
                local_save_every_steps: local, eval_every_epochs: eval,
                monitor_mode: MonitorMode::Max, max_nonfinite_steps: 10,
            };
            let mut whole = Coordinator::new(plan.clone(), CoordinatorState::default());
            let mut directives = Vec::new();
            let mut at_saves = Vec::new();
            loop {
                let directive = whole.next(&ready(3));
                if matches!(directive, Directive::Save { .. }) {
                    at_saves.push((directives.len() + 1, whole.state().clone()));
                }
                let stop = matches!(directive, Directive::Stop(_));
                directives.push(directive);
                if stop { break; }
            }
            let steps = directives.iter().filter(|d| matches!(d, Directive::Step(_))).count() as u64;
            prop_assert_eq!(steps, total);
            let Some((at, state)) = at_saves.get(cut % at_saves.len().max(1)) else { return Ok(()); };
            let mut resumed = Coordinator::new(plan, state.clone());
            for expected in &directives[*at..] {
                prop_assert_eq!(&resumed.next(&ready(3)), expected);
            }
        }
    }
}
