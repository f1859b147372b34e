//! How a part of the data is coded: which codes are used, counted over all of it, since a batch may have fewer latents than there
//! are codes.

use dtrain_comm::CollectiveExt;

use super::evaluator::{Asks, Conclusion, Evaluator, Role, Seen, Subject};
use super::heads::numbers;
use super::{Evaluation, Thoroughness, names};
use crate::error::TrainError;

/// Counts of codes, where the method has codes.
pub(super) struct Codes {
    /// `[K]`; empty where it has none.
    counts: Vec<f64>,
}

impl Codes {
    pub(super) fn new(subject: &Subject<'_>) -> Self {
        Self { counts: vec![0.0; subject.method.num_codes().unwrap_or(0) as usize] }
    }

    fn is_on(&self) -> bool {
        !self.counts.is_empty()
    }
}

/// exp of the entropy of `counts`; 0 of nothing.
fn perplexity(counts: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    let used = counts.iter().filter(|count| **count > 0.0);
    let entropy: f64 = used.map(|count| -(count / total) * (count / total).ln()).sum();
    if total > 0.0 { entropy.exp() } else { 0.0 }
}

impl Evaluator for Codes {
    fn metrics(&self, part: &str, _: Thoroughness) -> Vec<String> {
        let own = [names::PERPLEXITY, names::USAGE].into_iter().filter(|_| self.is_on());
        own.map(|name| names::of_part(part, name)).collect()
    }

    fn asks(&self, role: Role, _: Thoroughness) -> Asks {
        Asks { reconstruction: self.is_on() && role == Role::Examined, ..Asks::default() }
    }

    fn see(&mut self, _: Role, seen: &Seen<'_>) -> Result<(), TrainError> {
        if let Some(found) = seen.reconstruction {
            for code in numbers(&found.codes)? {
                if let Some(count) = self.counts.get_mut(code as usize) {
                    *count += 1.0;
                }
            }
        }
        Ok(())
    }

    fn conclude(
        &mut self,
        read: &Conclusion<'_>,
        evaluation: &mut Evaluation,
    ) -> Result<Vec<String>, TrainError> {
        if self.is_on() {
            read.engine.collective().sum_f64(&mut self.counts)?;
            let used = self.counts.iter().filter(|count| **count > 0.0).count() as f64;
            let (part, all) = (evaluation.part.clone(), self.counts.len() as f64);
            let mut add =
                |name: &str, value: f64| evaluation.metrics.insert(names::of_part(&part, name), value);
            add(names::PERPLEXITY, perplexity(&self.counts));
            add(names::USAGE, used / all);
            self.counts.fill(0.0);
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_is_the_number_of_codes_that_are_used_alike() {
        assert!((perplexity(&[3.0, 3.0, 0.0, 3.0]) - 3.0).abs() < 1e-12);
        assert!((perplexity(&[8.0, 0.0]) - 1.0).abs() < 1e-12);
        assert_eq!(perplexity(&[0.0, 0.0]), 0.0);
        let skewed = perplexity(&[9.0, 1.0]);
        assert!((skewed - (0.9_f64.powf(-0.9) * 0.1_f64.powf(-0.1))).abs() < 1e-12);
    }
}
