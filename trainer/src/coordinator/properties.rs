//! What holds for every sequence of reports: simulated ranks act on directives alone, and nothing is a process.

use std::collections::BTreeSet;

use dtrain_configs::schema::{
    Alarm, AlarmAction, AlarmActions, AlarmsConfig, MonitorMode, PhaseConfig, PhasesConfig,
};
use proptest::prelude::*;

use super::*;
use crate::alarms::{AlarmStates, Judgement};

/// What happens to a run from outside, as functions of where it stands.
#[derive(Debug, Clone)]
struct Script {
    world_size: usize,
    /// Stop requests by the number of the report and the rank.
    stop_requests: Vec<(usize, usize, Interrupt)>,
    /// Steps whose loss is not finite.
    bad_steps: BTreeSet<u64>,
    /// Metric of the evaluation after a step, by the step.
    values: Vec<f64>,
}

impl Script {
    /// Reports number `time`, after `done` steps; `evaluated` right after an evaluation, `stepped` right after a step.
    fn reports(&self, time: usize, done: u64, stepped: bool, evaluated: bool) -> Vec<Report> {
        let value = self.values.get(done as usize % self.values.len().max(1)).copied();
        (0..self.world_size)
            .map(|rank| Report {
                ready_samples: ((done + 3 * rank as u64) % 5) as u32,
                interrupt: self
                    .stop_requests
                    .iter()
                    .filter(|(at, of, _)| *at == time && of % self.world_size == rank)
                    .map(|request| request.2)
                    .max(),
                last_step_finite: (stepped && rank == 0).then(|| !self.bad_steps.contains(&(done - 1))),
                monitored: value.filter(|_| evaluated),
                // Only rank 0 is believed, whatever the others measure.
                watched: value.filter(|_| evaluated).map(|value| value + rank as f64),
                alarms: value
                    .filter(|_| evaluated)
                    .map(|value| evidence(value, done, rank))
                    .into_iter()
                    .collect(),
                failed_samples: Vec::new(),
            })
            .collect()
    }

    fn without_requests(&self) -> Self {
        Self { stop_requests: Vec::new(), ..self.clone() }
    }
}

/// Of an alarm whose metric is too large above 1. Ranks other than 0 say the opposite.
fn evidence(value: f64, step: u64, rank: usize) -> Judgement {
    let evidence = ((value > 1.0) == (rank == 0)).then(|| value.to_string());
    Judgement { alarm: Alarm::Uniformity, step, evidence }
}

/// What a checkpoint keeps.
#[derive(Debug, Clone, Default, PartialEq)]
struct Saved {
    state: CoordinatorState,
    alarms: AlarmStates,
    way_back: WayBack,
}

/// A rank that knows nothing but the directives that it has heard.
#[derive(Debug, Default, PartialEq)]
struct Rank {
    steps: u64,
    samples: u64,
    evaluated: Vec<(u64, bool)>,
    saved: Vec<u64>,
    saved_locally: Vec<u64>,
    phases: Vec<u32>,
    stopped: Option<StopReason>,
}

impl Rank {
    fn act(&mut self, directive: &Directive) {
        assert_eq!(self.stopped, None, "{directive:?} after the end");
        match directive {
            Directive::Step(plan) => {
                assert_eq!(plan.step, self.steps);
                assert_eq!(plan.counts.iter().map(|&n| u64::from(n)).sum::<u64>(), plan.global_samples);
                self.steps += 1;
                self.samples += plan.global_samples;
                self.phases.push(plan.phase);
            }
            Directive::Evaluate { step, last } => {
                assert_eq!(*step, self.steps);
                self.evaluated.push((*step, *last));
            }
            Directive::Save { step, kind } => {
                assert_eq!(*step, self.steps);
                match kind {
                    SaveKind::Local => self.saved_locally.push(*step),
                    SaveKind::Periodic | SaveKind::Final => self.saved.push(*step),
                }
            }
            Directive::Stop(reason) => self.stopped = Some(reason.clone()),
        }
    }
}

/// A run from a state to its end.
struct History {
    /// Each directive with the state after it.
    heard: Vec<(Directive, Saved)>,
    /// The first stop request: the reports that bring it are followed by no step.
    requested_at: Option<usize>,
}

impl History {
    fn reason(&self) -> StopReason {
        match self.heard.last() {
            Some((Directive::Stop(reason), _)) => reason.clone(),
            other => panic!("the run ended with {other:?}"),
        }
    }

    /// Steps and evaluations: what a run does to weights and metrics.
    fn work(&self) -> Vec<Directive> {
        let heard = self.heard.iter().map(|(directive, _)| directive);
        heard.filter(|d| matches!(d, Directive::Step(_) | Directive::Evaluate { .. })).cloned().collect()
    }
}

