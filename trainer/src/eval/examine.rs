//! An evaluation: each part is read once, for all that its evaluators ask of it.

use std::borrow::Cow;

use tch::{Device, Tensor};

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Seen, Subject};
use super::probes::Probes;
use super::{Embeddings, Evaluation, Reading, Thoroughness, evaluators, room};
use crate::engine::Engine;
use crate::error::TrainError;

/// What an evaluation looks at.
pub struct Examiner<'a> {
    /// The network.
    pub engine: &'a Engine,
    /// How parts are read.
    pub reading: &'a Reading,
    /// What the evaluators are about.
    pub subject: Subject<'a>,
}

/// What an evaluation found; the same on all ranks.
pub struct Findings {
    /// One for each part.
    pub evaluations: Vec<Evaluation>,
    /// Samples that could not be read, with their reasons.
    pub left_out: Vec<String>,
}

impl Findings {
    /// Puts those of other parts behind.
    pub fn add(&mut self, others: Self) {
        self.evaluations.extend(others.evaluations);
        self.left_out.extend(others.left_out);
    }
}

type Evaluators<'a> = [Box<dyn Evaluator + 'a>];

impl Examiner<'_> {
    /// Examines each of `parts`, named ids; `train` are those that probes learn from.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub fn examine(
        &self,
        train: &[u32],
        parts: &[(&str, Cow<'_, [u32]>)],
        thoroughness: Thoroughness,
    ) -> Result<Findings, TrainError> {
        self.examine_with(&mut evaluators(&self.subject), train, parts, thoroughness)
    }

    /// As [`Self::examine`], by the probes alone.
    ///
    /// # Errors
    /// As [`Self::examine`].
    pub fn probe(
        &self,
        train: &[u32],
        parts: &[(&str, Cow<'_, [u32]>)],
        thoroughness: Thoroughness,
    ) -> Result<Findings, TrainError> {
        let mut probes: [Box<dyn Evaluator + '_>; 1] = [Box::new(Probes::new(&self.subject))];
        self.examine_with(&mut probes, train, parts, thoroughness)
    }

    fn examine_with(
        &self,
        evaluators: &mut Evaluators<'_>,
        train: &[u32],
        parts: &[(&str, Cow<'_, [u32]>)],
        thoroughness: Thoroughness,
    ) -> Result<Findings, TrainError> {
        let train = self.read(evaluators, Role::Train, train, thoroughness)?;
        let mut findings = Findings { evaluations: Vec::new(), left_out: train.left_out.clone() };
        let of_test = parts.iter().position(|(name, _)| *name == "test");
        let reported = of_test.unwrap_or_else(|| parts.len().saturating_sub(1));
        for (index, (name, ids)) in parts.iter().enumerate() {
            let part = self.read(evaluators, Role::Examined, ids, thoroughness)?;
            let is_reported = index == reported;
            let mut evaluation =
                Evaluation { part: (*name).to_owned(), is_reported, ..Evaluation::default() };
            let (engine, reading, dataset) = (self.engine, self.reading, self.subject.dataset);
            let read = Conclusion { engine, reading, dataset, ids, train: &train, part: &part, thoroughness };
            let mut unread = Vec::new();
            for evaluator in evaluators.iter_mut() {
                unread.extend(evaluator.conclude(&read, &mut evaluation)?);
            }
            findings.evaluations.push(evaluation);
            findings.left_out.extend(part.left_out.into_iter().chain(unread));
        }
        Ok(findings)
    }

    /// Reads this rank's share of `ids` for every evaluator that asks something of it. Returns the embeddings, if they are to
    /// be kept.
    fn read(
        &self,
        evaluators: &mut Evaluators<'_>,
        role: Role,
        ids: &[u32],
        thoroughness: Thoroughness,
    ) -> Result<Embeddings, TrainError> {
        let of_each: Vec<Asks> =
            evaluators.iter().map(|evaluator| evaluator.asks(role, thoroughness)).collect();
        let asks = of_each.iter().fold(Asks::default(), |all, own| all.or(*own));
        let mut embeddings = Embeddings::none(self.engine, self.reading)?;
        if asks.is_nothing() {
            return Ok(embeddings);
        }
        let heads = if asks.heads { self.subject.method.heads() } else { &[] };
        let what = if asks.embeddings { "embedding" } else { "asking the heads" };
        let mut rows: Vec<Tensor> = Vec::new();
        evaluators.iter_mut().for_each(|evaluator| evaluator.begin(role, thoroughness));
        let reading = Reading { masks: asks.masks, ..self.reading.clone() };
        embeddings.left_out = reading.each_with_masks(self.engine, what, ids, |batch, inputs, masks| {
            let targets = &super::heads::targets(self.subject.dataset, batch, heads)?;
            let read = &self.engine.read(inputs, targets, asks.heads)?;
            let coded = if asks.reconstruction { self.engine.reconstruct(inputs)? } else { None };
            let reconstruction = coded.as_ref();
            for (evaluator, _) in evaluators.iter_mut().zip(&of_each).filter(|(_, own)| !own.is_nothing()) {
                evaluator.see(role, &Seen { batch, inputs, masks, targets, read, reconstruction })?;
            }
            if asks.embeddings {
                rows.push(read.embeddings.f_to_device(Device::Cpu).map_err(room)?);
                embeddings.ids.extend(batch.kept_ids());
            }
            Ok(())
        })?;
        if !rows.is_empty() {
            embeddings.embeddings = Tensor::f_cat(&rows, 0).map_err(room)?;
        }
        Ok(embeddings)
    }
}
