//! P classes x K samples in each global batch, so that every anchor of a supervised contrastive loss has positives.

use super::permutation::{Purpose, Rounds, epoch_order, shuffle, stream};
use super::{Draw, EpochPlan, Order, Pool, check_batch_fits};
use crate::error::DataError;
use crate::share::share;

/// Every batch is full; an epoch has as many batches as it takes to draw as many samples as there are, so samples of
/// large classes are drawn less than once and those of small ones more often.
///
/// Classes come in rounds: each is used once before any is used again. So do the samples of a class, across batches
/// and, while less than half of a class is drawn in an epoch, across epochs. A class with fewer samples than its share
/// of a batch repeats them within the batch.
#[derive(Debug)]
pub(super) struct Balanced {
    seed: u64,
    batch_size: usize,
    /// Sample ids of each class.
    classes: Vec<Vec<u32>>,
    unlabelled: Vec<u32>,
    /// P.
    classes_per_batch: usize,
    unlabelled_per_batch: usize,
}

/// Item of the streams of unlabelled samples; classes use their position.
const UNLABELLED: u64 = u64::MAX;

impl Balanced {
    pub fn new(
        pool: Pool<'_>,
        batch_size: usize,
        samples_per_class: Option<usize>,
        include_unlabelled: bool,
        seed: u64,
    ) -> Result<Self, DataError> {
        let (classes, mut unlabelled) = by_class(pool);
        if !include_unlabelled {
            unlabelled.clear();
        }
        if classes.is_empty() {
            return Err(DataError::NoLabelledSamples { part: pool.part.to_owned() });
        }
        let num_samples = classes.iter().map(Vec::len).sum::<usize>() + unlabelled.len();
        check_batch_fits(batch_size, num_samples, pool)?;
        if batch_size < 2 {
            return Err(DataError::BatchTooSmall {
                batch_size,
                reason: "no two samples of a class fit".into(),
            });
        }
        let unlabelled_per_batch = if unlabelled.is_empty() {
            0
        } else {
            let proportional =
                (batch_size as f64 * unlabelled.len() as f64 / num_samples as f64).round() as usize;
            proportional.max(1).min(batch_size - 2)
        };
        let num_labelled = batch_size - unlabelled_per_batch;
        let classes_per_batch = match samples_per_class {
            None => classes.len().min(num_labelled / 2),
            Some(samples_per_class) => {
                let least = num_labelled.div_ceil(classes.len()).max(2);
                if !(least..=num_labelled).contains(&samples_per_class) {
                    return Err(DataError::SamplesPerClass {
                        samples_per_class,
                        batch_size,
                        num_classes: classes.len(),
                        least,
                        most: num_labelled,
                    });
                }
                num_labelled / samples_per_class
            }
        };
        Ok(Self { seed, batch_size, classes, unlabelled, classes_per_batch, unlabelled_per_batch })
    }

    fn num_labelled(&self) -> usize {
        self.batch_size - self.unlabelled_per_batch
    }

    /// An upper bound of the draws from one class in an epoch.
    fn max_draws_per_class(&self) -> usize {
        let num_slots = self.num_steps() as usize * self.classes_per_batch;
        num_slots.div_ceil(self.classes.len()) * self.num_labelled().div_ceil(self.classes_per_batch)
    }

    fn rounds(&self, purpose: Purpose, item: u64, epoch: u64, len: usize, max_draws: usize) -> Rounds {
        let [len, max_draws] = [len, max_draws].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let first = epoch_order(self.seed, purpose, item, epoch, len, max_draws);
        Rounds::new(first, stream(self.seed, Purpose::FurtherRounds, epoch, item))
    }
}

impl Order for Balanced {
    fn num_steps(&self) -> u64 {
        let num_samples = self.classes.iter().map(Vec::len).sum::<usize>() + self.unlabelled.len();
        num_samples.div_ceil(self.batch_size) as u64
    }

