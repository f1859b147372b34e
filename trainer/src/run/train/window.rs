//! What is logged of the steps since the last time: losses, rates, and where the time went.

use std::time::Instant;

use super::record::Recorder;
use crate::coordinator::StepPlan;
use crate::engine::StepOutcome;
use crate::error::TrainError;
use crate::run::checkpoints::Pause;
use crate::run::prepare::Prepared;
use crate::run::report::{Observer, Progress};

/// Sums since the last logged step.
#[derive(Default)]
pub(super) struct Window {
    steps: u64,
    samples: u64,
    /// Waiting for batches.
    pub(super) data_secs: f64,
    compute_secs: f64,
    /// Waiting for other ranks before the step.
    pub(super) wait_secs: f64,
    /// Waiting for other ranks within the step.
    comm_secs: f64,
    /// The longest of each, over the checkpoints of rank 0.
    saved: Option<Pause>,
    started: Option<Instant>,
}

impl Window {
    /// A step begins.
    pub(super) fn begin(&mut self) {
        self.started.get_or_insert_with(Instant::now);
    }

    /// A step's outcome has become known.
    pub(super) fn add(&mut self, plan: &StepPlan, outcome: &StepOutcome) {
        self.steps += 1;
        self.samples += plan.global_samples;
        self.compute_secs += outcome.compute_secs;
        self.comm_secs += outcome.comm_secs;
    }

    /// A checkpoint was handed over.
    pub(super) fn saved(&mut self, pause: Pause) {
        let longest = self.saved.get_or_insert_default();
        longest.wait_secs = longest.wait_secs.max(pause.wait_secs);
        longest.pause_secs = longest.pause_secs.max(pause.pause_secs);
    }

    /// Records the metrics of a step whose turn it is, tells the observer of each, and begins anew after what was logged.
    /// Returns whether it was logged.
    ///
    /// # Errors
    /// When the ranks cannot talk.
    pub(super) fn log(
        &mut self,
        prepared: &Prepared,
        (plan, outcome): (&StepPlan, &StepOutcome),
        recorder: &mut Recorder,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        let done = plan.step + 1;
        let every = prepared.config.track.every_steps.max(1);
        let last = done == prepared.plan.total_steps;
        let logged = done.is_multiple_of(every) || plan.step == 0 || last;
        let secs = self.started.map_or(0.0, |started| started.elapsed().as_secs_f64()).max(1e-9);
        let samples_per_sec = self.samples as f64 / secs;
        if logged {
            self.trace(outcome);
            recorder.record(done, plan.epoch, self.metrics(prepared, plan, outcome, samples_per_sec)?);
        }
        observer.stepped(&Progress {
            step: done,
            total_steps: prepared.plan.total_steps,
            epoch: plan.epoch,
            steps_per_epoch: prepared.plan.steps_per_epoch,
            loss: outcome.loss,
            samples_per_sec,
            logged,
        });
        if logged {
            *self = Self::default();
        }
        Ok(logged)
    }

    fn trace(&self, outcome: &StepOutcome) {
        tracing::debug!(
            loss = outcome.loss,
            grad_norm = outcome.grad_norm,
            lr = outcome.lr,
            data_secs = self.data_secs,
            compute_secs = self.compute_secs,
            wait_secs = self.wait_secs,
            comm_secs = self.comm_secs,
            steps = self.steps,
            "trained"
        );
    }

    /// Names and values, in the order of the file.
    fn metrics(
        &self,
        prepared: &Prepared,
        plan: &StepPlan,
        outcome: &StepOutcome,
        samples_per_sec: f64,
    ) -> Result<Vec<(String, f64)>, TrainError> {
        let per_step = 1.0 / self.steps.max(1) as f64;
        let mut values = vec![("train/loss".to_owned(), outcome.loss)];
        if prepared.plan.course.is_staged() {
            values.push(("train/phase".into(), f64::from(plan.phase + 1)));
        }
        let losses = prepared.engine.method().loss_names().into_iter().zip(&outcome.losses);
        values.extend(losses.map(|(name, loss)| (format!("train/{name}_loss"), *loss)));
        values.extend(outcome.means.iter().map(|(name, mean)| (format!("train/{name}"), *mean)));
        for (name, value) in [
            ("opt/lr", outcome.lr),
            ("opt/grad_norm", outcome.grad_norm),
            ("perf/samples_per_s", samples_per_sec),
            ("perf/data_s", self.data_secs * per_step),
            ("perf/compute_s", self.compute_secs * per_step),
            ("perf/wait_s", self.wait_secs * per_step),
            ("perf/comm_exposed_s", self.comm_secs * per_step),
        ] {
            values.push((name.to_owned(), value));
        }
        let of_groups = prepared.engine.settings().group_lrs(plan.step);
        values.extend(of_groups.map(|(group, lr)| (format!("opt/lr/{group}"), lr)));
        values.extend(self.slowest_rank(prepared, per_step)?);
        if let Some(Pause { wait_secs, pause_secs }) = self.saved {
            values.push(("perf/save_pause_s".into(), pause_secs));
            values.push(("perf/save_wait_s".into(), wait_secs));
        }
        if outcome.loss_scale != 1.0 {
            values.push(("opt/loss_scale".into(), outcome.loss_scale));
        }
        if let Some(sampler) = &prepared.sampler {
            values.push(("perf/reuse".into(), sampler.reuse(plan.epoch)));
        }
        if outcome.anchors == Some(0) {
            tracing::warn!(
                step = plan.step,
                "no row of the batch has a positive: the loss is 0 and nothing is learned"
            );
        }
        Ok(values)
    }

    /// Which rank the others wait for: the one that itself waits least. All ranks call it.
    fn slowest_rank(&self, prepared: &Prepared, per_step: f64) -> Result<Vec<(String, f64)>, TrainError> {
        let ranks = prepared.engine.ranks();
        if ranks.world().world_size == 1 {
            return Ok(Vec::new());
        }
        let waited = ranks.gather_f64((self.wait_secs + self.comm_secs) * per_step)?;
        let slowest = waited.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        let most = waited.iter().copied().fold(0.0, f64::max);
        let Some((rank, least)) = slowest else { return Ok(Vec::new()) };
        Ok(vec![("perf/slowest_rank".into(), rank as f64), ("perf/straggling_s".into(), most - least)])
    }
}
