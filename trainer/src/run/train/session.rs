//! THE loop: reports of all ranks in, one directive out, done by all.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dtrain_comm::{CollectiveExt, Stage, StageGuard};
use dtrain_configs::RunDir;
use dtrain_configs::schema::Alarm;

use super::alarms::Watch;
use super::batches::{Batches, Ready};
use super::collate::{local_batch, start_loader};
use super::conclude::{Outcome, conclude};
use super::dropped;
use super::evaluate::{Evaluator, Limits, MonitorValues};
use super::message::{DIRECTIVE, Message, REPORT};
use super::pace::{Pace, Work};
use super::record::Recorder;
use super::save::Saving;
use super::stop::StopRequests;
use super::window::Window;
use crate::alarms::{AlarmStates, Raised};
use crate::batch::Batch;
use crate::checkpoint::{Written, decode, encode};
use crate::coordinator::{
    Coordinator, CoordinatorState, Directive, Report, SaveKind, StepPlan, StopReason, WayBack,
};
use crate::engine::StepOutcome;
use crate::error::TrainError;
use crate::run::agree::{Told, settle};
use crate::run::checkpoints::{DroppedSample, LoopState, Saver};
use crate::run::prepare::{Prepared, explain};
use crate::run::report::{Observer, Tracker, captions};
use crate::track::RaisedAlarm;

/// A run in progress on one rank.
pub struct Session<'a> {
    prepared: Prepared,
    coordinator: Coordinator,
    batches: Batches,
    evaluator: Evaluator,
    recorder: Recorder,
    saving: Saving,
    observer: &'a mut dyn Observer,
    stop_requests: StopRequests,
    dropped: Vec<DroppedSample>,
    /// Steps whose outcome is not known yet: on a GPU the last one.
    in_flight: VecDeque<Launched>,
    /// Whether the steps that became known since the last report were finite.
    last_step_finite: Option<bool>,
    /// Of the last evaluation, until they are reported.
    monitors: MonitorValues,
    alarms: Watch,
    /// Whether this start has done anything.
    acted: bool,
    window: Window,
}

/// What a session is given besides the prepared parts.
pub(crate) struct SessionParts<'a> {
    /// Where it writes; `None` writes nothing.
    pub(crate) run_dir: Option<RunDir>,
    /// Metrics files.
    pub(crate) tracker: Tracker,
    /// How rank 0 saves.
    pub(crate) saver: Option<Saver>,
    /// The person in front of rank 0.
    pub(crate) observer: &'a mut dyn Observer,
    /// Where stop requests come from.
    pub(crate) stop_requests: StopRequests,
    /// For a quick look.
    pub(crate) limits: Limits,
    /// Where a checkpoint left off.
    pub(crate) state: Option<LoopState>,
}

/// A step that was started.
struct Launched {
    plan: StepPlan,
    /// This rank's samples, named if the step turns out not to be finite.
    ids: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Starts the loader where the state says.
    pub(crate) fn new(prepared: Prepared, parts: SessionParts<'a>) -> Result<Self, TrainError> {
        let state = parts.state.as_ref();
        let coordinator = state.map_or_else(CoordinatorState::default, |state| state.coordinator.clone());
        let dropped = state.map_or_else(Vec::new, |state| state.dropped.clone());
        let loader = start_loader(&prepared, coordinator.step, &dropped)?;
        let coordinator_step = coordinator.step;
        let alarms = state.map_or_else(Default::default, |state| state.alarms.clone());
        let unreported = state.map_or_else(Vec::new, |state| state.unreported_alarms.clone());
        // Whoever goes on does so from a checkpoint.
        let way_back = state.map_or_else(WayBack::default, |state| {
            let here = || WayBack::from_checkpoint(state.coordinator.step);
            state.way_back.clone().unwrap_or_else(here)
        });
        Ok(Self {
            coordinator: Coordinator::new(prepared.plan.clone(), coordinator).with_alarms(alarms, way_back),
            batches: Batches::new(loader),
            evaluator: Evaluator::new(
                parts.limits,
                state.and_then(|state| state.evaluated_samples),
                coordinator_step,
            ),
            saving: Saving { is_on: parts.run_dir.is_some(), saver: parts.saver },
            recorder: Recorder::new(parts.run_dir, parts.tracker, state),
            observer: parts.observer,
            stop_requests: parts.stop_requests,
            dropped,
            in_flight: VecDeque::new(),
            last_step_finite: state.and_then(|state| state.unreported_finite),
            monitors: MonitorValues::default(),
            alarms: Watch::new(&prepared, unreported),
            acted: false,
            window: Window::default(),
            prepared,
        })
    }

    /// Runs to the end.
    pub fn run(mut self) -> Result<Outcome, TrainError> {
        let reason = loop {
            let begun = Instant::now();
            let directive = self.next_directive()?;
            let work = Work::from(&directive);
            self.acted |= !matches!(directive, Directive::Stop(_));
            let _span = tracing::info_span!("step", step = directive.step()).entered();
            if !matches!(directive, Directive::Step(_)) {
                self.settle_all()?;
            }
            match directive {
                Directive::Step(plan) => self.step(plan)?,
                Directive::Evaluate { step, last } => self.evaluate(step, last)?,
                Directive::Save { step, kind } => self.save(step, kind)?,
                Directive::Stop(reason) => break reason,
            }
            self.stop_requests.pace.took(work, begun.elapsed());
        };
        self.finish(reason)
    }