    fn plan(&self, epoch: u64) -> EpochPlan {
        let num_steps = self.num_steps();
        let num_classes = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        let mut class_rounds = Rounds::fresh(num_classes, stream(self.seed, Purpose::Classes, epoch, 0));
        let max_draws = self.max_draws_per_class();
        let mut sources: Vec<Source<'_>> = self
            .classes
            .iter()
            .zip(0u64..)
            .map(|(ids, item)| {
                Source::new(ids, self.rounds(Purpose::ClassSamples, item, epoch, ids.len(), max_draws))
            })
            .collect();
        let max_unlabelled = num_steps as usize * self.unlabelled_per_batch;
        let rounds =
            self.rounds(Purpose::Unlabelled, UNLABELLED, epoch, self.unlabelled.len(), max_unlabelled);
        let mut unlabelled = Source::new(&self.unlabelled, rounds);

        let mut draws: Vec<Draw> = Vec::with_capacity(num_steps as usize * self.batch_size);
        let mut ends = Vec::with_capacity(num_steps as usize);
        let mut chosen = Vec::with_capacity(self.classes_per_batch);
        for step in 0..num_steps {
            let start = draws.len();
            chosen.clear();
            class_rounds.draw(self.classes_per_batch, &mut chosen);
            // Where the batch does not divide, classes that were drawn less get one more.
            chosen.sort_by_key(|&class| sources.get(class as usize).map(|source| source.num_drawn));
            for (slot, &class) in chosen.iter().enumerate() {
                if let Some(source) = sources.get_mut(class as usize) {
                    source.draw(share(self.num_labelled(), self.classes_per_batch, slot).len(), &mut draws);
                }
            }
            unlabelled.draw(self.unlabelled_per_batch, &mut draws);
            // Ranks take contiguous shares: each is to see a mixture of the classes.
            if let Some(batch) = draws.get_mut(start..) {
                shuffle(batch, &mut stream(self.seed, Purpose::WithinBatch, epoch, step));
            }
            ends.push(draws.len());
        }
        let (ids, repeats) = draws.into_iter().map(|draw| (draw.id, draw.repeat)).unzip();
        EpochPlan { epoch, ids, repeats, ends }
    }

    fn notes(&self) -> Vec<String> {
        let share = share(self.num_labelled(), self.classes_per_batch, 0).len();
        let smallest = self.classes.iter().map(Vec::len).min().unwrap_or(0);
        if smallest >= share {
            return Vec::new();
        }
        vec![format!(
            "the smallest class has {smallest} samples, fewer than its {share} places in a batch, and is repeated there"
        )]
    }
}

/// Sample ids of each class that has any, and of no class.
fn by_class(pool: Pool<'_>) -> (Vec<Vec<u32>>, Vec<u32>) {
    let mut classes: std::collections::BTreeMap<u32, Vec<u32>> = Default::default();
    let mut unlabelled = Vec::new();
    for &id in pool.ids {
        match pool.classes.get(id as usize).copied().flatten() {
            Some(class) => classes.entry(class).or_default().push(id),
            None => unlabelled.push(id),
        }
    }
    (classes.into_values().collect(), unlabelled)
}

/// Draws the samples of one class.
struct Source<'a> {
    ids: &'a [u32],
    rounds: Rounds,
    num_drawn: usize,
    times_drawn: Vec<u32>,
    positions: Vec<u32>,
}

impl<'a> Source<'a> {
    fn new(ids: &'a [u32], rounds: Rounds) -> Self {
        Self { ids, rounds, num_drawn: 0, times_drawn: vec![0; ids.len()], positions: Vec::new() }
    }

