//! THE loop: reports of all ranks in, one directive out, done by all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::{CollectiveExt, Stage, StageGuard};
use serde::{Deserialize, Serialize};

use super::agree::{Told, settle};
use super::feed::{local_batch, start_loader};
use super::micro_batch::explain;
use super::pace::Work;
use super::prepare::Prepared;
use super::window::Window;
use super::wishes::Wishes;
use super::{DroppedSample, LoopState, Observer, RunDir, Saver, Tracker, agreed, dropped, first_batch};
use crate::batch::{Batch, Loader, upload};
use crate::checkpoint::{FrameKind, decode, encode};
use crate::coordinator::{Coordinator, CoordinatorState, Directive, Report, StepPlan, StopReason};
use crate::engine::StepOutcome;
use crate::error::TrainError;
use crate::torch_extra::Upload;
use crate::track::{BestWeights, Optimized, RunResult, SessionStatus};

/// Messages between ranks.
pub(crate) const REPORT: FrameKind = FrameKind { name: "report", tag: *b"REPT", version: 2 };
pub(crate) const DIRECTIVE: FrameKind = FrameKind { name: "directive", tag: *b"DIRV", version: 2 };

/// What a rank says before each directive.
#[derive(Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) report: Report,
    /// Why it cannot go on.
    pub(crate) failure: Option<Told>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Why.
    pub reason: StopReason,
    /// Optimizer steps done.
    pub steps: u64,
    /// Last value of every metric.
    pub metrics: BTreeMap<String, f64>,
    /// Seconds of training, earlier parts of a resumed run included.
    pub wall_secs: f64,
    /// Samples that took part in optimizer steps.
    pub samples_seen: u64,
    /// The best weights, where a metric has chosen some; rank 0 knows them.
    pub best: Option<BestWeights>,
}

/// A run in progress on one rank.
pub struct Session<'a> {
    pub(super) prepared: Prepared,
    pub(super) coordinator: Coordinator,
    pub(super) run_dir: Option<RunDir>,
    pub(super) tracker: Tracker,
    /// Rank 0's, where there is a run directory.
    pub(super) saver: Option<Saver>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) dropped: Vec<DroppedSample>,
    /// What evaluations could not read and have said so.
    pub(super) left_out: BTreeSet<String>,
    /// Last value of every metric.
    pub(super) metrics: BTreeMap<String, f64>,
    /// What was measured after the step named first, on its weights.
    measured: (u64, BTreeMap<String, f64>),
    pub(super) limits: Limits,
    pub(super) wishes: Wishes,
    loader: Loader,
    /// The next step's batch, asked for before the directive that uses it.
    pending: Option<Batch>,
    /// Its views, on their way.
    inputs: Option<Upload>,
    /// Steps whose outcome is not known yet: on a GPU the last one.
    in_flight: VecDeque<Launched>,
    /// Whether the steps that became known since the last report were finite.
    pub(super) last_step_finite: Option<bool>,
    /// A failure of this rank alone, such as a full disk under the metrics, until the others hear of it.
    failure: Option<TrainError>,
    pub(super) monitored: Option<f64>,
    pub(super) watched: Option<f64>,
    /// Whether this start has done anything.
    pub(super) acted: bool,
    /// Monitors that the first evaluation did not measure, once they have been named.
    pub(super) missed: BTreeSet<String>,
    pub(super) window: Window,
    started: Instant,
    earlier_secs: f64,
}

/// Samples of each part that an evaluation looks at; `None` = all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// For a quick look only.
    pub eval_samples: Option<usize>,
}

/// What a session is given besides the prepared parts.
pub struct SessionParts<'a> {
    /// Where it writes; `None` writes nothing.
    pub run_dir: Option<RunDir>,
    /// Metrics files.
    pub tracker: Tracker,
    /// How rank 0 saves.
    pub saver: Option<Saver>,
    /// The person in front of rank 0.
    pub observer: &'a mut dyn Observer,
    /// What may want the run to end.
    pub(super) wishes: Wishes,
    /// For a quick look.
    pub limits: Limits,
    /// Where a checkpoint left off.
    pub state: Option<LoopState>,
}

/// A step that was started.
struct Launched {
    plan: StepPlan,
    /// This rank's samples, named if the step turns out not to be finite.
    ids: Vec<u32>,
}

