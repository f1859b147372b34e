//! A comparison in fp32 that is beyond its tolerance on the first batch, on further ones.
//!
//! Where an activation of a small network happens to lie at the kink of its nonlinearity, rounding decides on which side, and
//! the gradient jumps, in one batch of some. An error of the program is there in every batch. So the noise of each further
//! batch is measured by permuting that batch, and all batches are judged, the first one included: a comparison passes when
//! at least half of the batches keep to the noise of their own permutations, and every one of them to the largest noise that
//! permuting any of them has shown. A systematic error breaks the first condition, one that is larger than any jump the second.

use super::batches::GlobalBatch;
use super::differences::Differences;
use super::groups::{Group, Judgement, Member};
use super::judge::{Judge, tolerance};
use super::report::{Comparison, Verdict};
use super::training::Setup;
use super::ways::Way;
use super::worlds::World;
use crate::error::TrainError;

/// Further batches.
const OTHER_BATCHES: usize = 4;

/// What further batches are tried with.
pub(super) struct Trials<'a> {
    pub(super) setup: &'a Setup,
    pub(super) world: &'a World,
    /// All that were drawn; the first has been judged.
    pub(super) batches: &'a [GlobalBatch],
    /// The ways that measure the noise, with their reference.
    pub(super) noise: Option<&'a Group>,
}

/// What came of one batch.
struct Trial {
    differences: Differences,
    /// Knows the noise of this batch.
    judge: Judge,
}

impl Trials<'_> {
    /// Judges `member`, whose differences on the first batch were beyond what `judge` allows, over all batches, and says which of
    /// them were beyond. All ranks have the same differences, so all come here or none. `None`: there is no other batch.
    ///
    /// # Errors
    /// As training.
    pub(super) fn judge(
        &self,
        reference: &Way,
        member: &Member,
        judge: &Judge,
        first: Differences,
    ) -> Result<Option<(Comparison, String)>, TrainError> {
        let Some(noise) = self.noise.filter(|_| member.way.num_steps == 1) else { return Ok(None) };
        let mut trials = vec![Trial { differences: first, judge: judge.clone() }];
        for batch in self.batches.iter().skip(1).take(OTHER_BATCHES) {
            trials.push(self.on(&[batch.alone()], reference, member, noise, judge)?);
        }
        Ok(over_all(member, &trials).filter(|_| trials.len() > 1))
    }

    fn on(
        &self,
        batch: &[GlobalBatch],
        reference: &Way,
        member: &Member,
        noise: &Group,
        judge: &Judge,
    ) -> Result<Trial, TrainError> {
        let mut judge = judge.without_noise();
        let plain = self.world.record(self.setup, &noise.reference, batch)?;
        for noisy in noise.members.iter().filter(|member| member.judgement == Judgement::Noise) {
            let differences = self.world.compare(self.setup, &noisy.way, batch, &plain)?;
            let _ = judge.judge(noisy, &differences);
        }
        let reference = self.world.record(self.setup, reference, batch)?;
        let differences = self.world.compare(self.setup, &member.way, batch, &reference)?;
        Ok(Trial { differences, judge })
    }
}

