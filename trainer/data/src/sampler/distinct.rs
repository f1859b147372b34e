//! No two samples of one recording in a global batch: SimCLR would push apart what sounds the same, and could tell
//! pairs from negatives by the recording.

use std::collections::BTreeMap;

use super::permutation::{Purpose, Rounds, epoch_order, shuffle, stream};
use super::{EpochPlan, Order, Pool, check_batch_fits};
use crate::error::DataError;

/// Batches of an epoch differ in size by at most one sample, and none is larger than asked.
///
/// A recording with more samples than an epoch has steps would leave some out. So an epoch takes more steps with
/// smaller batches, until all samples fit or batches are half as large as they could be; what still does not fit sits
/// out the epoch, in turn, so that all samples of a recording are seen equally often over the epochs.
#[derive(Debug)]
pub(super) struct DistinctRecordings {
    seed: u64,
    batch_size: usize,
    num_steps: usize,
    /// Sample ids of each recording.
    recordings: Vec<Vec<u32>>,
}

impl DistinctRecordings {
    pub fn new(pool: Pool<'_>, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        check_batch_fits(batch_size, pool.ids.len(), pool)?;
        let mut recordings: BTreeMap<Result<u32, u32>, Vec<u32>> = BTreeMap::new();
        for &id in pool.ids {
            let recording = pool.recordings.get(id as usize).copied().ok_or(id);
            recordings.entry(recording).or_default().push(id);
        }
        let recordings: Vec<Vec<u32>> = recordings.into_values().collect();
        let num_steps = choose_num_steps(&recordings, pool.ids.len().div_ceil(batch_size));
        Ok(Self { seed, batch_size, num_steps, recordings })
    }

    fn num_drawn(&self) -> usize {
        num_drawn(&self.recordings, self.num_steps)
    }
}

/// Samples that take part in an epoch of `num_steps`.
fn num_drawn(recordings: &[Vec<u32>], num_steps: usize) -> usize {
    recordings.iter().map(|ids| ids.len().min(num_steps)).sum()
}

/// The most steps, from `least` up to the longest recording, with batches at least half as large as with `least`.
fn choose_num_steps(recordings: &[Vec<u32>], least: usize) -> usize {
    let longest = recordings.iter().map(Vec::len).max().unwrap_or(0);
    let batch_len = |num_steps: usize| num_drawn(recordings, num_steps) as f64 / num_steps as f64;
    let smallest_allowed = batch_len(least) / 2.0;
    // The mean batch shrinks with the number of steps: search for the last that is allowed.
    let (mut good, mut bad) = (least, longest.max(least) + 1);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if batch_len(middle) >= smallest_allowed { good = middle } else { bad = middle }
    }
    good
}

impl Order for DistinctRecordings {
    fn num_steps(&self) -> u64 {
        self.num_steps as u64
    }

