//! Questions asked and answers that were right, by class and over all ranks.

use dtrain_comm::{Collective, CollectiveExt};

use crate::error::TrainError;

/// Correct answers and questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// Questions that were answered rightly.
    pub correct: u64,
    /// Questions with a label.
    pub total: u64,
}

impl Hits {
    /// Share of correct answers; NaN without questions.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }
}

/// Answers of a probe by the true class; a class that does not occur has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers {
    by_class: Vec<Hits>,
}

impl Answers {
    /// Before the first answer.
    pub fn none(num_classes: usize) -> Self {
        Self { by_class: vec![Hits::default(); num_classes] }
    }

    /// Counts answers of this rank, row by row.
    pub fn add(&mut self, predicted: &[i64], truth: &[i64]) {
        for (guess, class) in predicted.iter().zip(truth) {
            let hits = usize::try_from(*class).ok().and_then(|class| self.by_class.get_mut(class));
            if let Some(hits) = hits {
                hits.total += 1;
                hits.correct += u64::from(guess == class);
            }
        }
    }

    /// Adds up the answers of all ranks.
    ///
    /// # Errors
    /// When the ranks cannot talk.
    pub fn over_ranks(collective: &dyn Collective, all: &mut [Self]) -> Result<(), TrainError> {
        let of_all = |all: &[Self]| -> Vec<f64> {
            let hits = all.iter().flat_map(|answers| &answers.by_class);
            hits.flat_map(|hits| [hits.correct as f64, hits.total as f64]).collect()
        };
        let mut sums = of_all(all);
        collective.sum_f64(&mut sums)?;
        let mut sums = sums.into_iter().map(|sum| sum as u64);
        for hits in all.iter_mut().flat_map(|answers| &mut answers.by_class) {
            hits.correct = sums.next().unwrap_or(0);
            hits.total = sums.next().unwrap_or(0);
        }
        Ok(())
    }

    /// Of all classes together.
    pub fn hits(&self) -> Hits {
        self.by_class.iter().fold(Hits::default(), |sum, class| Hits {
            correct: sum.correct + class.correct,
            total: sum.total + class.total,
        })
    }

    /// Of each class, in the order of their numbers.
    pub fn by_class(&self) -> &[Hits] {
        &self.by_class
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtrain_comm::Single;

    #[test]
    fn answers_are_counted_by_the_true_class() {
        let mut answers = [Answers::none(3)];
        answers[0].add(&[0, 2, 2, 1], &[0, 0, 2, 7]);
        Answers::over_ranks(&Single::new(), &mut answers).unwrap();
        let hits = |correct, total| Hits { correct, total };
        assert_eq!(answers[0].by_class(), [hits(1, 2), hits(0, 0), hits(1, 1)]);
        assert_eq!(answers[0].hits(), hits(2, 3));
    }
}