    /// Every rank reports, rank 0 decides, all hear.
    fn next_directive(&mut self) -> Result<Directive, TrainError> {
        let Self { saving, observer, stop_requests, .. } = self;
        if let Err(error) =
            saving.look_after(&mut |written| told(&mut **observer, &mut stop_requests.pace, written))
        {
            self.recorder.fail_with(error);
        }
        let ready = self.recorder.take_failure().map_or_else(|| self.fetch_batch(), Err);
        let _stage = self.enter(Stage::Reporting);
        let ranks = Arc::clone(self.prepared.engine.collective());
        let message = Message { report: self.report(), failure: ready.as_ref().err().map(Told::of) };
        let (mut reports, mut failures) = (Vec::new(), Vec::new());
        let waiting = Instant::now();
        let gathered = ranks.gather_bytes(&encode(&REPORT, &message)?)?;
        self.window.wait_secs += waiting.elapsed().as_secs_f64();
        for bytes in gathered {
            let Message { report, failure } = decode(&REPORT, &bytes)?;
            reports.push(report);
            failures.push(failure);
        }
        settle(failures, ranks.world().rank, ready)?;
        let (step, limit) = (self.coordinator.state().step, self.prepared.config.data.max_bad_files);
        dropped::remember(&mut self.dropped, &reports, step, limit)?;
        let mut message = Vec::new();
        if ranks.world().rank == 0 {
            message = encode(&DIRECTIVE, &self.coordinator.next(&reports))?;
            for event in self.coordinator.take_alarm_events() {
                let ending = self.coordinator.ending();
                self.alarms.tell(&event, ending, &self.prepared, &mut self.recorder);
            }
            if self.coordinator.ending().is_some() {
                self.stop_requests.agreed();
            }
        }
        Ok(decode(&DIRECTIVE, &ranks.broadcast_bytes(message, 0)?)?)
    }