/// The comparison that comes closest to the largest noise, with the verdict over all, and the note about it.
fn over_all(member: &Member, trials: &[Trial]) -> Option<(Comparison, String)> {
    let largest = Judge::of_largest_noise(trials.iter().map(|trial| &trial.judge))?;
    let judged = |judge: &Judge, trial: &Trial| judge.clone().judge(member, &trial.differences);
    let by_own: Vec<Comparison> = trials.iter().map(|trial| judged(&trial.judge, trial)).collect();
    let by_largest: Vec<Comparison> = trials.iter().map(|trial| judged(&largest, trial)).collect();
    let is_within = |comparison: &Comparison| comparison.verdict == Verdict::Within;
    let num_within = by_own.iter().filter(|comparison| is_within(comparison)).count();
    let passes = 2 * num_within >= trials.len() && by_largest.iter().all(is_within);
    let verdict = if passes { Verdict::Within } else { Verdict::Beyond };

    let beyond = by_own.iter().zip(1..).filter(|(comparison, _)| !is_within(comparison));
    let beyond: Vec<String> = beyond
        .map(|(comparison, number)| {
            let gradient = comparison.gradient.map_or(f64::NAN, |measured| measured.difference);
            format!("{number} (gradient {gradient:.1e})")
        })
        .collect();
    let note = format!(
        "{}, {} ranks, fp32: of {} batches {} beyond {} times the noise of permuting them, number {}; {}",
        member.name,
        member.way.world_size,
        trials.len(),
        if beyond.len() == 1 { "1 is".to_owned() } else { format!("{} are", beyond.len()) },
        tolerance::NOISE_FACTOR,
        beyond.join(", "),
        if passes {
            "all are within that of the noisiest, so that an activation at its kink explains it"
        } else {
            "an activation at its kink does not explain that"
        }
    );
    let worst = by_largest.into_iter().max_by(|a, b| a.exhausted().total_cmp(&b.exhausted()))?;
    Some((Comparison { verdict, ..worst }, note))
}

#[cfg(test)]
mod tests {
    use super::super::groups::Facts;
    use super::*;

    /// Batches by their noise and by what the way changes, each as a part of the gradient.
    fn verdict_over(batches: &[(f64, f64)]) -> (Verdict, String) {
        let facts = Facts {
            worlds: vec![1, 2],
            batch: 4,
            num_steps: batches.len(),
            pair_rows: None,
            queue_rows: 0,
            batch_norm: true,
        };
        let groups = facts.groups();
        let members = || groups.iter().flat_map(|group| &group.members);
        let of = |judgement| members().find(|member| member.judgement == judgement).unwrap();
        let differences = |gradient| Differences { gradient, ..Differences::none(1) };
        let trials: Vec<Trial> = batches
            .iter()
            .map(|&(noise, change)| {
                let mut judge = Judge::new(vec!["weight".into()], vec![false]);
                let _ = judge.judge(of(Judgement::Noise), &differences(noise));
                Trial { differences: differences(change), judge }
            })
            .collect();
        let (comparison, note) = over_all(of(Judgement::Single), &trials).unwrap();
        (comparison.verdict, note)
    }

    #[test]
    fn a_jump_in_some_batches_is_noise_where_permutations_jump_as_far() {
        let (verdict, note) =
            verdict_over(&[(1e-7, 1e-3), (1e-7, 1e-7), (2e-4, 1e-7), (1e-7, 1e-7), (1e-7, 3e-5)]);
        assert_eq!(verdict, Verdict::Within);
        let expected = "of 5 batches 2 are beyond 10 times the noise of permuting them, number 1 (gradient 1.0e-3), 5 \
                        (gradient 3.0e-5); all are within";
        assert!(note.contains(expected), "{note}");
    }

    #[test]
    fn what_is_there_in_every_batch_is_an_error_however_far_one_permutation_jumps() {
        let (verdict, note) = verdict_over(&[(1e-7, 1e-4), (1e-2, 1e-4), (1e-7, 1e-4), (1e-7, 1e-4)]);
        assert_eq!(verdict, Verdict::Beyond);
        assert!(note.contains("3 are beyond") && note.ends_with("does not explain that"), "{note}");
    }

    #[test]
    fn a_single_batch_beyond_all_noise_is_an_error() {
        let (verdict, note) = verdict_over(&[(1e-7, 1e-2), (1e-7, 1e-7), (1e-5, 1e-7), (1e-7, 1e-7)]);
        assert_eq!(verdict, Verdict::Beyond);
        assert!(note.contains("1 is beyond") && note.contains("number 1 (gradient 1.0e-2)"), "{note}");
    }
}