    fn plan(&self, epoch: u64) -> EpochPlan {
        let narrow = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let num_steps = narrow(self.num_steps);
        let mut order: Vec<u32> = (0..narrow(self.recordings.len())).collect();
        shuffle(&mut order, &mut stream(self.seed, Purpose::Recordings, epoch, 0));

        // Each recording goes to the batches that are least full, which differ by at most one sample at any time.
        let mut rounds = Rounds::fresh(num_steps, stream(self.seed, Purpose::Batches, epoch, 0));
        let mut batches: Vec<Vec<u32>> = vec![Vec::new(); self.num_steps];
        let mut steps = Vec::new();
        for recording in order {
            let Some(ids) = self.recordings.get(recording as usize) else { continue };
            let len = narrow(ids.len());
            let take = len.min(num_steps);
            let item = u64::from(recording);
            let positions = epoch_order(self.seed, Purpose::RecordingSamples, item, epoch, len, take);
            steps.clear();
            rounds.draw(take as usize, &mut steps);
            for (position, &step) in positions.into_iter().zip(&steps) {
                if let (Some(&id), Some(batch)) = (ids.get(position as usize), batches.get_mut(step as usize))
                {
                    batch.push(id);
                }
            }
        }
        for (batch, step) in batches.iter_mut().zip(0..) {
            shuffle(batch, &mut stream(self.seed, Purpose::WithinBatch, epoch, step));
        }
        let ends = batches
            .iter()
            .scan(0, |end, batch| {
                *end += batch.len();
                Some(*end)
            })
            .collect();
        EpochPlan { epoch, ids: batches.concat(), repeats: Vec::new(), ends }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let num_samples: usize = self.recordings.iter().map(Vec::len).sum();
        let num_drawn = self.num_drawn();
        if self.num_steps > num_samples.div_ceil(self.batch_size) || num_drawn < num_samples {
            notes.push(format!(
                "batches hold {} samples instead of {}, one of each recording at most; there are {} recordings \
                 (`method.distinct_recordings=false` fills batches)",
                num_drawn.div_ceil(self.num_steps),
                self.batch_size,
                self.recordings.len()
            ));
        }
        if num_drawn < num_samples {
            notes.push(format!(
                "{} of {num_samples} samples sit out each epoch, in turn: they belong to recordings of more than {} \
                 samples, the steps of an epoch",
                num_samples - num_drawn,
                self.num_steps
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{epoch_of, samples};
    use super::super::{Sampler, SamplerKind};
    use super::*;
    use proptest::prelude::*;

    fn sampler(recordings: &[u32], batch_size: usize, seed: u64) -> Sampler {
        let ids: Vec<u32> = (0..recordings.len() as u32).collect();
        let pool = Pool { part: "train", ids: &ids, classes: &[], recordings };
        Sampler::new(SamplerKind::DistinctRecordings, pool, batch_size, seed).unwrap()
    }

    proptest! {
        #[test]
        fn recordings_are_distinct_and_nothing_is_drawn_twice(
            (_, recordings) in samples(2, 30, 150),
            batch in 1usize..40,
            seed: u64,
            epoch in 0u64..5,
        ) {
            let batch_size = batch.min(recordings.len());
            let sampler = sampler(&recordings, batch_size, seed);
            let batches = epoch_of(&sampler, epoch);
            for batch in &batches {
                let distinct: BTreeSet<u32> = batch.iter().map(|&id| recordings[id as usize]).collect();
                prop_assert_eq!(distinct.len(), batch.len());
                prop_assert!(!batch.is_empty() && batch.len() <= batch_size);
            }
            let lens = batches.iter().map(Vec::len);
            prop_assert!(lens.clone().max().unwrap() - lens.min().unwrap() <= 1);
            let drawn = batches.concat();
            let distinct: BTreeSet<u32> = drawn.iter().copied().collect();
            prop_assert_eq!(distinct.len(), drawn.len());
            let longest = (0..30).map(|r| recordings.iter().filter(|&&other| other == r).count()).max().unwrap();
            if batches.len() >= longest {
                prop_assert_eq!(drawn.len(), recordings.len());
            }
        }
    }

    #[test]
    fn clips_of_short_recordings_all_take_part_in_smaller_batches() {
        let recordings: Vec<u32> = (0..720).map(|i| i / 4).collect();
        let sampler = sampler(&recordings, 256, 1);
        assert_eq!(epoch_of(&sampler, 0).iter().map(Vec::len).collect::<Vec<_>>(), [180; 4]);
        assert_eq!(sampler.notes().len(), 1);
        assert!(sampler.notes()[0].starts_with("batches hold 180 samples instead of 256"));
    }

    #[test]
    fn one_long_recording_does_not_shrink_all_batches_and_is_heard_in_turn() {
        // 100 samples of their own recordings and one recording of 100 samples.
        let recordings: Vec<u32> = (0..200).map(|i| if i < 100 { i } else { 1000 }).collect();
        let sampler = sampler(&recordings, 50, 1);
        let num_steps = sampler.steps_per_epoch() as usize;
        assert!((4..=8).contains(&num_steps), "{num_steps}");
        assert!(sampler.notes()[1].starts_with(&format!("{} of 200 samples sit out", 100 - num_steps)));
        let num_epochs = 100 / num_steps;
        let mut heard = BTreeSet::new();
        for epoch in 0..num_epochs as u64 {
            let drawn = epoch_of(&sampler, epoch).concat();
            assert!((0..100).all(|id| drawn.contains(&id)));
            assert!(drawn.into_iter().filter(|id| *id >= 100).all(|id| heard.insert(id)));
        }
        assert_eq!(heard.len(), num_epochs * num_steps);
    }

    #[test]
    fn without_recordings_each_sample_stands_alone() {
        let ids: Vec<u32> = (0..100).collect();
        let pool = Pool { part: "train", ids: &ids, classes: &[], recordings: &[] };
        let sampler = Sampler::new(SamplerKind::DistinctRecordings, pool, 30, 0).unwrap();
        assert_eq!(epoch_of(&sampler, 0).iter().map(Vec::len).collect::<Vec<_>>(), [25; 4]);
        assert_eq!(sampler.notes(), Vec::<String>::new());
    }
}
