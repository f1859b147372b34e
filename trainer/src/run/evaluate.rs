//! Probing in the loop and at its end.

use std::borrow::Cow;

use dtrain_configs::choice_hint;

use super::Session;
use super::session::loader_options;
use crate::data::{Dataset, LabelColumn};
use crate::error::TrainError;
use crate::eval::{Evaluation, Parts, Thoroughness, embed_part, evaluate};

/// Parts that the end of a run and `dtrain eval` report on: test, and val where there is one.
pub fn final_parts(dataset: &Dataset) -> Vec<(&'static str, &[u32])> {
    [("val", dataset.val.as_slice()), ("test", dataset.test.as_slice())]
        .into_iter()
        .filter(|(_, ids)| !ids.is_empty())
        .collect()
}

/// At most `most` of `ids`, evenly spaced: ids follow paths, and the first ones would be of a few classes.
fn spread(ids: &[u32], most: usize) -> Cow<'_, [u32]> {
    if ids.len() <= most {
        return Cow::Borrowed(ids);
    }
    (0..most).filter_map(|i| ids.get(i * ids.len() / most).copied()).collect()
}

impl Session<'_> {
    /// During training: kNN of the target and the other labels on `val` (or `test`, where the data have no validation
    /// part), named `val/...`. At the end: kNN and linear probes on train, val and test.
    pub(super) fn evaluate(&mut self, step: u64, last: bool) -> Result<(), TrainError> {
        let epoch = step.saturating_sub(1) / self.prepared.plan.steps_per_epoch.max(1);
        for evaluation in self.evaluations(step, last)? {
            let values = evaluation.metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
            self.record(step, epoch, values);
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
        let embed = |ids: &[u32]| {
            let ids = spread(ids, self.limits.eval_samples.unwrap_or(ids.len()));
            embed_part(&prepared.engine, &prepared.maker, &ids, config.batch_size, loader_options(prepared))
        };
        let mut train = embed(&dataset.train)?;
        let mut left_out = std::mem::take(&mut train.left_out);
        let every = config.linear.every_epochs;
        let epochs = step / prepared.plan.steps_per_epoch.max(1);
        let linear = last || (every > 0 && epochs.is_multiple_of(every));
        let thoroughness = Thoroughness { linear, train: last };
        let parts =
            if last { final_parts(dataset) } else { final_parts(dataset).into_iter().take(1).collect() };
        let mut evaluations = Vec::new();
        for (index, (name, ids)) in parts.into_iter().enumerate() {
            let mut queries = embed(ids)?;
            left_out.append(&mut queries.left_out);
            let during = Parts { train: &train, queries: &queries, name };
            let mut evaluation = evaluate(&prepared.engine, &during, &labels, config, thoroughness)?;
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
            evaluations.push(evaluation);
        }
        for recording in left_out {
            if self.left_out.insert(recording.clone()) {
                tracing::warn!("left out of evaluations: {recording}");
            }
        }
        Ok(evaluations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_look_spreads_over_all_samples() {
        let ids: Vec<u32> = (0..10).collect();
        assert_eq!(*spread(&ids, 4), [0, 2, 5, 7]);
        assert_eq!(*spread(&ids, 10), ids);
        assert!(spread(&ids, 0).is_empty());
    }
}
