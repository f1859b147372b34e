//! A figure of a part's embeddings, whatever they are embeddings of: the evaluator around a function of them.

use dtrain_comm::Collective;

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Subject};
use super::{Embeddings, Evaluation, Thoroughness, names};
use crate::error::TrainError;

/// The figure from this rank's embeddings; all ranks call it alike and find the same.
type Measure = fn(&dyn Collective, &Embeddings) -> Result<f64, TrainError>;

/// Measures the embeddings of each part, where evaluations embed at all.
pub(super) struct Figure {
    is_on: bool,
    name: &'static str,
    measure: Measure,
}

impl Figure {
    pub(super) fn new(subject: &Subject<'_>, name: &'static str, measure: Measure) -> Self {
        Self { is_on: subject.config.embeddings, name, measure }
    }
}

impl Evaluator for Figure {
    fn metrics(&self, part: &str, _: Thoroughness) -> Vec<String> {
        if self.is_on { vec![names::of_part(part, self.name)] } else { Vec::new() }
    }

    fn asks(&self, role: Role, _: Thoroughness) -> Asks {
        Asks { embeddings: self.is_on && role == Role::Examined, ..Asks::default() }
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if self.is_on {
            let value = (self.measure)(&**read.engine.collective(), read.part)?;
            evaluation.metrics.insert(names::of_part(&evaluation.part, self.name), value);
        }
        Ok(Vec::new())
    }
}
