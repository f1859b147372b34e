//! Evaluations in the loop and at its end, and what monitors make of them.

use std::collections::BTreeSet;

use dtrain_configs::schema::{MetricSum, MonitorMode};
use dtrain_configs::{RunConfig, choice_hint};
use dtrain_data::spread;

use super::record::Recorder;
use crate::error::TrainError;
use crate::eval::{BEST, Evaluation, Examiner, Findings, Thoroughness, final_parts};
use crate::run::evaluate::write_reports;
use crate::run::prepare::{Prepared, reading, subject};
use crate::run::report::Observer;

/// Samples of each part that an evaluation looks at; `None` = all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// For a quick look only.
    pub(crate) eval_samples: Option<usize>,
}

/// What monitors are after an evaluation, for the coordinator.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MonitorValues {
    /// `checkpoint.monitor`.
    pub(super) checkpoint: Option<f64>,
    /// `stop.monitor`.
    pub(super) stop: Option<f64>,
}

/// Evaluates, and says once what was left out.
pub(super) struct Evaluator {
    limits: Limits,
    /// What could not be read.
    left_out: BTreeSet<String>,
    /// Monitors that an evaluation did not measure.
    missed: BTreeSet<String>,
}

impl Evaluator {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, left_out: BTreeSet::new(), missed: BTreeSet::new() }
    }

    /// During training: kNN of the target and the other labels on `val` (or `test`, where the data have no validation
    /// part), named `val/...`. At the end: kNN and linear probes on train, val and test. Besides, what the method's heads
    /// predict.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub(super) fn evaluate(
        &mut self,
        prepared: &Prepared,
        recorder: &mut Recorder,
        observer: &mut dyn Observer,
        (step, last): (u64, bool),
    ) -> Result<MonitorValues, TrainError> {
        let epoch = step.saturating_sub(1) / prepared.plan.steps_per_epoch.max(1);
        let evaluations = self.evaluations(prepared, step, last)?;
        if last && is_rank_0(prepared) {
            report_heads(recorder, &evaluations);
        }
        for mut evaluation in evaluations {
            add_best(recorder, &mut evaluation);
            let values = evaluation.metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
            recorder.record(step, epoch, values);
            if let Err(error) = recorder.tracker.confusions(step, &evaluation) {
                recorder.fail_with(error.into());
            }
            observer.evaluated(&evaluation, step, last);
        }
        let sums = sums(&prepared.config, |name| recorder.value_after(step, name));
        if !sums.is_empty() {
            recorder.record(step, epoch, sums);
        }
        Ok(self.monitor_values(prepared, recorder, step))
    }

    /// What the weights reach that the engine holds now, `step` steps old.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub(super) fn evaluations(
        &mut self,
        prepared: &Prepared,
        step: u64,
        last: bool,
    ) -> Result<Vec<Evaluation>, TrainError> {
        let measured = prepared.measure_statistics()?;
        let found = self.examine(prepared, step, last);
        let note = prepared.note_on_statistics(measured.as_ref()).filter(|_| last);
        // Training goes on with what it has learned.
        if let Some(measured) = measured {
            measured.put_back(&prepared.engine);
        }
        if let Some(note) = note.filter(|_| is_rank_0(prepared)) {
            tracing::warn!("{note}");
        }
        let Findings { mut evaluations, left_out } = found?;
        if let Some(evaluation) = evaluations.first_mut().filter(|evaluation| evaluation.part == "test") {
            stand_in_for_val(evaluation, last);
        }
        for recording in left_out {
            if self.left_out.insert(recording.clone()) {
                tracing::warn!("left out of evaluations: {recording}");
            }
        }
        Ok(evaluations)
    }

    fn examine(&self, prepared: &Prepared, step: u64, last: bool) -> Result<Findings, TrainError> {
        let (dataset, config) = (&prepared.dataset, &prepared.config.eval);
        let most = self.limits.eval_samples.unwrap_or(usize::MAX);
        let every = config.linear.every_epochs;
        let epochs = step / prepared.plan.steps_per_epoch.max(1);
        let linear = last || (every > 0 && epochs.is_multiple_of(every));
        let parts = final_parts(dataset).into_iter().take(if last { usize::MAX } else { 1 });
        let parts: Vec<_> = parts.map(|(name, ids)| (name, spread(ids, most))).collect();
        let examiner =
            Examiner { engine: &prepared.engine, reading: &reading(prepared), subject: subject(prepared) };
        let thoroughness = Thoroughness { linear, train: last };
        examiner.examine(&spread(&dataset.train, most), &parts, thoroughness)
    }

    fn monitor_values(&mut self, prepared: &Prepared, recorder: &mut Recorder, step: u64) -> MonitorValues {
        let (checkpoint, stop) = (&prepared.config.checkpoint, &prepared.config.stop);
        let owned = |(name, _): (&str, MonitorMode)| name.to_owned();
        let monitors = [
            ("checkpoint.monitor", checkpoint.monitored().map(owned)),
            ("stop.monitor", stop.monitored().map(owned)),
        ];
        let [checkpoint, stop] = monitors.map(|(key, name)| self.value_of(recorder, key, &name?, step));
        // A training metric is as last logged, maybe some steps ago; the checkpoint says by which value it is the best.
        let name = prepared.config.checkpoint.monitored().map(|(name, _)| name.to_owned());
        if let Some((name, value)) = name.zip(checkpoint) {
            recorder.note_measured(step, name, value);
        }
        MonitorValues { checkpoint, stop }
    }

    /// What a monitor is after the evaluation at `step`.
    fn value_of(&mut self, recorder: &Recorder, key: &str, name: &str, step: u64) -> Option<f64> {
        let metrics = recorder.metrics();
        let value = recorder.value_after(step, name);
        if !metrics.contains_key(name) && self.missed.insert(key.to_owned()) {
            let hint = choice_hint(name, metrics.keys().map(String::as_str));
            tracing::warn!("`{key}` is `{name}`, which this evaluation did not measure: {hint}");
        }
        value
    }
}

