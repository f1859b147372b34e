//! How long the parts of a run take, so that a time limit leaves room for what must still happen.

use std::time::Duration;

use crate::coordinator::Directive;

/// Bytes per second that a disk is trusted with before a checkpoint has been measured.
const ASSUMED_BYTES_PER_SEC: f64 = 100e6;
/// Between the last byte and the end of the process.
const GOODBYE: Duration = Duration::from_secs(1);

/// The longest of each kind so far.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    step: Duration,
    evaluation: Duration,
    save: Duration,
    /// What a checkpoint takes at a slow disk's speed, until one was measured.
    expected_save: Duration,
}

impl Pace {
    /// Before anything was measured; `bytes` is the size of a checkpoint.
    pub fn expecting(bytes: u64) -> Self {
        let expected_save = Duration::from_secs_f64(bytes as f64 / ASSUMED_BYTES_PER_SEC);
        Self { expected_save, ..Self::default() }
    }

    /// Takes in what a directive took, from the report before it to its end.
    pub fn took(&mut self, work: Work, took: Duration) {
        match work {
            Work::Step => self.step = self.step.max(took),
            Work::Evaluation => self.evaluation = self.evaluation.max(took),
            Work::Other => {}
        }
    }

    /// A checkpoint was durable `took` after it had been asked for.
    pub fn saved(&mut self, took: Duration) {
        self.save = self.save.max(took);
    }

    /// From a stop request to the end: the step or evaluation that has begun, a checkpoint, and the end of the processes.
    pub fn time_to_stop(&self) -> Duration {
        let save = if self.save.is_zero() { self.expected_save } else { self.save };
        self.step + self.evaluation + save + GOODBYE
    }
}

/// What a directive asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A step.
    Step,
    /// An evaluation.
    Evaluation,
    /// Nothing that takes time, or a checkpoint, which tells by [`Pace::saved`] when it has become durable.
    Other,
}

impl From<&Directive> for Work {
    fn from(directive: &Directive) -> Self {
        match directive {
            Directive::Step(_) => Work::Step,
            Directive::Evaluate { .. } => Work::Evaluation,
            Directive::Save { .. } | Directive::Stop(_) => Work::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_each_kind_counts_and_a_measured_checkpoint_replaces_the_guess() {
        let mut pace = Pace::expecting(1_000_000_000);
        assert_eq!(pace.time_to_stop(), Duration::from_secs(11));
        pace.saved(Duration::from_secs(3));
        pace.saved(Duration::from_secs(2));
        assert_eq!(pace.time_to_stop(), Duration::from_secs(4));
        for (work, secs) in [(Work::Step, 5), (Work::Step, 2), (Work::Evaluation, 20), (Work::Other, 500)] {
            pace.took(work, Duration::from_secs(secs));
        }
        assert_eq!(pace.time_to_stop(), Duration::from_secs(29));
    }
}
