//! What the classifiers of a method say of each part.

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Seen, Subject};
use super::heads::{HeadResult, HeadSums};
use super::{Evaluation, Thoroughness, names};
use crate::error::TrainError;
use crate::method::HeadTask;

/// Sums over the samples of a part, and over those of the training part where that is read anyway.
pub(super) struct Classifiers {
    tasks: Vec<HeadTask>,
    /// The training part is read, for its embeddings.
    reads_train: bool,
    part: HeadSums,
    train: HeadSums,
    /// The same on all ranks, once the training part has been read.
    on_train: Option<Vec<HeadResult>>,
}

impl Classifiers {
    pub(super) fn new(subject: &Subject<'_>) -> Self {
        let tasks = subject.method.heads().to_vec();
        let sums = || HeadSums::of(&tasks);
        Self { reads_train: subject.config.embeddings, part: sums(), train: sums(), on_train: None, tasks }
    }

    fn looks_at_train(&self, thoroughness: Thoroughness) -> bool {
        thoroughness.train && self.reads_train
    }
}

impl Evaluator for Classifiers {
    fn metrics(&self, part: &str, thoroughness: Thoroughness) -> Vec<String> {
        names::of_heads(part, &self.tasks, self.looks_at_train(thoroughness))
    }

    fn asks(&self, role: Role, thoroughness: Thoroughness) -> Asks {
        let wanted = role == Role::Examined || self.looks_at_train(thoroughness);
        Asks { heads: wanted && !self.tasks.is_empty(), ..Asks::default() }
    }

    fn see(&mut self, role: Role, seen: &Seen<'_>) -> Result<(), TrainError> {
        let sums = match role {
            Role::Train => &mut self.train,
            Role::Examined => &mut self.part,
        };
        sums.add(&seen.read.heads, seen.targets)
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        let fresh = || HeadSums::of(&self.tasks);
        let weights = read.engine.method().loss_weights();
        let results = |sums: HeadSums| sums.conclude(&**read.engine.collective(), read.dataset, &weights);
        let on_train = match self.on_train.take() {
            Some(known) => known,
            None if self.looks_at_train(read.thoroughness) => {
                results(std::mem::replace(&mut self.train, fresh()))?
            }
            None => Vec::new(),
        };
        evaluation.add_heads(results(std::mem::replace(&mut self.part, fresh()))?, &on_train);
        self.on_train = Some(on_train);
        Ok(Vec::new())
    }
}
