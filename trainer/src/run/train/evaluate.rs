//! Evaluations in the loop and at its end, and what monitors make of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::{EvalWeights, MetricSum, MonitorMode};
use dtrain_configs::{RunConfig, choice_hint};
use dtrain_data::{draw_by_class, spread};

use super::budget::{Amount, Budget, Verdict};
use super::record::Recorder;
use crate::error::TrainError;
use crate::eval::{
    BEST, Coverage, Evaluation, Examiner, Findings, Thoroughness, parts_at_end, parts_during, test_stands_in,
};
use crate::run::evaluate::{BankSamples, BaselineFindings, full_evaluation, probe_banks, write_reports};
use crate::run::prepare::{Bank, Prepared, reading, subject};
use crate::run::report::{Evaluated, Observer};
use crate::track::FullEvaluation;

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
    /// How many samples evaluations during training look at.
    budget: Budget,
    /// What the probes find of `eval.baseline`, once they were asked.
    baselines: Option<BaselineFindings>,
    /// What an evaluation in full has found, for the result.
    full: Option<FullEvaluation>,
}

impl Evaluator {
    /// `fits`: what was decided about the samples of an evaluation before `step`.
    pub(super) fn new(limits: Limits, fits: Option<u64>, step: u64) -> Self {
        let budget = Budget::new(fits, step);
        Self {
            limits,
            left_out: BTreeSet::new(),
            missed: BTreeSet::new(),
            budget,
            baselines: None,
            full: None,
        }
    }

    /// What has been decided about the samples of an evaluation.
    pub(super) fn decided(&self) -> Option<u64> {
        self.budget.decided()
    }

