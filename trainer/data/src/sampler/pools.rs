//! Batches that hold a share of each of several pools, such as 60 samples as they are and 4 corrected ones.

use dtrain_configs::schema::{Position, Scheduled};

use super::permutation::{Purpose, Rounds, stream};
use super::{EpochPlan, Order, Pool, check_batch_fits};
use crate::error::DataError;

/// Samples that have places of their own in every batch.
#[derive(Debug, Clone)]
pub struct PoolShare {
    /// Name for messages.
    pub name: String,
    /// Sample ids.
    pub ids: Vec<u32>,
    /// Places in a batch, rounded; a schedule counts in steps or epochs.
    pub count: Scheduled,
}

/// The places of the pools are the last ones of a batch, in the order of the pools; the rest comes first. An epoch has as many
/// batches as a pass over the rest takes with the counts of the first step. With constant counts each sample of the rest comes
/// once in it and the last batch may be smaller; where counts change, what is left over is not drawn or drawn again. Pools are drawn
/// in rounds: no sample twice before each was drawn once in the epoch.
#[derive(Debug)]
pub(super) struct Pools {
    seed: u64,
    rest: Vec<u32>,
    shares: Vec<PoolShare>,
    batch_size: usize,
    num_steps: u64,
}

impl Pools {
    pub fn new(
        pool: Pool<'_>,
        shares: Vec<PoolShare>,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let mut has_share = vec![false; pool.ids.iter().max().map_or(0, |id| *id as usize + 1)];
        for share in &shares {
            if share.ids.is_empty() {
                return Err(DataError::EmptyPool { pool: share.name.clone(), part: pool.part.to_owned() });
            }
            for id in &share.ids {
                if let Some(taken) = has_share.get_mut(*id as usize)
                    && std::mem::replace(taken, true)
                {
                    return Err(DataError::PoolsOverlap { pool: share.name.clone() });
                }
            }
        }
        let is_rest = |id: &u32| !has_share.get(*id as usize).copied().unwrap_or(false);
        let rest: Vec<u32> = pool.ids.iter().copied().filter(is_rest).collect();
        let mut order = Self { seed, rest, shares, batch_size, num_steps: 1 };
        let most: usize = order.shares.iter().map(|share| largest(&share.count)).sum();
        if most >= batch_size {
            return Err(DataError::BatchTooSmall {
                batch_size,
                reason: format!(
                    "`data.pools` takes {most} places of it, which leaves none for other samples"
                ),
            });
        }
        let places = batch_size - order.counts(0).iter().sum::<usize>();
        check_batch_fits(places, order.rest.len(), pool)?;
        order.num_steps = order.rest.len().div_ceil(places) as u64;
        Ok(order)
    }

    /// Places of each pool in a batch, by the step of the run.
    fn counts(&self, step: u64) -> Vec<usize> {
        // Lengths in fractions of the run are refused with the settings.
        let at = Position { step, steps_per_epoch: self.num_steps, total_steps: u64::MAX };
        self.shares.iter().map(|share| rounded(share.count.at(at))).collect()
    }
}

fn rounded(count: f64) -> usize {
    count.round().max(0.0) as usize
}

fn largest(count: &Scheduled) -> usize {
    count.ends().into_iter().map(rounded).max().unwrap_or(0)
}

impl Order for Pools {
    fn num_steps(&self) -> u64 {
        self.num_steps
    }