/// Runs to the end; `first` is the number of the first reports.
fn simulate(plan: &RunPlan, saved: &Saved, script: &Script, first: usize) -> History {
    let Saved { state, alarms, way_back } = saved.clone();
    let mut coordinator = Coordinator::new(plan.clone(), state).with_alarms(alarms, way_back);
    let begun = saved.state.step;
    // Each step may bring an evaluation and a checkpoint of each tier, and the end one of each besides.
    let bound = 4 * (plan.total_steps - begun.min(plan.total_steps)) as usize + 6;
    let (mut heard, mut requested_at) = (Vec::new(), None);
    let (mut stepped, mut evaluated) = (false, false);
    for number in 0..bound {
        let done = coordinator.state().step;
        let reports = script.reports(first + number, done, stepped, evaluated);
        assert_eq!(reports.len(), script.world_size);
        if requested_at.is_none() && reports.iter().any(|report| report.interrupt.is_some()) {
            requested_at = Some(number);
        }
        let directive = coordinator.next(&reports);
        if let Directive::Step(plan) = &directive {
            let counts: Vec<u32> = reports.iter().map(|report| report.ready_samples).collect();
            assert_eq!(plan.counts, counts);
        }
        stepped = matches!(directive, Directive::Step(_));
        // What a run begins with tells monitors nothing.
        evaluated = matches!(directive, Directive::Evaluate { step, .. } if step > 0);
        let stop = matches!(directive, Directive::Stop(_));
        let saved = Saved {
            state: coordinator.state().clone(),
            alarms: coordinator.alarms().clone(),
            way_back: coordinator.way_back().clone(),
        };
        heard.push((directive, saved));
        if stop {
            return History { heard, requested_at };
        }
    }
    panic!("no end after {bound} directives");
}

fn plans() -> impl Strategy<Value = RunPlan> {
    let early_stop = prop::option::of((any::<bool>(), 1_u64..4, prop_oneof![Just(0.0), Just(0.3)]));
    (
        (1_u64..6, 1_u64..30, prop::option::of(1_u64..7), prop::option::of(1_u64..4), 0_u64..3, 1_u64..5),
        early_stop,
        prop::collection::vec(0.05_f64..1.0, 1..5),
        (prop::sample::select(vec![AlarmAction::Warn, AlarmAction::Stop, AlarmAction::Rollback]), 1_u64..4),
    )
        .prop_map(
            |((steps_per_epoch, total_steps, save, local, eval, nonfinite), early_stop, fracs, alarm)| {
                let on = AlarmActions { uniformity: alarm.0, ..AlarmActions::default() };
                let mode = |max: bool| if max { MonitorMode::Max } else { MonitorMode::Min };
                let list = vec![PhaseConfig::default(); fracs.len()];
                let phases = PhasesConfig { enabled: true, fracs, list };
                RunPlan {
                    steps_per_epoch,
                    total_steps,
                    save_every_steps: save,
                    local_save_every_steps: local,
                    eval_every_epochs: eval,
                    eval_at_start: (steps_per_epoch + total_steps).is_multiple_of(2),
                    monitor_mode: MonitorMode::Max,
                    max_nonfinite_steps: nonfinite,
                    course: Course::new(&phases, total_steps, &[]).unwrap(),
                    alarms: AlarmsConfig { on, patience: alarm.1, ..AlarmsConfig::default() },
                    early_stop: early_stop.map(|(max, patience, min_delta)| EarlyStop {
                        mode: mode(max),
                        patience,
                        min_delta,
                    }),
                }
            },
        )
}

fn scripts() -> impl Strategy<Value = Script> {
    let request = (0_usize..70, 0_usize..4, any::<bool>())
        .prop_map(|(time, rank, user)| (time, rank, if user { Interrupt::User } else { Interrupt::Requeue }));
    let value = prop_oneof![8 => 0.0_f64..2.0, 1 => Just(f64::NAN), 1 => Just(f64::INFINITY)];
    (
        1_usize..5,
        prop::collection::vec(request, 0..4),
        prop::collection::btree_set(0_u64..30, 0..8),
        prop::collection::vec(value, 0..12),
    )
        .prop_map(|(world_size, stop_requests, bad_steps, values)| Script {
            world_size,
            stop_requests,
            bad_steps,
            values,
        })
}

/// What a run that reached its last step did in each phase.
fn steps_of_phases(phases: &[u32], plan: &RunPlan) -> Vec<u64> {
    let count = |index: usize| phases.iter().filter(|phase| **phase == index as u32).count() as u64;
    (0..plan.course.last().phases.iter().count()).map(count).collect()
}

