//! How many samples an evaluation during training looks at: so many that it takes no more than its share of the time that
//! training takes from one evaluation to the next. The first evaluation measures it, on few samples whose answers are thrown
//! away; what rank 0 makes of its clock holds on all ranks and for the rest of the run, starts that go on with it included, so
//! that evaluations can be compared.

use std::time::Instant;

use dtrain_configs::schema::EvalConfig;

/// Samples of the two parts of a data set that an evaluation reads.
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

    fn total(all: &[Self]) -> usize {
        all.iter().map(|amount| amount.questions + amount.bank).sum()
    }
}

/// What is to be read, of each data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// So many.
    Known(Vec<Amount>),
    /// Time an evaluation of so many, then ask [`Budget::decide`].
    Measure(Vec<Amount>),
}

/// Decides once in a run.
#[derive(Debug)]
pub(super) struct Budget {
    /// Samples of all parts together that fit; `None` before anybody knows.
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

    /// How much of `whole`, the data of the run and its banks, to look at, after `step`.
    pub(super) fn verdict(&self, config: &EvalConfig, whole: &[Amount], step: u64) -> Verdict {
        let most = config.max_samples.unwrap_or(usize::MAX);
        let at_most = |amount: &Amount| amount.at_most(Amount { questions: most, bank: most });
        let whole: Vec<Amount> = whole.iter().map(at_most).collect();
        let least: Vec<Amount> = whole.iter().map(|whole| least(config, *whole)).collect();
        match self.fits {
            _ if config.budget == 0.0 || least == whole => Verdict::Known(whole),
            Some(fits) => Verdict::Known(amounts(fits, &whole, &least)),
            // Nothing was trained since this start, so that there is no time to compare with.
            None if step <= self.since_step => Verdict::Known(least),
            None => Verdict::Measure(least),
        }
    }

    /// Rank 0 has evaluated `measured` samples in `secs`, after `step`; `interval`: steps from one evaluation to the next.
    /// Returns the samples of all parts together that fit.
    pub(super) fn fits(
        &self,
        config: &EvalConfig,
        (measured, secs): (&[Amount], f64),
        (training_secs, step): (f64, u64),
        interval: u64,
    ) -> u64 {
        let steps = step.saturating_sub(self.since_step).max(1);
        let allowed = config.budget * training_secs * interval as f64 / steps as f64;
        (allowed / secs.max(1e-9) * Amount::total(measured) as f64) as u64
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
fn amounts(fits: u64, whole: &[Amount], least: &[Amount]) -> Vec<Amount> {
    let share = (fits as f64 / Amount::total(whole).max(1) as f64).min(1.0);
    let of = |whole: usize, least: usize| ((whole as f64 * share) as usize).clamp(least, whole);
    let amount = |(whole, least): (&Amount, &Amount)| Amount {
        questions: of(whole.questions, least.questions),
        bank: of(whole.bank, least.bank),
    };
    whole.iter().zip(least).map(amount).collect()
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
        assert_eq!(budget.verdict(&config(), &[small], 10), Verdict::Known(vec![small]));
        let least = Amount { questions: 100, bank: 100 };
        assert_eq!(budget.verdict(&config(), &[WHOLE], 10), Verdict::Measure(vec![least]));
        assert_eq!(
            budget.verdict(&config(), &[WHOLE], 0),
            Verdict::Known(vec![least]),
            "nothing was trained yet"
        );
        let off = EvalConfig { budget: 0.0, ..config() };
        assert_eq!(budget.verdict(&off, &[WHOLE], 10), Verdict::Known(vec![WHOLE]));
        let capped = EvalConfig { max_samples: Some(500), ..off };
        let capped_whole = Amount { questions: 500, bank: 500 };
        assert_eq!(budget.verdict(&capped, &[WHOLE], 10), Verdict::Known(vec![capped_whole]));
    }

    #[test]
    fn an_evaluation_takes_its_share_of_the_time_between_two() {
        let mut budget = Budget::new(None, 20);
        // 60 steps in 30 s, an evaluation every 100 steps: 50 s of training, 5 s of evaluation, 5000 samples of a millisecond.
        let measured = Amount { questions: 100, bank: 100 };
        let fits = budget.fits(&config(), (&[measured], 0.2), (30.0, 80), 100);
        assert_eq!(fits, 5000);
        budget.decide(fits);
        let half = Amount { questions: 500, bank: 4500 };
        assert_eq!(budget.verdict(&config(), &[WHOLE], 80), Verdict::Known(vec![half]));
        assert_eq!(
            Budget::new(budget.decided(), 300).verdict(&config(), &[WHOLE], 300),
            Verdict::Known(vec![half]),
            "a run that goes on knows it"
        );
        budget.decide(20);
        let least = Amount { questions: 100, bank: 100 };
        assert_eq!(budget.verdict(&config(), &[WHOLE], 80), Verdict::Known(vec![least]), "fewer say nothing");
        budget.decide(u64::MAX);
        assert_eq!(budget.verdict(&config(), &[WHOLE], 80), Verdict::Known(vec![WHOLE]));
    }
    /// What fits is shared by all data sets by their sizes, and each keeps what says something.
    #[test]
    fn banks_take_their_share_of_the_same_time() {
        let mut budget = Budget::new(None, 0);
        let bank = Amount { questions: 4000, bank: 6000 };
        let few = Amount { questions: 100, bank: 100 };
        assert_eq!(budget.verdict(&config(), &[WHOLE, bank], 5), Verdict::Measure(vec![few, few]));
        budget.decide(10_000);
        let halves = [Amount { questions: 500, bank: 4500 }, Amount { questions: 2000, bank: 3000 }];
        assert_eq!(budget.verdict(&config(), &[WHOLE, bank], 5), Verdict::Known(halves.to_vec()));
        // 400 samples in 0.1 s; 10 s of training, a second of evaluation.
        assert_eq!(budget.fits(&config(), (&[few, few], 0.1), (10.0, 100), 100), 4000);
    }
}
