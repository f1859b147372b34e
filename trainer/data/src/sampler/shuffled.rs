//! Each sample once per epoch, in random order.

use super::permutation::{Purpose, shuffle, stream};
use super::{EpochPlan, Order, Pool, check_batch_fits};
use crate::error::DataError;

#[derive(Debug)]
pub(super) struct Shuffled {
    seed: u64,
    ids: Vec<u32>,
    batch_size: usize,
}

impl Shuffled {
    pub fn new(pool: Pool<'_>, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        check_batch_fits(batch_size, pool.ids.len(), pool)?;
        Ok(Self { seed, ids: pool.ids.to_vec(), batch_size })
    }
}

impl Order for Shuffled {
    fn num_steps(&self) -> u64 {
        self.ids.len().div_ceil(self.batch_size) as u64
    }

    fn plan(&self, epoch: u64) -> EpochPlan {
        let mut ids = self.ids.clone();
        shuffle(&mut ids, &mut stream(self.seed, Purpose::Samples, epoch, 0));
        let len = ids.len();
        let ends = (1..=self.num_steps() as usize).map(|step| (step * self.batch_size).min(len)).collect();
        EpochPlan { epoch, ids, repeats: Vec::new(), ends }
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::epoch_of;
    use super::super::{Sampler, SamplerKind};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_sample_comes_once(ids in prop::collection::btree_set(0u32..1000, 1..200), batch in 1usize..50, seed: u64) {
            let ids: Vec<u32> = ids.into_iter().collect();
            let batch_size = batch.min(ids.len());
            let pool = Pool { part: "train", ids: &ids, classes: &[], recordings: &[] };
            let sampler = Sampler::new(SamplerKind::Shuffled, pool, batch_size, seed).unwrap();
            let batches = epoch_of(&sampler, 4);
            let (last, full) = batches.split_last().unwrap();
            prop_assert!(full.iter().all(|batch| batch.len() == batch_size));
            prop_assert_eq!(last.len(), (ids.len() - 1) % batch_size + 1);
            let mut seen = batches.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, ids);
        }
    }

    #[test]
    fn ten_million_samples_are_feasible() {
        let ids: Vec<u32> = (0..10_000_000).collect();
        let pool = Pool { part: "train", ids: &ids, classes: &[], recordings: &[] };
        let sampler = Sampler::new(SamplerKind::Shuffled, pool, 4096, 0).unwrap();
        assert_eq!(sampler.steps_per_epoch(), 2442);
        assert_eq!(sampler.batch(1, 2441).len(), 10_000_000 - 2441 * 4096);
        assert!(sampler.batch(1, 2442).is_empty());
    }
}
