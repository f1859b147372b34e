//! What stands beside the probes of trained weights: the same probes on the network before its first step, which tell what the
//! architecture gives away by itself, and on the inputs, which tell what is there without a network.

use std::borrow::Cow;

use dtrain_configs::schema::Baseline;

use crate::error::TrainError;
use crate::eval::{Embedder, Evaluation, Examiner, Reading, Subject, Thoroughness};
use crate::run::prepare::{Prepared, reading, subject};

/// What the probes find on the parts for each of `eval.baseline`.
pub(crate) struct BaselineFindings(Vec<(Baseline, Vec<Evaluation>)>);

impl BaselineFindings {
    /// Asks the probes of `eval.baseline` on `parts`; `train` are the samples that they learn from.
    ///
    /// # Errors
    /// When memory runs out or the ranks cannot talk.
    pub(crate) fn probe(
        prepared: &Prepared,
        train: &[u32],
        parts: &[(&str, Cow<'_, [u32]>)],
    ) -> Result<Self, TrainError> {
        let found = |&baseline: &Baseline| {
            let evaluations = match baseline {
                Baseline::Untrained => probe_untrained(prepared, train, parts),
                Baseline::Inputs => probe_inputs(prepared, train, parts),
            };
            Ok((baseline, evaluations?))
        };
        prepared.config.eval.baseline.iter().map(found).collect::<Result<_, _>>().map(Self)
    }

    /// Puts what was found beside the lines and metrics of `evaluations`, of the same parts.
    pub(crate) fn put_beside(&self, evaluations: &mut [Evaluation]) {
        for (baseline, of_parts) in &self.0 {
            let both = evaluations.iter_mut().zip(of_parts);
            both.for_each(|(evaluation, found)| evaluation.put_beside(*baseline, found));
        }
    }
}

fn probe_untrained(
    prepared: &Prepared,
    train: &[u32],
    parts: &[(&str, Cow<'_, [u32]>)],
) -> Result<Vec<Evaluation>, TrainError> {
    let engine = prepared.untrained()?;
    prepared.measure_statistics_of(&engine)?;
    let subject = Subject { method: engine.method(), ..subject(prepared) };
    let examiner = Examiner { engine: &engine, reading: &reading(prepared), subject };
    // What could not be read has been named for the trained network.
    Ok(examiner.probe(train, parts, IN_FULL)?.evaluations)
}

fn probe_inputs(
    prepared: &Prepared,
    train: &[u32],
    parts: &[(&str, Cow<'_, [u32]>)],
) -> Result<Vec<Evaluation>, TrainError> {
    let reading = Reading { embedder: Embedder::of_inputs(&*prepared.maker), ..reading(prepared) };
    let examiner = Examiner { engine: &prepared.engine, reading: &reading, subject: subject(prepared) };
    Ok(examiner.probe(train, parts, IN_FULL)?.evaluations)
}

const IN_FULL: Thoroughness = Thoroughness { linear: true, train: true };