/// Values of the weighted sums that monitors name, as far as all of their parts are known, under the monitors' texts.
pub(super) fn sums(config: &RunConfig, of: impl Fn(&str) -> Option<f64>) -> Vec<(String, f64)> {
    let monitors = [config.checkpoint.monitored(), config.stop.monitored()].into_iter().flatten();
    let texts = monitors.map(|(text, _)| text).chain(config.optimized_metric.as_deref());
    let texts: BTreeSet<&str> = texts.collect();
    let value = |text: &str| {
        let sum = MetricSum::parse(text).ok().filter(MetricSum::is_sum)?;
        Some((text.to_owned(), sum.value(&of)?))
    };
    texts.into_iter().filter_map(value).collect()
}

fn is_rank_0(prepared: &Prepared) -> bool {
    prepared.engine.collective().world().rank == 0
}

/// Without a validation part the test part stands in, under the name that monitors expect.
fn stand_in_for_val(evaluation: &mut Evaluation, last: bool) {
    let named = evaluation.metrics.iter();
    let renamed: Vec<(String, f64)> =
        named.filter_map(|(n, v)| Some((format!("val/{}", n.strip_prefix("test/")?), *v))).collect();
    if !last {
        evaluation.metrics.clear();
    }
    evaluation.metrics.extend(renamed);
}

/// `val/acc_best`: the largest `val/acc` so far.
fn add_best(recorder: &Recorder, evaluation: &mut Evaluation) {
    let Some(now) = evaluation.metrics.get("val/acc").copied() else { return };
    let before = recorder.metrics().get(BEST).copied().unwrap_or(f64::NEG_INFINITY);
    evaluation.metrics.insert(BEST.to_owned(), before.max(now));
}

/// What the heads do on each class of each part, as files.
fn report_heads(recorder: &mut Recorder, evaluations: &[Evaluation]) {
    let folder = recorder.run_dir.as_ref().map(|run| run.reports());
    if let Some(Err(error)) = folder.map(|folder| write_reports(evaluations, &folder)) {
        recorder.fail_with(error);
    }
}
