//! Probing in the loop and at its end.

use dtrain_configs::choice_hint;

use super::Session;
use super::feed::reading;
use super::limits::spread;
use crate::data::{Dataset, LabelColumn};
use crate::error::TrainError;
use crate::eval::{Evaluation, Parts, Thoroughness, embed_part, evaluate, evaluate_heads};

/// The best accuracy so far; kept over a resume with the other metrics.
const BEST: &str = "val/acc_best";

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
        for evaluation in self.evaluations(step, last)? {
            let values = evaluation.metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
            self.record(step, epoch, values);
            self.picture_heads(&evaluation, step, last);
            self.observer.evaluated(&evaluation, step, last);
        }
        let (checkpoint, stop) = (&self.prepared.config.checkpoint, &self.prepared.config.stop);
        let monitors =
            [("checkpoint.monitor", checkpoint.monitor.clone()), ("stop.monitor", stop.monitor.clone())];
        let [monitored, watched] = monitors.map(|(key, name)| self.value_of_monitor(key, &name?, step));
        (self.monitored, self.watched) = (monitored, watched);
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

    fn evaluations(&mut self, step: u64, last: bool) -> Result<Vec<Evaluation>, TrainError> {
        let prepared = &self.prepared;
        let dataset = &prepared.dataset;
        let config = &prepared.config.eval;
        let labels: Vec<&LabelColumn> = prepared.probe_labels();
        let reading = reading(prepared);
        let most = self.limits.eval_samples.unwrap_or(usize::MAX);
        let embed = |ids: &[u32]| embed_part(&prepared.engine, &reading, &spread(ids, most));
        let train = config.embeddings.then(|| embed(&dataset.train)).transpose()?;
        let mut left_out = train.as_ref().map_or_else(Vec::new, |train| train.left_out.clone());
        let every = config.linear.every_epochs;
        let epochs = step / prepared.plan.steps_per_epoch.max(1);
        let linear = last || (every > 0 && epochs.is_multiple_of(every));
        let thoroughness = Thoroughness { linear, train: last };
        let parts =
            if last { final_parts(dataset) } else { final_parts(dataset).into_iter().take(1).collect() };
        let mut evaluations = Vec::new();
        for (index, (name, ids)) in parts.into_iter().enumerate() {
            let mut evaluation = Evaluation { part: name.to_owned(), ..Evaluation::default() };
            if let Some(train) = &train {
                let mut queries = embed(ids)?;
                left_out.append(&mut queries.left_out);
                let during = Parts { train, queries: &queries, name };
                evaluation = evaluate(&prepared.engine, &during, &labels, config, thoroughness)?;
            }
            let (heads, mut unread) =
                evaluate_heads(&prepared.engine, &reading, dataset, &spread(ids, most))?;
            left_out.append(&mut unread);
            evaluation.add_heads(heads);
            if index == 0 && name == "test" {
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
            self.add_best(&mut evaluation);
            evaluations.push(evaluation);
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