    fn fetch_batch(&mut self) -> Result<(), TrainError> {
        if self.batches.is_empty() {
            let _stage = self.enter(Stage::Data);
            let waiting = Instant::now();
            self.batches.fetch(self.prepared.engine.device())?;
            self.window.data_secs += waiting.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// What this rank has to say, once.
    fn report(&mut self) -> Report {
        let MonitorValues { checkpoint, stop } = std::mem::take(&mut self.monitors);
        Report {
            ready_samples: self.batches.ready_samples(),
            interrupt: self.stop_requests.interrupt(),
            last_step_finite: self.last_step_finite.take(),
            monitored: checkpoint,
            watched: stop,
            alarms: self.alarms.take(),
            failed_samples: self.batches.take_failures(),
        }
    }

    fn step(&mut self, plan: StepPlan) -> Result<(), TrainError> {
        self.window.begin();
        self.prepared.engine.collective().heartbeat().set_step(plan.step);
        let Some(Ready { batch, inputs }) = self.batches.take() else {
            return Err(TrainError::internal("a step was directed without a batch"));
        };
        let local = local_batch(&self.prepared, &batch, inputs, &plan)?;
        if plan.step == 0 {
            self.picture_first_batch(&batch);
        }
        let stepped = self.prepared.engine.step(&local, &plan);
        drop(local);
        let known = stepped.map_err(|error| explain(&self.prepared, error))?;
        let done = plan.step + 1;
        self.in_flight.push_back(Launched { plan, ids: batch.kept_ids().collect() });
        drop(batch);
        if let Some(outcome) = known {
            self.settle(&outcome)?;
        }
        let every = self.prepared.config.trainer.replica_check_steps;
        if every > 0 && done.is_multiple_of(every) {
            self.settle_all()?;
            let _stage = self.enter(Stage::Comparing);
            self.prepared.engine.check_replicas(done)?;
        }
        Ok(())
    }

    /// Learns how the last step ended, where that is not known yet.
    fn settle_all(&mut self) -> Result<(), TrainError> {
        match self.prepared.engine.flush()? {
            Some(outcome) => self.settle(&outcome),
            None => Ok(()),
        }
    }

    /// A step's outcome has become known.
    fn settle(&mut self, outcome: &StepOutcome) -> Result<(), TrainError> {
        let Some(Launched { plan, ids }) = self.in_flight.pop_front() else {
            return Err(TrainError::internal("an outcome of a step that was not started"));
        };
        self.last_step_finite = Some(outcome.finite);
        self.window.add(&plan, outcome);
        if !outcome.finite {
            tracing::warn!(
                step = plan.step,
                ?ids,
                loss_scale = outcome.loss_scale,
                "loss or gradient is not finite: the step is skipped on all ranks"
            );
        }
        let logged = self.window.log(&self.prepared, (&plan, outcome), &mut self.recorder, self.observer)?;
        if logged {
            self.alarms.after_step(&self.prepared, outcome.loss, plan.step + 1);
        }
        Ok(())
    }

    fn evaluate(&mut self, step: u64, last: bool) -> Result<(), TrainError> {
        let _stage = self.enter(Stage::Evaluating);
        tracing::debug!("evaluation begins");
        self.monitors =
            self.evaluator.evaluate(&self.prepared, &mut self.recorder, self.observer, (step, last))?;
        self.alarms.after_evaluation(&self.prepared, &self.recorder, step);
        tracing::debug!("evaluation ends");
        Ok(())
    }

    fn save(&mut self, step: u64, kind: SaveKind) -> Result<(), TrainError> {
        let _stage = self.enter(Stage::Saving);
        let (state, metrics) = (self.loop_state(), self.recorder.measured_at(step));
        let coordinator = &self.coordinator;
        let keeps = coordinator.way_back().keeps(&self.prepared.config.alarms, coordinator.alarms(), step);
        let Self { prepared, saving, observer, stop_requests, window, .. } = self;
        let mut tell = |written: &Written| told(&mut **observer, &mut stop_requests.pace, written);
        if let Some(pause) = saving.save(prepared, (kind, step), (&state, keeps), metrics, &mut tell)? {
            window.saved(pause);
        }
        Ok(())
    }

    /// What a checkpoint keeps of the loop, at the boundary of a step.
    fn loop_state(&self) -> LoopState {
        // Field by field, so that a new one does not compile until it is said whether it is saved.
        let Self {
            prepared,
            coordinator,
            dropped,
            recorder,
            last_step_finite,
            evaluator,
            alarms,
            // Of the process and not of the run.
            saving: _,
            observer: _,
            stop_requests: _,
            acted: _,
            // A function of the step.
            batches: _,
            // Empty at the boundary of a step, or reported before a directive.
            in_flight: _,
            monitors: _,
            window: _,
        } = self;
        let goes_back = prepared.config.alarms.rolling_back().next().is_some();
        LoopState {
            coordinator: coordinator.state().clone(),
            wall_secs: recorder.wall_secs(),
            dropped: dropped.clone(),
            metrics: recorder.metrics().clone(),
            data_fingerprint: prepared.dataset.fingerprint,
            resolved: prepared.resolved,
            world_size: prepared.engine.collective().world().world_size,
            unreported_finite: *last_step_finite,
            evaluated_samples: evaluator.decided(),
            alarms: coordinator.alarms().clone(),
            unreported_alarms: alarms.unreported().to_vec(),
            way_back: goes_back.then(|| coordinator.way_back().clone()),
        }
    }

    /// The last checkpoint becomes durable, and the result is written, unless the run goes on from an earlier one.
    fn finish(mut self, reason: StopReason) -> Result<Outcome, TrainError> {
        let _stage = self.enter(Stage::Concluding);
        let Self { prepared, saving, observer, stop_requests, .. } = &mut self;
        let mut tell = |written: &Written| told(&mut **observer, &mut stop_requests.pace, written);
        let is_saved = !matches!(reason, StopReason::NonFinite | StopReason::Rollback(_));
        saving.finish(prepared, is_saved, &mut tell)?;
        self.observer.ended(&reason);
        let state = self.coordinator.state();
        let outcome = Outcome {
            steps: state.step,
            samples_seen: state.samples_seen,
            wall_secs: self.recorder.wall_secs(),
            metrics: self.recorder.metrics().clone(),
            best: None,
            alarms: raised_alarms(self.coordinator.alarms()),
            reason,
        };
        if matches!(outcome.reason, StopReason::Rollback(_)) {
            return Ok(outcome);
        }
        let Self { mut prepared, mut evaluator, mut recorder, observer, acted, .. } = self;
        conclude(&mut prepared, &mut evaluator, &mut recorder, observer, outcome, acted)
    }

    /// Tells the others what this rank is doing.
    fn enter(&self, stage: Stage) -> StageGuard {
        self.prepared.engine.collective().heartbeat().enter(stage)
    }

    fn picture_first_batch(&mut self, batch: &Batch) {
        if !self.prepared.config.track.first_batch_images {
            return;
        }
        let captions = captions(&self.prepared.dataset, batch);
        if let Err(error) = self.recorder.tracker.first_batch(batch, &captions) {
            self.recorder.fail_with(error.into());
        }
    }
}

/// The alarms that are on, as the result has them.
fn raised_alarms(alarms: &AlarmStates) -> Vec<RaisedAlarm> {
    let told = |(alarm, raised): (Alarm, &Raised)| RaisedAlarm {
        name: alarm,
        step: raised.step,
        since: raised.since,
        evidence: raised.evidence.clone(),
    };
    alarms.raised().map(told).collect()
}

/// A checkpoint has become durable.
fn told(observer: &mut dyn Observer, pace: &mut Pace, written: &Written) {
    tracing::debug!(step = written.step, secs = written.secs, "saved");
    pace.saved(Duration::from_secs_f64(written.secs));
    observer.saved(&written.folder, written.step);
}
