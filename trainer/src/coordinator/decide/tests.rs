//! Whole runs by their directives.

use dtrain_configs::schema::{Alarm, AlarmActions, AlarmsConfig, MonitorMode};

use super::super::{Course, EarlyStop};
use super::*;
use crate::alarms::Judgement;

fn plan(total_steps: u64) -> RunPlan {
    RunPlan {
        steps_per_epoch: 4,
        total_steps,
        save_every_steps: Some(3),
        local_save_every_steps: None,
        eval_every_epochs: 1,
        eval_at_start: false,
        monitor_mode: MonitorMode::Max,
        max_nonfinite_steps: 10,
        course: Course::whole(total_steps),
        early_stop: None,
        alarms: AlarmsConfig::default(),
    }
}

fn ready() -> Vec<Report> {
    vec![Report { ready_samples: 8, ..Report::default() }; 2]
}

fn request(interrupt: Interrupt, rank: usize) -> Vec<Report> {
    let mut reports = ready();
    reports[rank].interrupt = Some(interrupt);
    reports
}

fn name(directive: &Directive) -> String {
    match directive {
        Directive::Step(plan) => format!("step{}", plan.step),
        Directive::Evaluate { last: false, .. } => "eval".into(),
        Directive::Evaluate { last: true, .. } => "eval-last".into(),
        Directive::Save { kind, .. } => format!("save-{kind:?}"),
        Directive::Stop(reason) => format!("stop-{reason:?}"),
    }
}

/// Goes on to the end; `watched` gives the metric of early stopping after each evaluation by its step.
fn names(coordinator: &mut Coordinator, watched: impl Fn(u64) -> Option<f64>) -> String {
    told(coordinator, |report, step| report.watched = watched(step))
}

/// As [`names`], for the metric that names the best checkpoint.
fn names_monitored(coordinator: &mut Coordinator, monitored: impl Fn(u64) -> Option<f64>) -> String {
    told(coordinator, |report, step| report.monitored = monitored(step))
}

fn told(coordinator: &mut Coordinator, evaluated: impl Fn(&mut Report, u64)) -> String {
    let (mut names, mut reports) = (Vec::new(), ready());
    loop {
        let directive = coordinator.next(&reports);
        names.push(name(&directive));
        reports = ready();
        match directive {
            Directive::Evaluate { step, .. } => evaluated(&mut reports[0], step),
            Directive::Stop(_) => return names.join(" "),
            _ => {}
        }
    }
}

#[test]
fn a_run_evaluates_at_epoch_ends_and_saves_every_third_step_and_at_the_end() {
    let mut coordinator = Coordinator::new(plan(10), CoordinatorState::default());
    assert_eq!(
        names(&mut coordinator, |_| None),
        "step0 step1 step2 save-Periodic step3 eval step4 step5 save-Periodic step6 step7 eval step8 \
         save-Periodic step9 eval-last save-Final stop-Finished"
    );
    assert_eq!(coordinator.state().samples_seen, 160);
}

#[test]
fn the_fast_tier_is_saved_between_durable_checkpoints() {
    let plan = RunPlan { local_save_every_steps: Some(2), eval_every_epochs: 0, ..plan(10) };
    let mut coordinator = Coordinator::new(plan, CoordinatorState::default());
    assert_eq!(
        names(&mut coordinator, |_| None),
        "step0 step1 save-Local step2 save-Periodic step3 save-Local step4 step5 save-Periodic step6 step7 \
         save-Local step8 save-Periodic step9 save-Final stop-Finished"
    );
}

#[test]
fn a_run_that_ends_with_an_epoch_evaluates_once() {
    let mut coordinator = Coordinator::new(plan(4), CoordinatorState::default());
    let all = "step0 step1 step2 save-Periodic step3 eval-last save-Final stop-Finished";
    assert_eq!(names(&mut coordinator, |_| None), all);
    let mut again = Coordinator::new(plan(4), coordinator.state().clone());
    assert_eq!(names(&mut again, |_| None), "stop-Finished");
}

#[test]
fn a_metric_that_no_longer_improves_ends_the_run_for_good() {
    let rule = EarlyStop { mode: MonitorMode::Max, patience: 2, min_delta: 0.0 };
    let plan = RunPlan { early_stop: Some(rule), save_every_steps: None, ..plan(400) };
    let mut coordinator = Coordinator::new(plan.clone(), CoordinatorState::default());
    let all = names(&mut coordinator, |step| Some(if step == 4 { 0.9 } else { 0.5 }));
    assert!(
        all.ends_with("step10 step11 eval eval-last save-Final stop-EarlyStopped"),
        "the run ended with {all}"
    );
    let mut again = Coordinator::new(plan, coordinator.state().clone());
    assert_eq!(names(&mut again, |_| Some(1.0)), "stop-EarlyStopped");
}

