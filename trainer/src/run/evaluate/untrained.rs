//! The same probes on the network before its first step: what the architecture and the features give away by themselves.

use std::borrow::Cow;

use crate::error::TrainError;
use crate::eval::{Evaluation, Examiner, Subject, Thoroughness};
use crate::run::prepare::{Prepared, reading, subject};

/// What the probes find on `parts` with the untrained network; `train` are the samples that they learn from.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(crate) fn probe_untrained(
    prepared: &Prepared,
    train: &[u32],
    parts: &[(&str, Cow<'_, [u32]>)],
) -> Result<Vec<Evaluation>, TrainError> {
    let engine = prepared.untrained()?;
    prepared.measure_statistics_of(&engine)?;
    let subject = Subject { method: engine.method(), ..subject(prepared) };
    let examiner = Examiner { engine: &engine, reading: &reading(prepared), subject };
    // What could not be read has been named for the trained network.
    Ok(examiner.probe(train, parts, Thoroughness { linear: true, train: true })?.evaluations)
}
