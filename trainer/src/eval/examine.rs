//! An evaluation: each part is read once, for what its embeddings let probes tell and for what the method's heads say.

use std::borrow::Cow;

use dtrain_configs::schema::EvalConfig;
use dtrain_data::{Dataset, LabelColumn};
use tch::Tensor;

use super::heads::{HeadResult, HeadSums};
use super::{
    Embeddings, Evaluation, LossBatches, Parts, Reading, Thoroughness, evaluate, evaluate_losses, room,
};
use crate::engine::Engine;
use crate::error::TrainError;

/// What an evaluation looks at.
pub struct Examiner<'a> {
    /// The network.
    pub engine: &'a Engine,
    /// How parts are read.
    pub reading: &'a Reading,
    /// The samples.
    pub dataset: &'a Dataset,
    /// Labels that probes ask for, the target first.
    pub labels: Vec<&'a LabelColumn>,
    /// How probes ask.
    pub config: &'a EvalConfig,
    /// How the objective is computed where no head's figures have it.
    pub losses: LossBatches<'a>,
}

/// What an evaluation found; the same on all ranks.
pub struct Findings {
    /// One for each part.
    pub evaluations: Vec<Evaluation>,
    /// Samples that could not be read, with their reasons.
    pub left_out: Vec<String>,
}

/// What one pass over a part gives.
struct Read {
    embeddings: Embeddings,
    heads: Vec<HeadResult>,
}

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
        let mut findings = Findings { evaluations: Vec::new(), left_out: Vec::new() };
        let probes = self.config.embeddings;
        let train = if probes { self.read(train, true, thoroughness.train)? } else { self.nothing()? };
        findings.left_out.extend_from_slice(&train.embeddings.left_out);
        for (index, (name, ids)) in parts.iter().enumerate() {
            let part = self.read(ids, probes, true)?;
            let mut evaluation = Evaluation { part: (*name).to_owned(), ..Evaluation::default() };
            if probes {
                let both = Parts { train: &train.embeddings, queries: &part.embeddings, name };
                evaluation = evaluate(self.engine, &both, &self.labels, self.config, thoroughness)?;
            }
            evaluation.is_reported = index + 1 == parts.len();
            evaluation.add_heads(part.heads, &train.heads);
            let (losses, unread) =
                evaluate_losses(self.engine, self.reading, self.dataset, &self.losses, ids)?;
            if let Some(losses) = losses {
                evaluation.add_losses(losses);
            }
            findings.evaluations.push(evaluation);
            findings.left_out.extend(part.embeddings.left_out.into_iter().chain(unread));
        }
        Ok(findings)
    }

    fn nothing(&self) -> Result<Read, TrainError> {
        Ok(Read { embeddings: Embeddings::none(self.engine)?, heads: Vec::new() })
    }

    /// Reads this rank's share of `ids`: the embeddings, if they are to be kept, and what the heads say of all ranks'.
    fn read(&self, ids: &[u32], keep: bool, ask_heads: bool) -> Result<Read, TrainError> {
        let method = self.engine.method();
        let heads = if ask_heads { method.heads() } else { &[] };
        if !keep && heads.is_empty() {
            return self.nothing();
        }
        let what = if keep { "embedding" } else { "asking the heads" };
        let mut sums = HeadSums::of(heads);
        let mut embeddings = Embeddings::none(self.engine)?;
        let mut rows: Vec<Tensor> = Vec::new();
        embeddings.left_out = self.reading.each(self.engine, what, ids, |batch, inputs| {
            let targets = super::heads::targets(self.dataset, batch, heads);
            let read = self.engine.read(&inputs, &targets, !heads.is_empty())?;
            sums.add(&read.heads, &targets.labels)?;
            if keep {
                rows.push(read.embeddings.f_to_device(tch::Device::Cpu).map_err(room)?);
                embeddings.ids.extend(batch.kept_ids());
            }
            Ok(())
        })?;
        if !rows.is_empty() {
            embeddings.embeddings = Tensor::f_cat(&rows, 0).map_err(room)?;
        }
        let heads = sums.conclude(&**self.engine.collective(), self.dataset, &method.loss_weights())?;
        Ok(Read { embeddings, heads })
    }
}
