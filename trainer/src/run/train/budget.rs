//! How many samples an evaluation during training looks at: so many that it takes no more than its share of the time that
//! training takes from one evaluation to the next. The first evaluation measures it, on few samples whose answers are thrown
//! away; what rank 0 makes of its clock holds on all ranks and for the rest of the run, starts that go on with it included, so
//! that evaluations can be compared.

use std::time::Instant;

use dtrain_configs::schema::EvalConfig;

/// Samples of the two parts that an evaluation reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    /// Of the part that is asked about.
    pub(super) questions: usize,
    /// Of the training part, which answers.
    pub(super) bank: usize,
}

impl Amount {
    /// The smaller of each.
    fn at_most(self, other: Self) -> Self {
        Self { questions: self.questions.min(other.questions), bank: self.bank.min(other.bank) }
    }

    fn total(self) -> usize {
        self.questions + self.bank
    }
}

/// What is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many.
    Known(Amount),
    /// Time an evaluation of so many, then ask [`Budget::decide`].
    Measure(Amount),
}

/// Decides once in a run.
#[derive(Debug)]
pub(super) struct Budget {
    /// Samples of both parts together that fit; `None` before anybody knows.
    fits: Option<u64>,
    since: Instant,
    since_step: u64,
}

impl Budget {
    /// Training goes on at `step`; `fits` was decided before.
    pub(super) fn new(fits: Option<u64>, step: u64) -> Self {
        Self { fits, since: Instant::now(), since_step: step }
    }

    /// What was decided, for a checkpoint.
    pub(super) fn decided(&self) -> Option<u64> {
        self.fits
    }

    /// How much of `whole` to look at, after `step`.
    pub(super) fn verdict(&self, config: &EvalConfig, whole: Amount, step: u64) -> Verdict {
        let most = config.max_samples.unwrap_or(usize::MAX);
        let whole = whole.at_most(Amount { questions: most, bank: most });
        let least = least(config, whole);
        match self.fits {
            _ if config.budget == 0.0 || least == whole => Verdict::Known(whole),
            Some(fits) => Verdict::Known(amount(fits, whole, least)),
            // Nothing was trained since this start, so that there is no time to compare with.
            None if step <= self.since_step => Verdict::Known(least),
            None => Verdict::Measure(least),
        }
    }

    /// Rank 0 has evaluated `measured` samples in `secs`, after `step`; `interval`: steps from one evaluation to the next.
    /// Returns the samples of both parts together that fit.
    pub(super) fn fits(
        &self,
        config: &EvalConfig,
        (measured, secs): (Amount, f64),
        (training_secs, step): (f64, u64),
        interval: u64,
    ) -> u64 {
        let steps = step.saturating_sub(self.since_step).max(1);
        let allowed = config.budget * training_secs * interval as f64 / steps as f64;
        (allowed / secs.max(1e-9) * measured.total() as f64) as u64
    }

    /// Seconds of training that [`Self::fits`] compares with.
    pub(super) fn training_secs(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// What all ranks have agreed on.
    pub(super) fn decide(&mut self, fits: u64) {
        self.fits = Some(fits);
    }
}

fn least(config: &EvalConfig, whole: Amount) -> Amount {
    whole.at_most(Amount { questions: config.min_samples, bank: config.min_samples })
}

/// Each part has its share of what fits, but at least what says something at all.
fn amount(fits: u64, whole: Amount, least: Amount) -> Amount {
    let share = (fits as f64 / whole.total().max(1) as f64).min(1.0);
    let of = |whole: usize, least: usize| ((whole as f64 * share) as usize).clamp(least, whole);
    Amount { questions: of(whole.questions, least.questions), bank: of(whole.bank, least.bank) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EvalConfig {
        EvalConfig { budget: 0.1, min_samples: 100, ..EvalConfig::default() }
    }

    const WHOLE: Amount = Amount { questions: 1000, bank: 9000 };

    #[test]
    fn small_parts_are_looked_at_whole_and_large_ones_are_measured_first() {
        let budget = Budget::new(None, 0);
        let small = Amount { questions: 100, bank: 90 };
        assert_eq!(budget.verdict(&config(), small, 10), Verdict::Known(small));
        let least = Amount { questions: 100, bank: 100 };
        assert_eq!(budget.verdict(&config(), WHOLE, 10), Verdict::Measure(least));
        assert_eq!(budget.verdict(&config(), WHOLE, 0), Verdict::Known(least), "nothing was trained yet");
        let off = EvalConfig { budget: 0.0, ..config() };
        assert_eq!(budget.verdict(&off, WHOLE, 10), Verdict::Known(WHOLE));
        let capped = EvalConfig { max_samples: Some(500), ..off };
        assert_eq!(budget.verdict(&capped, WHOLE, 10), Verdict::Known(Amount { questions: 500, bank: 500 }));
    }

    #[test]
    fn an_evaluation_takes_its_share_of_the_time_between_two() {
        let mut budget = Budget::new(None, 20);
        // 60 steps in 30 s, an evaluation every 100 steps: 50 s of training, 5 s of evaluation, 5000 samples of a millisecond.
        let measured = Amount { questions: 100, bank: 100 };
        let fits = budget.fits(&config(), (measured, 0.2), (30.0, 80), 100);
        assert_eq!(fits, 5000);
        budget.decide(fits);
        let half = Amount { questions: 500, bank: 4500 };
        assert_eq!(budget.verdict(&config(), WHOLE, 80), Verdict::Known(half));
        assert_eq!(
            Budget::new(budget.decided(), 300).verdict(&config(), WHOLE, 300),
            Verdict::Known(half),
            "a run that goes on knows it"
        );
        budget.decide(20);
        let least = Amount { questions: 100, bank: 100 };
        assert_eq!(budget.verdict(&config(), WHOLE, 80), Verdict::Known(least), "fewer say nothing");
        budget.decide(u64::MAX);
        assert_eq!(budget.verdict(&config(), WHOLE, 80), Verdict::Known(WHOLE));
    }
}