impl<'a> Session<'a> {
    /// Starts the loader where the state says.
    pub fn new(prepared: Prepared, parts: SessionParts<'a>) -> Result<Self, TrainError> {
        let state = parts.state;
        let coordinator_state =
            state.as_ref().map_or_else(CoordinatorState::default, |s| s.coordinator.clone());
        let first_step = coordinator_state.step;
        let dropped = state.as_ref().map_or_else(Vec::new, |s| s.dropped.clone());
        let loader = start_loader(&prepared, first_step, &dropped)?;
        Ok(Self {
            coordinator: Coordinator::new(prepared.plan.clone(), coordinator_state),
            metrics: state.as_ref().map_or_else(BTreeMap::new, |s| s.metrics.clone()),
            measured: Default::default(),
            earlier_secs: state.as_ref().map_or(0.0, |s| s.wall_secs),
            run_dir: parts.run_dir,
            tracker: parts.tracker,
            saver: parts.saver,
            observer: parts.observer,
            wishes: parts.wishes,
            limits: parts.limits,
            dropped,
            left_out: BTreeSet::new(),
            prepared,
            loader,
            pending: None,
            inputs: None,
            in_flight: VecDeque::new(),
            last_step_finite: state.as_ref().and_then(|s| s.unreported_finite),
            failure: None,
            monitored: None,
            watched: None,
            acted: false,
            missed: BTreeSet::new(),
            window: Window::default(),
            started: Instant::now(),
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
                Directive::Evaluate { step, last } => {
                    let _stage = self.enter(Stage::Evaluating);
                    tracing::debug!("evaluation begins");
                    self.evaluate(step, last)?;
                    tracing::debug!("evaluation ends");
                }
                Directive::Save { step, kind } => {
                    let _stage = self.enter(Stage::Saving);
                    self.save(step, kind)?;
                }
                Directive::Stop(reason) => break reason,
            }
            self.wishes.pace.took(work, begun.elapsed());
        };
        let _stage = self.enter(Stage::Concluding);
        self.finish_saving(reason != StopReason::NonFinite)?;
        self.observer.ended(&reason);
        let state = self.coordinator.state();
        let mut outcome = Outcome {
            steps: state.step,
            samples_seen: state.samples_seen,
            wall_secs: self.wall_secs(),
            metrics: self.metrics.clone(),
            best: None,
            reason,
        };
        let earlier = if self.is_rank_0() { self.earlier_result(&outcome.reason) } else { None };
        if self.is_known(earlier.is_some())? {
            outcome.best = earlier.and_then(|earlier| earlier.best);
            return Ok(outcome);
        }
        outcome.best = self.best_weights(&outcome.reason)?;
        self.on_rank_0(|session| session.write_result(&outcome))?;
        Ok(outcome)
    }

    /// What rank 0 knows, on all ranks.
    fn is_known(&self, here: bool) -> Result<bool, TrainError> {
        Ok(self.prepared.engine.collective().broadcast_bytes(vec![u8::from(here)], 0)? == [1])
    }

    fn write_result(&mut self, outcome: &Outcome) -> Result<(), TrainError> {
        let Some(run_dir) = &self.run_dir else { return Ok(()) };
        let result = RunResult {
            world_size: self.world_size(),
            stop_reason: outcome.reason.as_str().to_owned(),
            step: outcome.steps,
            epoch: outcome.steps / self.prepared.plan.steps_per_epoch.max(1),
            samples_seen: outcome.samples_seen,
            wall_s: outcome.wall_secs,
            optimized: self.prepared.config.optimized_metric.clone().map(|name| Optimized {
                value: outcome.metrics.get(&name).copied().filter(|value| value.is_finite()),
                name,
            }),
            metrics: outcome.metrics.clone(),
            best: outcome.best.clone(),
            data_fingerprint: Some(format!("{:016x}", self.prepared.dataset.fingerprint)),
        };
        result.write(&run_dir.result())?;
        if let Some(best) = &outcome.best {
            self.tracker.best(best)?;
        }
        // A run that will be continued has not ended for TensorBoard.
        match outcome.reason {
            StopReason::Finished | StopReason::EarlyStopped => self.tracker.end(SessionStatus::Success)?,
            StopReason::NonFinite => self.tracker.end(SessionStatus::Failure)?,
            StopReason::Interrupted | StopReason::Requeue => {}
        }
        Ok(())
    }

    /// What a checkpoint keeps of the loop, at the border of a step.
    pub(super) fn loop_state(&self) -> LoopState {
        // Field by field, so that a new one does not compile until it is said whether it is saved.
        let Self {
            prepared,
            coordinator,
            dropped,
            metrics,
            last_step_finite,
            // Counted on from what the checkpoint says.
            started: _,
            earlier_secs: _,
            // Of the process and not of the run.
            run_dir: _,
            tracker: _,
            saver: _,
            observer: _,
            left_out: _,
            missed: _,
            acted: _,
            limits: _,
            wishes: _,
            // A function of the step.
            loader: _,
            pending: _,
            inputs: _,
            // Empty at the border of a step, or reported before a directive.
            in_flight: _,
            failure: _,
            monitored: _,
            watched: _,
            measured: _,
            window: _,
        } = self;
        LoopState {
            coordinator: coordinator.state().clone(),
            wall_secs: self.wall_secs(),
            dropped: dropped.clone(),
            metrics: metrics.clone(),
            data_fingerprint: prepared.dataset.fingerprint,
            resolved: prepared.resolved,
            world_size: self.world_size(),
            unreported_finite: *last_step_finite,
        }
    }

    pub(super) fn world_size(&self) -> usize {
        self.prepared.engine.collective().world().world_size
    }