#[test]
fn the_best_weights_are_saved_between_two_checkpoints() {
    let mut coordinator = Coordinator::new(plan(12), CoordinatorState::default());
    let value = |step| Some(if step == 4 { 0.9 } else { 0.5 });
    let all = names_monitored(&mut coordinator, value);
    assert!(all.contains("step3 eval save-Periodic step4"), "{all}");
    assert!(all.contains("step7 eval step8 save-Periodic"), "{all}");
}

/// The stop request leaves the evaluation to the resumed run, and with it the value that makes a checkpoint the best.
#[test]
fn a_checkpoint_that_was_saved_for_a_stop_request_is_saved_again_when_it_turns_out_to_be_the_best() {
    let mut coordinator = Coordinator::new(plan(8), CoordinatorState::default());
    while coordinator.state().step < 4 {
        coordinator.next(&ready());
    }
    assert_eq!(name(&coordinator.next(&request(Interrupt::Requeue, 0))), "save-Final");
    for (value, expected) in [(0.9, "eval save-Periodic step4 "), (0.1, "eval step4 ")] {
        let state = CoordinatorState { best: Some((0.5, 2)), ..coordinator.state().clone() };
        let all = names_monitored(&mut Coordinator::new(plan(8), state), |_| Some(value));
        assert!(all.starts_with(expected), "{all}");
    }
}

#[test]
fn an_interrupt_of_any_rank_saves_and_stops_all() {
    for rank in [0, 1] {
        let mut coordinator = Coordinator::new(plan(10), CoordinatorState::default());
        coordinator.next(&ready());
        let saved = coordinator.next(&request(Interrupt::User, rank));
        assert_eq!(saved, Directive::Save { step: 1, kind: SaveKind::Final });
        assert_eq!(coordinator.next(&ready()), Directive::Stop(StopReason::Interrupted));
    }
}

#[test]
fn a_users_stop_request_overrules_a_requeue_and_nothing_overrules_the_users() {
    for (first, second, expected) in [
        (Interrupt::Requeue, Interrupt::User, StopReason::Interrupted),
        (Interrupt::User, Interrupt::Requeue, StopReason::Interrupted),
        (Interrupt::Requeue, Interrupt::Requeue, StopReason::Requeue),
    ] {
        let mut coordinator = Coordinator::new(plan(10), CoordinatorState::default());
        coordinator.next(&ready());
        coordinator.next(&request(first, 1));
        assert_eq!(coordinator.next(&request(second, 0)), Directive::Stop(expected));
        let mut both = request(first, 0);
        both[1].interrupt = Some(second);
        let mut coordinator = Coordinator::new(plan(10), CoordinatorState::default());
        coordinator.next(&both);
        assert_eq!(coordinator.ending(), Some(&first.max(second).into()));
    }
}

#[test]
fn a_run_that_has_finished_stays_finished() {
    let mut coordinator = Coordinator::new(plan(1), CoordinatorState::default());
    let directives = [ready(), ready(), request(Interrupt::User, 0), ready()];
    let said: Vec<String> = directives.iter().map(|reports| name(&coordinator.next(reports))).collect();
    assert_eq!(said, ["step0", "eval-last", "save-Final", "stop-Finished"]);
}

#[test]
fn a_stop_request_goes_before_an_evaluation_which_the_resumed_run_makes() {
    let mut coordinator = Coordinator::new(plan(10), CoordinatorState::default());
    while coordinator.state().step < 4 {
        coordinator.next(&ready());
    }
    assert_eq!(name(&coordinator.next(&request(Interrupt::Requeue, 1))), "save-Final");
    let mut resumed = Coordinator::new(plan(10), coordinator.state().clone());
    assert_eq!(name(&resumed.next(&ready())), "eval");
    assert_eq!(name(&resumed.next(&ready())), "step4");
}

/// Steps 2 to 6 are skipped: the checkpoints that were due after 3 and 6 steps would hold what may be lost already.
#[test]
fn nothing_is_saved_while_steps_are_skipped_and_what_was_due_right_after() {
    let plan = RunPlan { local_save_every_steps: Some(2), eval_every_epochs: 0, ..plan(10) };
    let mut coordinator = Coordinator::new(plan, CoordinatorState::default());
    let (mut names, mut last_step) = (Vec::new(), None);
    loop {
        let mut reports = ready();
        reports[0].last_step_finite = last_step.take().map(|step| !(2..=6).contains(&step));
        let directive = coordinator.next(&reports);
        names.push(name(&directive));
        match directive {
            Directive::Step(plan) => last_step = Some(plan.step),
            Directive::Stop(_) => break,
            _ => {}
        }
    }
    assert_eq!(
        names.join(" "),
        "step0 step1 save-Local step2 step3 step4 step5 step6 step7 save-Periodic step8 save-Periodic step9 \
         save-Final stop-Finished"
    );
}

