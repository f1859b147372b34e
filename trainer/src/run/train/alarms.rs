//! Alarms of a run in progress: rank 0 judges what was recorded, the coordinator decides, and what it decides is told.

use std::collections::BTreeMap;

use dtrain_configs::RunConfig;
use dtrain_configs::schema::{Alarm, AlarmAction, BatchFacts, LabelUse, LossMarks};
use dtrain_data::Dataset;

use super::record::Recorder;
use crate::alarms::{AlarmEvent, AlarmFacts, Consequence, Judgement, Measured, judge_evaluation, judge_step};
use crate::coordinator::StopReason;
use crate::eval::validation_part;
use crate::run::prepare::Prepared;

/// What rank 0 watches; nothing on the other ranks.
pub(super) struct Watch {
    facts: AlarmFacts,
    batch: BatchFacts,
    is_rank_0: bool,
    /// Until they are reported.
    unreported: Vec<Judgement>,
}

impl Watch {
    /// Goes on with judgements that the coordinator has not heard of.
    pub(super) fn new(prepared: &Prepared, unreported: Vec<Judgement>) -> Self {
        let is_rank_0 = prepared.engine.collective().world().rank == 0;
        let (facts, batch) = (facts(prepared), first_batch(prepared));
        if is_rank_0 && prepared.config.alarms.enabled {
            let marks =
                prepared.config.method.loss_marks(&batch, &prepared.engine.settings().scheduled_values(0));
            tracing::debug!(
                embedding_width = facts.embedding_width,
                full_rank = facts.full_rank,
                recording = facts.recording.as_deref(),
                entropy_metric = facts.entropy.map(|entropy| entropy.metric),
                num_classes = facts.entropy.map(|entropy| entropy.num_classes),
                loss_at_chance = marks.chance,
                loss_at_minimum = marks.minimum,
                "what alarms go by"
            );
        }
        Self { facts, batch, is_rank_0, unreported }
    }

    /// Judges what was measured of the weights after `step`.
    pub(super) fn after_evaluation(&mut self, prepared: &Prepared, recorder: &Recorder, step: u64) {
        if !self.is_rank_0 {
            return;
        }
        let measured = Measured::of(&self.facts, &|name| recorder.value_after(step, name));
        let marks = self.marks(prepared, step);
        let judged = judge_evaluation(&prepared.config.alarms, &self.facts, marks, &measured, step);
        self.unreported.extend(judged);
    }

    /// Judges the loss of a step that was logged. Every classifier begins at ln K, so the first epoch does not count.
    pub(super) fn after_step(&mut self, prepared: &Prepared, loss: f64, step: u64) {
        if self.is_rank_0 && step > prepared.plan.steps_per_epoch {
            let marks = self.marks(prepared, step);
            self.unreported.extend(judge_step(&prepared.config.alarms, marks, loss, step));
        }
    }

    /// What the coordinator has not heard of.
    pub(super) fn unreported(&self) -> &[Judgement] {
        &self.unreported
    }

    /// The same, reported once.
    pub(super) fn take(&mut self) -> Vec<Judgement> {
        std::mem::take(&mut self.unreported)
    }

    /// Writes down what has changed, and says it. `ending`: what the coordinator has decided.
    pub(super) fn tell(
        &self,
        event: &AlarmEvent,
        ending: Option<&StopReason>,
        prepared: &Prepared,
        recorder: &mut Recorder,
    ) {
        let alarms = &prepared.config.alarms;
        let consequence = match (alarms.action(event.alarm), ending) {
            (AlarmAction::Rollback, Some(StopReason::Rollback(cause))) => {
                Consequence::GoesBack { to_step: cause.to_step, set: &alarms.rollback_set }
            }
            (AlarmAction::Rollback, Some(StopReason::Alarm)) => Consequence::NoWayBack,
            (AlarmAction::Stop, _) | (AlarmAction::Rollback, _) => Consequence::Ends,
            (AlarmAction::Warn | AlarmAction::Ignore, _) => Consequence::None,
        };
        let message = event.message(&self.facts, consequence);
        match event.raised {
            Some(_) => tracing::warn!("{message}"),
            None => tracing::info!("{message}"),
        }
        let epoch = event.step.saturating_sub(1) / prepared.plan.steps_per_epoch.max(1);
        let is_on = f64::from(u8::from(event.raised.is_some()));
        recorder.record(event.step, epoch, vec![(metric_name(event.alarm), is_on)]);
    }

    /// Of the training loss of the last of `step` steps. A phase that weighs losses changes what the loss can be.
    fn marks(&self, prepared: &Prepared, step: u64) -> LossMarks {
        let last = step.saturating_sub(1);
        let method = prepared.engine.method();
        let course = &prepared.plan.course;
        let is_weighed = course.phase(course.index_of(last)).is_some_and(|phase| !phase.losses.is_empty());
        if method.loss_names().len() != 1 || method.loss_weights() != [1.0] || is_weighed {
            return LossMarks::default();
        }
        let values = prepared.engine.settings().scheduled_values(last);
        prepared.config.method.loss_marks(&self.batch, &values)
    }
}

/// 1 while the alarm is on, 0 when it has cleared; there is none of an alarm that was never raised.
fn metric_name(alarm: Alarm) -> String {
    format!("alarm/{}", alarm.as_str())
}

fn facts(prepared: &Prepared) -> AlarmFacts {
    let (config, dataset) = (&prepared.config, &*prepared.dataset);
    let method = prepared.engine.method();
    let labels = method.facts().labels;
    let recording = config.data.recording_label().map(str::to_owned);
    AlarmFacts {
        embedding_width: method.num_features().max(1) as u64,
        full_rank: full_rank(config, dataset, method.num_features(), labels),
        recording: recording.filter(|name| *name != config.data.target && dataset.label(name).is_some()),
        labels,
        entropy: config.method.output_entropy(),
    }
}

/// A method that pulls the samples of a class together needs no more dimensions than classes (Papyan et al. 2020).
fn full_rank(config: &RunConfig, dataset: &Dataset, width: i64, labels: LabelUse) -> Option<f64> {
    let samples = validation_part(dataset).map_or(0, |(_, ids)| ids.len());
    let samples = config.trainer.limit_eval_samples.map_or(samples, |most| most.min(samples));
    let classes = match labels {
        LabelUse::Unused => usize::MAX,
        LabelUse::Groups | LabelUse::Target => dataset.label(&config.data.target)?.classes.len(),
        LabelUse::EveryLabel => return None,
    };
    let full = samples.min(classes).min(usize::try_from(width).unwrap_or(0));
    (full > 0).then_some(full as f64)
}

/// The first global batch stands for all: samplers draw them alike.
fn first_batch(prepared: &Prepared) -> BatchFacts {
    let label = prepared.dataset.label(&prepared.config.data.target);
    let ids = prepared.sampler.as_ref().map_or_else(Vec::new, |sampler| sampler.batch(0, 0));
    let (mut counts, mut unlabelled) = (BTreeMap::<u32, usize>::new(), 0);
    for id in ids {
        match label.and_then(|label| label.of_sample.get(id as usize).copied().flatten()) {
            Some(class) => *counts.entry(class).or_default() += 1,
            None => unlabelled += 1,
        }
    }
    BatchFacts {
        class_counts: counts.into_values().collect(),
        unlabelled,
        num_classes: label.map_or(0, |label| label.classes.len()),
    }
}