    /// Seconds of training so far.
    pub(super) fn wall_secs(&self) -> f64 {
        self.earlier_secs + self.started.elapsed().as_secs_f64()
    }

    /// Tells the others what this rank is doing.
    fn enter(&self, stage: Stage) -> StageGuard {
        self.prepared.engine.collective().heartbeat().enter(stage)
    }

    /// Every rank reports, rank 0 decides, all hear.
    fn next_directive(&mut self) -> Result<Directive, TrainError> {
        if let Err(error) = self.look_after_save() {
            self.failure.get_or_insert(error);
        }
        let ready = self.failure.take().map_or_else(|| self.fetch_batch(), Err);
        let _stage = self.enter(Stage::Reporting);
        let ranks = Arc::clone(self.prepared.engine.collective());
        let report = Report {
            ready_samples: self.pending.as_ref().map_or(0, |b| b.kept.len() as u32),
            interrupt: self.wishes.interrupt(),
            last_step_finite: self.last_step_finite.take(),
            monitored: self.monitored.take(),
            watched: self.watched.take(),
            failed_samples: self.take_failures(),
        };
        let message = Message { report, failure: ready.as_ref().err().map(Told::of) };
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
            if self.coordinator.ending().is_some() {
                self.wishes.agreed();
            }
        }
        Ok(decode(&DIRECTIVE, &ranks.broadcast_bytes(message, 0)?)?)
    }

    fn fetch_batch(&mut self) -> Result<(), TrainError> {
        if self.pending.is_none() {
            let _stage = self.enter(Stage::Data);
            let waiting = Instant::now();
            self.pending = self.loader.next().transpose()?;
            // While the GPU is busy with the step before.
            let device = self.prepared.engine.device();
            self.inputs = self.pending.as_ref().map(|batch| upload(batch, device)).transpose()?;
            self.window.data_secs += waiting.elapsed().as_secs_f64();
        }
        Ok(())
    }

    fn take_failures(&mut self) -> Vec<(u32, String)> {
        let failed = self.pending.as_mut().map(|b| std::mem::take(&mut b.failed)).unwrap_or_default();
        failed.into_iter().map(|f| (f.sample_id, format!("`{}`: {}", f.path.display(), f.reason))).collect()
    }

    fn step(&mut self, plan: StepPlan) -> Result<(), TrainError> {
        self.window.started.get_or_insert_with(Instant::now);
        self.prepared.engine.collective().heartbeat().set_step(plan.step);
        let (Some(batch), Some(inputs)) = (self.pending.take(), self.inputs.take()) else {
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
        self.window.steps += 1;
        self.window.samples += plan.global_samples;
        self.window.compute_secs += outcome.compute_secs;
        self.window.comm_secs += outcome.comm_secs;
        if !outcome.finite {
            tracing::warn!(
                step = plan.step,
                ?ids,
                loss_scale = outcome.loss_scale,
                "loss or gradient is not finite: the step is skipped on all ranks"
            );
        }
        self.log_step(&plan, outcome)
    }

    /// Writes metrics and remembers their last values; rank 0's tracker writes files, the others' write nothing.
    pub(super) fn record(&mut self, step: u64, epoch: u64, values: Vec<(String, f64)>) {
        if let Err(error) = self.tracker.record(step, epoch, self.wall_secs(), &values) {
            self.failure.get_or_insert(error.into());
        }
        if self.measured.0 != step {
            self.measured = (step, BTreeMap::new());
        }
        self.measured.1.extend(values.iter().cloned());
        self.metrics.extend(values);
    }

    /// Adds to what [`Self::measured_at`] says, unless it says so already.
    pub(super) fn note_measured(&mut self, step: u64, name: String, value: f64) {
        if self.measured.0 == step {
            self.measured.1.entry(name).or_insert(value);
        }
    }

    /// What was measured on the weights after `step`; values of earlier steps belong to other weights.
    pub(super) fn measured_at(&self, step: u64) -> BTreeMap<String, f64> {
        if self.measured.0 == step { self.measured.1.clone() } else { BTreeMap::new() }
    }

    pub(super) fn is_rank_0(&self) -> bool {
        self.prepared.engine.collective().world().rank == 0
    }

    /// Keeps a failure of this rank until the others hear of it.
    pub(super) fn fail_with(&mut self, error: TrainError) {
        self.failure.get_or_insert(error);
    }

    fn picture_first_batch(&mut self, batch: &Batch) {
        if !self.prepared.config.track.first_batch_images {
            return;
        }
        let captions = first_batch::captions(&self.prepared.dataset, batch);
        if let Err(error) = self.tracker.first_batch(batch, &captions) {
            self.failure.get_or_insert(error.into());
        }
    }

    /// All ranks learn whether rank 0's work succeeded.
    pub(super) fn on_rank_0(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), TrainError>,
    ) -> Result<(), TrainError> {
        let ranks = Arc::clone(self.prepared.engine.collective());
        let done = if ranks.world().rank == 0 { work(self) } else { Ok(()) };
        agreed(&*ranks, done)
    }
}