    /// During training: kNN of the target and the other labels on `val` (or `test`, where the data have no validation
    /// part), named `val/...`. At the end in full: kNN and linear probes on train, val and test, unless it is the best weights
    /// that are to be evaluated so. Besides, what the method's heads predict.
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
        let in_full = last && !awaits_best(prepared, recorder);
        self.evaluate_last(prepared, recorder, observer, (step, in_full))
    }

    /// As [`Self::evaluate`], of the last weights; `in_full` whatever the settings say.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub(super) fn evaluate_last(
        &mut self,
        prepared: &Prepared,
        recorder: &mut Recorder,
        observer: &mut dyn Observer,
        (step, in_full): (u64, bool),
    ) -> Result<MonitorValues, TrainError> {
        let epoch = step.saturating_sub(1) / prepared.plan.steps_per_epoch.max(1);
        let evaluations = self.evaluations(prepared, step, in_full)?;
        let which = if in_full { Evaluated::Last } else { Evaluated::During };
        if in_full {
            self.keep_full(prepared, recorder, EvalWeights::Last, step, &evaluations);
        }
        for mut evaluation in evaluations {
            if step > 0 {
                add_best(recorder, &mut evaluation);
            }
            let values = evaluation.metrics.iter().map(|(name, value)| (name.clone(), *value)).collect();
            recorder.record(step, epoch, values);
            if let Err(error) = recorder.tracker.confusions(step, &evaluation) {
                recorder.fail_with(error.into());
            }
            observer.evaluated(&evaluation, step, which);
        }
        let sums = sums(&prepared.config, |name| recorder.value_after(step, name));
        if !sums.is_empty() {
            recorder.record(step, epoch, sums);
        }
        // No checkpoint has the weights that a run begins with.
        if step == 0 {
            return Ok(MonitorValues::default());
        }
        Ok(self.monitor_values(prepared, recorder, step))
    }

    /// The best weights, which the engine holds now, in full; the metrics of all parts.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub(super) fn evaluate_best(
        &mut self,
        prepared: &Prepared,
        recorder: &mut Recorder,
        observer: &mut dyn Observer,
        step: u64,
    ) -> Result<BTreeMap<String, f64>, TrainError> {
        let evaluations = self.evaluations(prepared, step, true)?;
        if awaits_best(prepared, recorder) {
            self.keep_full(prepared, recorder, EvalWeights::Best, step, &evaluations);
            for evaluation in &evaluations {
                observer.evaluated(evaluation, step, Evaluated::Best);
            }
        }
        Ok(evaluations.into_iter().flat_map(|evaluation| evaluation.metrics).collect())
    }

    /// What the last evaluation in full has found.
    pub(super) fn full(&self) -> Option<&FullEvaluation> {
        self.full.as_ref()
    }

    /// For the result, and as files.
    fn keep_full(
        &mut self,
        prepared: &Prepared,
        recorder: &mut Recorder,
        weights: EvalWeights,
        step: u64,
        evaluations: &[Evaluation],
    ) {
        self.full = Some(full_evaluation(&prepared.dataset, weights, step, evaluations));
        if is_rank_0(prepared) {
            report_heads(recorder, evaluations);
        }
    }

    /// What the weights reach that the engine holds now, `step` steps old.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    fn evaluations(
        &mut self,
        prepared: &Prepared,
        step: u64,
        in_full: bool,
    ) -> Result<Vec<Evaluation>, TrainError> {
        let measured = prepared.measure_statistics()?;
        let found = self.examine(prepared, step, in_full);
        let note = prepared.note_on_statistics(measured.as_ref()).filter(|_| in_full);
        // Training goes on with what it has learned.
        if let Some(measured) = measured {
            measured.put_back(&prepared.engine);
        }
        if let Some(note) = note.filter(|_| is_rank_0(prepared)) {
            tracing::warn!("{note}");
        }
        let Findings { mut evaluations, left_out } = found?;
        if let Some(evaluation) = evaluations.first_mut().filter(|_| test_stands_in(&prepared.dataset)) {
            stand_in_for_val(evaluation, in_full);
        }
        for recording in left_out {
            if self.left_out.insert(recording.clone()) {
                tracing::warn!("left out of evaluations: {recording}");
            }
        }
        Ok(evaluations)
    }

    fn examine(&mut self, prepared: &Prepared, step: u64, in_full: bool) -> Result<Findings, TrainError> {
        let (dataset, config) = (&prepared.dataset, &prepared.config.eval);
        let every = config.linear.every_epochs;
        let epochs = step / prepared.plan.steps_per_epoch.max(1);
        let linear = in_full || (every > 0 && epochs.is_multiple_of(every));
        let thoroughness = Thoroughness { linear, train: in_full };
        let examiner =
            Examiner { engine: &prepared.engine, reading: &reading(prepared), subject: subject(prepared) };
        let parts = match in_full {
            true => parts_at_end(dataset, &config.parts),
            false => parts_during(dataset, &config.during),
        };
        if in_full || self.limits.eval_samples.is_some() {
            let most = self.limits.eval_samples.unwrap_or(usize::MAX);
            let parts: Vec<_> = parts.into_iter().map(|(name, ids)| (name, spread(ids, most))).collect();
            let train = spread(&dataset.train, most);
            let mut findings = examiner.examine(&train, &parts, thoroughness)?;
            if in_full {
                let baselines = match self.baselines.take() {
                    Some(asked) => asked,
                    None => BaselineFindings::probe(prepared, &train, &parts)?,
                };
                self.baselines.insert(baselines).put_beside(&mut findings.evaluations);
            }
            let samples: Vec<BankSamples<'_>> =
                prepared.banks.iter().map(|bank| BankSamples::spread(bank, most)).collect();
            findings.add(probe_banks(prepared, &samples, linear)?);
            return Ok(findings);
        }
        let Some((_, ids)) = parts.first().copied() else {
            return examiner.examine(&dataset.train, &[], thoroughness);
        };
        let num_further = parts.len() - 1;
        let classes = dataset.label(&prepared.config.data.target).map_or(&[][..], |label| &label.of_sample);
        let seed = prepared.config.seed;
        // Of the run's own data, then of its banks.
        let examine = |amounts: &[Amount]| {
            let Some((amount, of_banks)) = amounts.split_first() else {
                return Err(TrainError::internal("an evaluation of nothing"));
            };
            let bank = draw_by_class(&dataset.train, classes, amount.bank, seed);
            // Of further parts as many at most.
            let parts: Vec<_> = parts
                .iter()
                .map(|&(name, ids)| (name, draw_by_class(ids, classes, amount.questions, seed)))
                .collect();
            let mut findings = examiner.examine(&bank, &parts, thoroughness)?;
            let samples: Vec<BankSamples<'_>> = prepared
                .banks
                .iter()
                .zip(of_banks)
                .map(|(bank, amount)| BankSamples::drawn(bank, [amount.bank, amount.questions], seed))
                .collect();
            findings.add(probe_banks(prepared, &samples, linear)?);
            Ok(findings)
        };
        let bank = if config.embeddings { dataset.train.len() } else { 0 };
        let mut whole = vec![Amount { questions: ids.len(), bank }];
        let of_bank =
            |bank: &Bank| Amount { questions: bank.questions().len(), bank: bank.dataset.train.len() };
        whole.extend(prepared.banks.iter().map(of_bank));
        if let Verdict::Measure(few) = self.budget.verdict(config, &whole, step) {
            self.measure(prepared, &few, step, || examine(&few))?;
        }
        let (Verdict::Known(amounts) | Verdict::Measure(amounts)) = self.budget.verdict(config, &whole, step);
        let mut findings = examine(&amounts)?;
        let of_banks = |at: &usize| *at == 0 || *at > num_further;
        let with_amounts = findings.evaluations.iter_mut().enumerate().filter(|(at, _)| of_banks(at));
        let each = with_amounts.map(|(_, evaluation)| evaluation).zip(amounts.iter().zip(&whole));
        for (evaluation, (amount, whole)) in each.filter(|(_, (amount, whole))| amount != whole) {
            evaluation.coverage = Some(Coverage {
                questions: (amount.questions, whole.questions),
                bank: config.embeddings.then_some((amount.bank, whole.bank)),
            });
        }
        Ok(findings)
    }

    /// Times an evaluation of `few` samples; what follows from the clock of rank 0 holds on all ranks.
    fn measure(
        &mut self,
        prepared: &Prepared,
        few: &[Amount],
        step: u64,
        examine: impl FnOnce() -> Result<Findings, TrainError>,
    ) -> Result<(), TrainError> {
        let config = &prepared.config.eval;
        let training_secs = self.budget.training_secs();
        let began = Instant::now();
        examine()?;
        let secs = began.elapsed().as_secs_f64();
        let interval = config.every_epochs * prepared.plan.steps_per_epoch;
        let fits = self.budget.fits(config, (few, secs), (training_secs, step), interval);
        let ranks = prepared.engine.collective();
        let told = ranks.broadcast_bytes(fits.to_le_bytes().to_vec(), 0)?;
        let told = <[u8; 8]>::try_from(told.as_slice()).map_err(TrainError::internal)?;
        self.budget.decide(u64::from_le_bytes(told));
        tracing::debug!(
            secs,
            training_secs,
            fits,
            "evaluations during training look at as many samples as fit"
        );
        Ok(())
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

/// Whether it is the best weights that the end of the run evaluates in full. A run without a directory keeps none.
pub(super) fn awaits_best(prepared: &Prepared, recorder: &Recorder) -> bool {
    prepared.config.eval.weights == EvalWeights::Best && recorder.run_dir.is_some()
}

fn is_rank_0(prepared: &Prepared) -> bool {
    prepared.engine.collective().world().rank == 0
}

/// Without a validation part the test part stands in, under the name that monitors expect.
fn stand_in_for_val(evaluation: &mut Evaluation, in_full: bool) {
    evaluation.stands_in = true;
    let named = evaluation.metrics.iter();
    let renamed: Vec<(String, f64)> =
        named.filter_map(|(n, v)| Some((format!("val/{}", n.strip_prefix("test/")?), *v))).collect();
    if !in_full {
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