    fn plan(&self, epoch: u64) -> EpochPlan {
        let rounds = |ids: &[u32], purpose, item| {
            Rounds::fresh(
                u32::try_from(ids.len()).unwrap_or(u32::MAX),
                stream(self.seed, purpose, epoch, item),
            )
        };
        let mut rest = rounds(&self.rest, Purpose::Samples, 0);
        let mut pools: Vec<Rounds> = self
            .shares
            .iter()
            .zip(0..)
            .map(|(share, item)| rounds(&share.ids, Purpose::PoolSamples, item))
            .collect();
        let (mut ids, mut repeats, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut times_drawn = vec![0u32; self.largest_id() + 1];
        let (mut drawn, mut left) = (Vec::new(), self.rest.len());
        for step in 0..self.num_steps {
            let counts = self.counts(epoch * self.num_steps + step);
            let places = self.batch_size - counts.iter().sum::<usize>();
            // The last batch of a pass may be smaller, if it is the last of the epoch too.
            let own = if step + 1 == self.num_steps && left > 0 { places.min(left) } else { places };
            left = left.saturating_sub(own);
            let groups = std::iter::once((&mut rest, &self.rest, own)).chain(
                pools.iter_mut().zip(&self.shares).zip(counts).map(|((r, share), n)| (r, &share.ids, n)),
            );
            for (rounds, of, count) in groups {
                drawn.clear();
                rounds.draw(count, &mut drawn);
                for id in drawn.iter().filter_map(|&at| of.get(at as usize).copied()) {
                    let before = times_drawn.get_mut(id as usize);
                    repeats.push(before.map_or(0, |times| {
                        *times += 1;
                        *times - 1
                    }));
                    ids.push(id);
                }
            }
            ends.push(ids.len());
        }
        EpochPlan { epoch, ids, repeats, ends }
    }

    fn notes(&self) -> Vec<String> {
        let named = |share: &PoolShare| {
            let count = match share.count.constant() {
                Some(count) => rounded(count).to_string(),
                None => share.count.ends().map(|end| rounded(end).to_string()).join(" to "),
            };
            format!("{count} of the {} samples of `{}`", share.ids.len(), share.name)
        };
        let shares: Vec<String> = self.shares.iter().map(named).collect();
        vec![format!(
            "the last places of a batch of {} are {}; the first ones are drawn from the other {}",
            self.batch_size,
            shares.join(", then "),
            self.rest.len()
        )]
    }
}

impl Pools {
    fn largest_id(&self) -> usize {
        let all = self.shares.iter().flat_map(|share| &share.ids).chain(&self.rest);
        all.max().map_or(0, |id| *id as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::tests::epoch_of;
    use super::super::{Draw, Sampler};
    use super::*;

    /// 0..num_rest are the rest, then come the pools.
    fn sampler(num_rest: u32, pools: &[(u32, Scheduled)], batch_size: usize) -> Result<Sampler, DataError> {
        let mut begin = num_rest;
        let shares = pools.iter().map(|(len, count)| {
            let ids = (begin..begin + len).collect();
            begin += len;
            PoolShare { name: format!("pool{begin}"), ids, count: *count }
        });
        let shares: Vec<PoolShare> = shares.collect();
        let ids: Vec<u32> = (0..begin).collect();
        let pool = Pool { part: "train", ids: &ids, classes: &[], recordings: &[] };
        Sampler::of_pools(pool, shares, batch_size, 7)
    }

    fn curve(text: &str) -> Scheduled {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn sixty_and_four() {
        let sampler = sampler(1000, &[(10, 4.0.into())], 64).unwrap();
        assert_eq!(sampler.steps_per_epoch(), 17);
        for epoch in 0..3 {
            let batches = epoch_of(&sampler, epoch);
            let (last, full) = batches.split_last().unwrap();
            assert_eq!(last.len(), 1000 - 16 * 60 + 4);
            for batch in full.iter().chain([last]) {
                let (rest, pool) = batch.split_at(batch.len() - 4);
                assert!(rest.iter().all(|id| *id < 1000) && pool.iter().all(|id| *id >= 1000));
            }
            assert!(full.iter().all(|batch| batch.len() == 64));
            let mut rest: Vec<u32> = batches.concat().into_iter().filter(|id| *id < 1000).collect();
            rest.sort_unstable();
            assert!(rest.into_iter().eq(0..1000), "each once");
        }
        assert_ne!(sampler.batch(0, 0), sampler.batch(1, 0));
        assert_eq!(
            sampler.notes(),
            [
                "the last places of a batch of 64 are 4 of the 10 samples of `pool1010`; the first ones are drawn from the other 1000"
            ]
        );
    }

    #[test]
    fn a_count_on_a_schedule_changes_the_batch_and_not_its_size() {
        let count = curve(r#"{"from": 0, "to": 8, "kind": "linear", "over": "2 epochs"}"#);
        let sampler = sampler(100, &[(20, count)], 10).unwrap();
        assert_eq!(sampler.steps_per_epoch(), 10);
        let in_pool = |epoch: u64, step: u64| {
            let batch = sampler.batch(epoch, step);
            assert_eq!(batch.len(), 10);
            let first = batch.iter().position(|id| *id >= 100).unwrap_or(10);
            assert!(batch[first..].iter().all(|id| *id >= 100), "the pool comes last");
            10 - first
        };
        let course: Vec<usize> =
            [(0, 0), (0, 5), (1, 0), (1, 5), (2, 0), (5, 3)].map(|(e, s)| in_pool(e, s)).into();
        assert_eq!(course, [0, 2, 4, 6, 8, 8]);
    }

    #[test]
    fn what_cannot_be_is_told() {
        let says = |error: DataError| format!("{error} | {}", error.hint().unwrap_or_default());
        let of = |rest, pools: &[(u32, Scheduled)]| says(sampler(rest, pools, 8).unwrap_err());
        assert_eq!(
            of(100, &[(5, 8.0.into())]),
            "`trainer.batch_size` = 8 is too small: `data.pools` takes 8 places of it, which leaves none for other samples | raise \
             `trainer.batch_size=`"
        );
        assert!(
            of(100, &[(0, 2.0.into())]).starts_with("no sample of the train part is of pool `pool100` | ")
        );
        assert!(
            of(4, &[(50, 2.0.into())]).contains("6 is larger than the 4 samples"),
            "{}",
            of(4, &[(50, 2.0.into())])
        );
        let share = |name: &str| PoolShare { name: name.into(), ids: vec![1, 2], count: 1.0.into() };
        let pool = Pool { part: "train", ids: &[0, 1, 2, 3, 4], classes: &[], recordings: &[] };
        let error = Sampler::of_pools(pool, vec![share("a"), share("b")], 3, 0).unwrap_err();
        assert!(says(error).contains("`b`"));
    }

    proptest! {
        #[test]
        fn a_batch_is_a_function_of_epoch_and_step(
            num_rest in 20u32..60,
            pools in prop::collection::vec((1u32..9, 0u32..4), 1..3),
            batch_size in 9usize..16,
            calls in prop::collection::vec((0u64..5, 0u64..8), 1..30),
        ) {
            let pools: Vec<(u32, Scheduled)> = pools.into_iter().map(|(len, n)| (len, f64::from(n).into())).collect();
            let one = sampler(num_rest, &pools, batch_size).unwrap();
            for (epoch, step) in calls {
                let fresh = sampler(num_rest, &pools, batch_size).unwrap();
                prop_assert_eq!(one.draws(epoch, step), fresh.draws(epoch, step));
            }
            // Repeats count from 0, and a pool is used up before anything returns.
            let draws: Vec<Draw> = (0..one.steps_per_epoch()).flat_map(|step| one.draws(2, step)).collect();
            let mut times: BTreeMap<u32, u32> = BTreeMap::new();
            for draw in draws {
                let before = times.entry(draw.id).or_default();
                prop_assert_eq!(draw.repeat, *before);
                *before += 1;
            }
            let mut begin = num_rest;
            for (len, count) in pools {
                let of_pool: Vec<u32> = (begin..begin + len).map(|id| times.get(&id).copied().unwrap_or(0)).collect();
                begin += len;
                let (least, most) = (of_pool.iter().min().unwrap(), of_pool.iter().max().unwrap());
                // A batch with more places than the pool has samples begins a round of its own.
                prop_assert!(most - least <= 1 + u32::from(count.ends()[0] > 1.0), "{of_pool:?}");
            }
        }
    }
}