    fn draw(&mut self, count: usize, draws: &mut Vec<Draw>) {
        self.positions.clear();
        self.rounds.draw(count, &mut self.positions);
        self.num_drawn += count;
        for &position in &self.positions {
            let position = position as usize;
            if let (Some(&id), Some(times)) = (self.ids.get(position), self.times_drawn.get_mut(position)) {
                draws.push(Draw { id, repeat: *times });
                *times += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::tests::{epoch_of, samples};
    use super::super::{Sampler, SamplerKind};
    use super::*;
    use proptest::prelude::*;

    fn sampler(
        classes: &[Option<u32>],
        batch_size: usize,
        samples_per_class: Option<usize>,
        include_unlabelled: bool,
        seed: u64,
    ) -> Result<Sampler, DataError> {
        let ids: Vec<u32> = (0..classes.len() as u32).collect();
        let pool = Pool { part: "train", ids: &ids, classes, recordings: &[] };
        Sampler::new(SamplerKind::Balanced { samples_per_class, include_unlabelled }, pool, batch_size, seed)
    }

    fn class_counts(batch: &[u32], classes: &[Option<u32>]) -> BTreeMap<Option<u32>, usize> {
        let mut counts = BTreeMap::new();
        for &id in batch {
            *counts.entry(classes[id as usize]).or_default() += 1;
        }
        counts
    }

    proptest! {
        #[test]
        fn every_anchor_has_positives_and_classes_are_seen_equally(
            (classes, _) in samples(8, 1, 150),
            batch_size in 2usize..40,
            explicit in prop::option::of(2usize..8),
            include_unlabelled: bool,
            seed: u64,
        ) {
            let Ok(sampler) = sampler(&classes, batch_size, explicit, include_unlabelled, seed) else {
                return Ok(());
            };
            let batches = epoch_of(&sampler, 2);
            let num_used = classes.iter().filter(|class| include_unlabelled || class.is_some()).count();
            prop_assert_eq!(batches.len(), num_used.div_ceil(batch_size));
            let mut times_used: BTreeMap<u32, usize> = classes.iter().flatten().map(|class| (*class, 0)).collect();
            let mut num_drawn = times_used.clone();
            let mut largest_share = 0;
            for batch in &batches {
                prop_assert_eq!(batch.len(), batch_size);
                for (class, count) in class_counts(batch, &classes) {
                    let Some(class) = class else {
                        prop_assert!(include_unlabelled);
                        continue;
                    };
                    prop_assert!(count >= explicit.unwrap_or(2));
                    *times_used.get_mut(&class).unwrap() += 1;
                    *num_drawn.get_mut(&class).unwrap() += count;
                    largest_share = largest_share.max(count);
                }
            }
            let spread = |counts: &BTreeMap<u32, usize>| counts.values().max().unwrap() - counts.values().min().unwrap();
            prop_assert!(spread(&times_used) <= 1);
            let all_in_each = batches.iter().all(|b| class_counts(b, &classes).keys().flatten().count() == times_used.len());
            let allowed = if all_in_each { 1 } else { 2 * largest_share };
            prop_assert!(spread(&num_drawn) <= allowed, "{num_drawn:?}");
        }

        #[test]
        fn no_sample_returns_before_its_class_is_used_up(
            (classes, _) in samples(5, 1, 150),
            batch_size in 2usize..40,
            seed: u64,
        ) {
            let Ok(sampler) = sampler(&classes, batch_size, None, true, seed) else { return Ok(()) };
            let sizes = class_counts(&(0..classes.len() as u32).collect::<Vec<_>>(), &classes);
            let mut times_drawn = vec![0usize; classes.len()];
            for batch in epoch_of(&sampler, 1) {
                for (class, count) in class_counts(&batch, &classes) {
                    let distinct: BTreeSet<u32> =
                        batch.iter().copied().filter(|&id| classes[id as usize] == class).collect();
                    prop_assert_eq!(distinct.len(), count.min(sizes[&class]));
                }
                for id in batch {
                    times_drawn[id as usize] += 1;
                }
                for class in sizes.keys() {
                    let of_class = || times_drawn.iter().zip(&classes).filter(|(_, c)| *c == class).map(|(t, _)| *t);
                    prop_assert!(of_class().max().unwrap() - of_class().min().unwrap() <= 1);
                }
            }
        }
    }

    #[test]
    fn a_large_class_is_walked_through_across_epochs() {
        let classes: Vec<Option<u32>> = (0..1000).map(|i| Some(u32::from(i >= 900))).collect();
        let sampler = sampler(&classes, 50, None, false, 3).unwrap();
        // Each of 20 steps draws 25 of each class: 500 of 900 and 100 five times.
        assert_eq!(sampler.reuse(0), 1000.0 / 600.0);
        let classes: Vec<Option<u32>> =
            (0..1000).map(|i| Some(if i < 820 { 0 } else { i % 9 + 1 })).collect();
        let sampler = super::tests::sampler(&classes, 100, None, false, 3).unwrap();
        let large = |epoch| -> BTreeSet<u32> {
            epoch_of(&sampler, epoch)
                .concat()
                .into_iter()
                .filter(|&id| classes[id as usize] == Some(0))
                .collect()
        };
        let epochs: Vec<BTreeSet<u32>> = (0..8).map(large).collect();
        let all: BTreeSet<u32> = epochs.iter().flatten().copied().collect();
        assert_eq!(all.len(), epochs.iter().map(BTreeSet::len).sum::<usize>());
        assert!(epochs.iter().all(|epoch| epoch.len() == 100));
    }

    #[test]
    fn the_balance_does_not_drift() {
        let classes: Vec<Option<u32>> = (0..20_000).map(|i| Some(i % 7)).collect();
        let sampler = sampler(&classes, 5, None, false, 0).unwrap();
        let counts = class_counts(&epoch_of(&sampler, 0).concat(), &classes);
        assert!(counts.values().max().unwrap() - counts.values().min().unwrap() <= 6, "{counts:?}");
    }

    #[test]
    fn shares_follow_from_the_batch() {
        let classes: Vec<Option<u32>> = (0..1000).map(|i| Some(i % 10)).collect();
        let batch = sampler(&classes, 128, None, false, 0).unwrap().batch(0, 0);
        let counts: Vec<usize> = class_counts(&batch, &classes).into_values().collect();
        assert_eq!(counts.iter().filter(|count| **count == 13).count(), 8);
        assert_eq!(counts.iter().filter(|count| **count == 12).count(), 2);
        let batch = sampler(&classes, 64, Some(16), false, 0).unwrap().batch(0, 0);
        assert_eq!(class_counts(&batch, &classes).into_values().collect::<Vec<_>>(), [16; 4]);
        let error = sampler(&classes, 128, Some(4), false, 0).unwrap_err();
        assert!(error.hint().unwrap().contains("from 13 to 128"));
        assert!(matches!(sampler(&classes, 1, None, false, 0), Err(DataError::BatchTooSmall { .. })));
        assert!(matches!(sampler(&[None; 4], 2, None, true, 0), Err(DataError::NoLabelledSamples { .. })));
    }

    #[test]
    fn unlabelled_samples_take_part_in_proportion() {
        let classes: Vec<Option<u32>> = (0..1000).map(|i| Some(i % 4).filter(|_| i < 400)).collect();
        let sampler = sampler(&classes, 50, None, true, 0).unwrap();
        let batches = epoch_of(&sampler, 0);
        assert!(batches.iter().all(|batch| class_counts(batch, &classes)[&None] == 30));
        let unlabelled: BTreeSet<u32> = batches.concat().into_iter().filter(|&id| id >= 400).collect();
        assert_eq!(unlabelled.len(), 600);
    }

    #[test]
    fn tiny_classes_are_announced() {
        let classes: Vec<Option<u32>> = (0..40).map(|i| Some(u32::from(i < 3))).collect();
        let notes = sampler(&classes, 20, None, false, 0).unwrap().notes();
        assert_eq!(notes.len(), 1);
        assert!(notes[0].contains("3 samples, fewer than its 10 places"), "{notes:?}");
    }
}