#[test]
fn non_finite_steps_in_a_row_stop_without_a_checkpoint() {
    let long = RunPlan { save_every_steps: None, steps_per_epoch: 1000, ..plan(1000) };
    let mut coordinator = Coordinator::new(long, CoordinatorState::default());
    let mut reports = request(Interrupt::Requeue, 1);
    reports[0].last_step_finite = Some(false);
    let mut bad = ready();
    bad[0].last_step_finite = Some(false);
    for step in 0..9 {
        assert_eq!(name(&coordinator.next(&bad)), format!("step{step}"));
    }
    // Even a stop request of the same moment does not make it a run to go on with.
    assert_eq!(coordinator.next(&reports), Directive::Stop(StopReason::NonFinite));
}

/// With evidence from the evaluation after each of `steps` on.
fn told_of_evidence(coordinator: &mut Coordinator, steps: &[u64]) -> String {
    told(coordinator, |report, step| {
        let evidence = steps.contains(&step).then(|| "it has collapsed".to_owned());
        report.alarms = vec![Judgement { alarm: Alarm::Uniformity, step, evidence }];
    })
}

#[test]
fn an_alarm_that_warns_is_told_once_and_changes_nothing() {
    let quiet = told_of_evidence(&mut Coordinator::new(plan(20), CoordinatorState::default()), &[]);
    let mut coordinator = Coordinator::new(plan(20), CoordinatorState::default());
    assert_eq!(told_of_evidence(&mut coordinator, &[4, 8, 12]), quiet);
    let events: Vec<_> =
        coordinator.take_alarm_events().into_iter().map(|e| (e.step, e.raised.map(|r| r.since))).collect();
    assert_eq!(events, [(8, Some(4)), (16, None)]);
    assert!(coordinator.take_alarm_events().is_empty());
}

#[test]
fn an_alarm_that_stops_ends_the_run_as_early_stopping_and_again_after_a_resume() {
    let on = AlarmActions { uniformity: AlarmAction::Stop, ..AlarmActions::default() };
    let stopping = RunPlan { alarms: AlarmsConfig { on, ..AlarmsConfig::default() }, ..plan(20) };
    let mut coordinator = Coordinator::new(stopping.clone(), CoordinatorState::default());
    let directives = told_of_evidence(&mut coordinator, &[4, 8, 12]);
    assert!(directives.ends_with("step7 eval eval-last save-Final stop-Alarm"), "{directives}");
    let again = |plan: RunPlan| {
        let state = coordinator.state().clone();
        let (alarms, way_back) = (coordinator.alarms().clone(), coordinator.way_back().clone());
        let mut resumed = Coordinator::new(plan, state).with_alarms(alarms, way_back);
        told_of_evidence(&mut resumed, &[])
    };
    assert_eq!(again(stopping), "stop-Alarm");
    assert!(again(plan(20)).starts_with("step8 "), "an alarm that warns lets it go on");
}

/// Saved every 3 steps, judged every 4.
#[test]
fn an_alarm_that_goes_back_ends_the_loop_with_nothing_evaluated_or_saved() {
    let on = AlarmActions { uniformity: AlarmAction::Rollback, ..AlarmActions::default() };
    let going_back = RunPlan { alarms: AlarmsConfig { on, ..AlarmsConfig::default() }, ..plan(20) };
    let end = |evidence: &[u64]| {
        let mut coordinator = Coordinator::new(going_back.clone(), CoordinatorState::default());
        let directives = told_of_evidence(&mut coordinator, evidence);
        (directives, coordinator.ending().cloned())
    };
    let (directives, ending) = end(&[8, 12]);
    assert!(directives.contains("step11 eval stop-Rollback"), "{directives}");
    let cause = Cause { alarm: Alarm::Uniformity, since: 8, step: 12, to_step: 3 };
    assert_eq!(
        ending,
        Some(StopReason::Rollback(cause)),
        "step 6 was saved, and nobody knows whether it was healthy"
    );
    // Never quiet: whatever was saved before the evidence.
    let (_, ending) = end(&[4, 8]);
    let cause = Cause { alarm: Alarm::Uniformity, since: 4, step: 8, to_step: 3 };
    assert_eq!(ending, Some(StopReason::Rollback(cause)));
    // Nothing was saved before: it ends as by an alarm that stops.
    let late = RunPlan { save_every_steps: Some(5), ..going_back };
    let mut coordinator = Coordinator::new(late, CoordinatorState::default());
    let directives = told_of_evidence(&mut coordinator, &[4, 8]);
    assert!(directives.ends_with("eval-last save-Final stop-Alarm"), "{directives}");
}