proptest! {
    #[test]
    fn ranks_never_part_and_every_run_ends(plan in plans(), script in scripts()) {
        let history = simulate(&plan, &Saved::default(), &script, 0);
        let mut ranks: Vec<Rank> = (0..script.world_size).map(|_| Rank::default()).collect();
        for (directive, _) in &history.heard {
            ranks.iter_mut().for_each(|rank| rank.act(directive));
        }
        prop_assert!(ranks.windows(2).all(|pair| pair[0] == pair[1]));
        let rank = &ranks[0];
        let reason = history.reason();
        prop_assert_eq!(rank.stopped.as_ref(), Some(&reason));

        let unique = |steps: &[u64]| steps.iter().collect::<BTreeSet<_>>().len() == steps.len();
        prop_assert!(unique(&rank.saved), "saved at {:?}", rank.saved);
        prop_assert!(unique(&rank.saved_locally), "saved locally at {:?}", rank.saved_locally);
        for last in [false, true] {
            let of_kind = rank.evaluated.iter().filter(|(_, kind)| *kind == last);
            let steps: Vec<u64> = of_kind.map(|(step, _)| *step).collect();
            prop_assert!(unique(&steps));
            prop_assert!(!last || steps.len() <= 1);
        }

        let phases = &plan.course.last().phases;
        let planned: Vec<u64> =
            phases.iter().map(|phase| phase.steps.end - phase.steps.start).collect();
        let done = steps_of_phases(&rank.phases, &plan);
        prop_assert!(done.iter().zip(&planned).all(|(done, planned)| done <= planned));
        let is_sorted = rank.phases.is_sorted();
        prop_assert!(is_sorted);
        let state = &history.heard.last().unwrap().1.state;
        prop_assert_eq!((state.step, state.samples_seen), (rank.steps, rank.samples));
        match reason {
            StopReason::Finished => prop_assert_eq!(done, planned),
            StopReason::EarlyStopped => prop_assert!(plan.early_stop.is_some() && rank.steps < plan.total_steps),
            StopReason::NonFinite => prop_assert!(script.bad_steps.len() as u64 >= plan.max_nonfinite_steps),
            StopReason::Alarm => {
                prop_assert_ne!(plan.alarms.action(Alarm::Uniformity), AlarmAction::Warn);
                prop_assert!(rank.steps < plan.total_steps);
            }
            StopReason::Rollback(cause) => {
                prop_assert_eq!(plan.alarms.action(Alarm::Uniformity), AlarmAction::Rollback);
                prop_assert!(cause.to_step < cause.since && cause.since <= rank.steps);
                prop_assert_eq!(cause.step, rank.steps);
                prop_assert!(rank.saved.contains(&cause.to_step));
            }
            StopReason::Interrupted | StopReason::Requeue => prop_assert!(history.requested_at.is_some()),
        }
        let ends_whole = matches!(reason, StopReason::Finished | StopReason::EarlyStopped | StopReason::Alarm);
        let concluded = rank.evaluated.iter().any(|(_, last)| *last);
        if ends_whole {
            prop_assert_eq!(concluded, plan.eval_every_epochs > 0);
        }
        if !matches!(reason, StopReason::NonFinite | StopReason::Rollback(_)) && rank.steps > 0 {
            prop_assert_eq!(rank.saved.last(), Some(&rank.steps));
        }
    }

    #[test]
    fn a_stop_request_is_honoured_before_the_next_step(plan in plans(), script in scripts()) {
        let history = simulate(&plan, &Saved::default(), &script, 0);
        let Some(at) = history.requested_at else { return Ok(()) };
        let rest = &history.heard[at..];
        prop_assert!(rest.len() <= 2, "{:?}", rest);
        let trains = rest.iter().any(|(d, _)| matches!(d, Directive::Step(_) | Directive::Evaluate { .. }));
        prop_assert!(!trains, "{:?}", rest);
        let user = script.stop_requests.iter().any(|(time, _, request)| {
            (at..history.heard.len()).contains(time) && *request == Interrupt::User
        });
        if user {
            prop_assert_ne!(history.reason(), StopReason::Requeue);
        }
    }

    #[test]
    fn a_coordinator_resumed_at_any_checkpoint_continues_as_the_uninterrupted_one(
        plan in plans(), script in scripts(),
    ) {
        let whole = simulate(&plan, &Saved::default(), &script.without_requests(), 0);
        for (index, (directive, state)) in whole.heard.iter().enumerate() {
            if matches!(directive, Directive::Save { .. }) {
                let rest = simulate(&plan, state, &script.without_requests(), index + 1);
                prop_assert_eq!(&rest.heard, &whole.heard[index + 1..]);
            }
        }
    }

    #[test]
    fn a_run_that_is_stopped_again_and_again_does_what_the_undisturbed_one_does(
        plan in plans(), script in scripts(),
    ) {
        let whole = simulate(&plan, &Saved::default(), &script.without_requests(), 0);
        let mut state = Saved::default();
        let mut work = Vec::new();
        let mut first = 0;
        // Each start outlives one stop request at least, so that the last one has none left.
        for _ in 0..script.stop_requests.len() + 1 {
            let start = simulate(&plan, &state, &script, first);
            first += start.heard.len();
            work.extend(start.work());
            if let Some((_, saved)) = start.heard.iter().rfind(|(d, _)| matches!(d, Directive::Save { .. })) {
                state = saved.clone();
            }
            if !matches!(start.reason(), StopReason::Interrupted | StopReason::Requeue) {
                prop_assert_eq!(start.reason(), whole.reason());
                break;
            }
        }
        // An evaluation whose checkpoint exists already is repeated when a stop request comes right after it.
        work.dedup();
        prop_assert_eq!(work, whole.work());
    }
}
