//! Probing in the loop and at its end.

use dtrain_configs::choice_hint;
use dtrain_configs::schema::MonitorMode;
use dtrain_data::{Dataset, spread};

use super::Session;
use super::feed::{loss_batches, reading};
use crate::error::TrainError;
use crate::eval::{Evaluation, Examiner, Findings, Thoroughness};

/// The best accuracy so far; kept over a resume with the other metrics.
pub(super) const BEST: &str = "val/acc_best";

/// Parts that the end of a run and `dtrain eval` report on: test, and val where there is one.
pub fn final_parts(dataset: &Dataset) -> Vec<(&'static str, &[u32])> {
    [("val", dataset.val.as_slice()), ("test", dataset.test.as_slice())]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .collect()
}

impl Session<'_> {
    /// During training: kNN of the target and the other labels on `val` (or `test`, where the data have no validation
    /// part), named `val/...`. At the end: kNN and linear probes on train, val and test. Besides, what the method's heads
    /// predict.
    pub(super) fn evaluate(&mut self, step: u64, last: bool) -> Result<(), TrainError> {
        let epoch = step.saturating_sub(1) / self.prepared.plan.steps_per_epoch.max(1);
        let evaluations = self.evaluations(step, last)?;
        if last {
            self.report_heads(&evaluations);
        }
        for mut evaluation in evaluations {
            self.add_best(&mut evaluation);
            let values = evaluation.metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
            self.record(step, epoch, values);
            self.picture_heads(&evaluation, step);
            self.observer.evaluated(&evaluation, step, last);
        }
        let (checkpoint, stop) = (&self.prepared.config.checkpoint, &self.prepared.config.stop);
        let owned = |(name, _): (&str, MonitorMode)| name.to_owned();
        let monitors = [
            ("checkpoint.monitor", checkpoint.monitored().map(owned)),
            ("stop.monitor", stop.monitored().map(owned)),
        ];
        let [monitored, watched] = monitors.map(|(key, name)| self.value_of_monitor(key, &name?, step));
        (self.monitored, self.watched) = (monitored, watched);
        // A training metric is as last logged, maybe some steps ago; the checkpoint says by which value it is the best.
        let name = self.prepared.config.checkpoint.monitored().map(|(name, _)| name.to_owned());
        if let Some((name, value)) = name.zip(monitored) {
            self.note_measured(step, name, value);
        }
        Ok(())
    }

    /// What a monitor is after the evaluation at `step`. A probe that is not part of every evaluation says nothing until
    /// its next turn; a training metric is as last logged.
    fn value_of_monitor(&mut self, key: &str, name: &str, step: u64) -> Option<f64> {
        let is_probe = ["val/", "test/"].iter().any(|part| name.starts_with(part));
        let value = match self.measured_at(step).get(name) {
            None if !is_probe => self.metrics.get(name).copied(),
            value => value.copied(),
        };
        if !self.metrics.contains_key(name) && self.missed.insert(key.to_owned()) {
            let hint = choice_hint(name, self.metrics.keys().map(String::as_str));
            tracing::warn!("`{key}` is `{name}`, which this evaluation did not measure: {hint}");
        }
        value
    }

    /// What the weights reach that the engine holds now, `step` steps old.
    pub(super) fn evaluations(&mut self, step: u64, last: bool) -> Result<Vec<Evaluation>, TrainError> {
        let prepared = &self.prepared;
        let dataset = &prepared.dataset;
        let config = &prepared.config.eval;
        let reading = reading(prepared);
        let most = self.limits.eval_samples.unwrap_or(usize::MAX);
        let every = config.linear.every_epochs;
        let epochs = step / prepared.plan.steps_per_epoch.max(1);
        let linear = last || (every > 0 && epochs.is_multiple_of(every));
        let parts = final_parts(dataset).into_iter().take(if last { usize::MAX } else { 1 });
        let parts: Vec<_> = parts.map(|(name, ids)| (name, spread(ids, most))).collect();
        let examiner = Examiner {
            engine: &prepared.engine,
            reading: &reading,
            dataset,
            labels: prepared.probe_labels(),
            config,
            losses: loss_batches(prepared),
        };
        let thoroughness = Thoroughness { linear, train: last };
        let measured = prepared.measure_statistics()?;
        let found = examiner.examine(&spread(&dataset.train, most), &parts, thoroughness);
        let note = prepared.note_on_statistics(measured.as_ref()).filter(|_| last);
        // Training goes on with what it has learned.
        if let Some(measured) = measured {
            measured.put_back(&prepared.engine);
        }
        if let Some(note) = note.filter(|_| self.is_rank_0()) {
            tracing::warn!("{note}");
        }
        let Findings { mut evaluations, left_out } = found?;
        for (index, evaluation) in evaluations.iter_mut().enumerate() {
            if index == 0 && evaluation.part == "test" {
                // Without a validation part the test part stands in, under the name that monitors expect.
                let renamed: Vec<(String, f64)> = evaluation
                    .metrics
                    .iter()
                    .filter_map(|(n, v)| Some((format!("val/{}", n.strip_prefix("test/")?), *v)))
                    .collect();
                if !last {
                    evaluation.metrics.clear();
                }
                evaluation.metrics.extend(renamed);
            }
        }
        for recording in left_out {
            if self.left_out.insert(recording.clone()) {
                tracing::warn!("left out of evaluations: {recording}");
            }
        }
        Ok(evaluations)
    }

    /// `val/acc_best`: the largest `val/acc` so far.
    fn add_best(&self, evaluation: &mut Evaluation) {
        let Some(now) = evaluation.metrics.get("val/acc").copied() else { return };
        let before = self.metrics.get(BEST).copied().unwrap_or(f64::NEG_INFINITY);
        evaluation.metrics.insert(BEST.to_owned(), before.max(now));
    }
}
