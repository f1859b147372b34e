//! Which samples make a batch: a pure function of (seed, epoch, step) over the whole global batch, whatever the number
//! of ranks. Nothing is set per epoch and nothing needs saving.

mod balanced;
mod by_class;
mod distinct;
mod permutation;
mod pools;
mod shuffled;

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

pub use by_class::draw_by_class;
pub use pools::PoolShare;

use crate::error::DataError;
use crate::share::share;

/// Kinds of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// Each sample once per epoch; the last batch of an epoch may be smaller.
    Shuffled,
    /// P classes x K samples in each batch, so that every anchor of SupCon has positives.
    Balanced {
        /// K; `None` gives the classes of a batch equal shares of at least 2, over as many classes as there are.
        samples_per_class: Option<usize>,
        /// Samples without a label take part, in proportion to their number.
        include_unlabelled: bool,
    },
    /// No two samples of one recording in a batch, for SimCLR.
    DistinctRecordings,
}

/// What a sampler draws from.
#[derive(Debug, Clone, Copy)]
pub struct Pool<'a> {
    /// Name for messages, such as `train`.
    pub part: &'static str,
    /// Sample ids.
    pub ids: &'a [u32],
    /// Class of every sample of the data set, by id; may be empty where no classes are needed.
    pub classes: &'a [Option<u32>],
    /// Recording of every sample of the data set, by id; a sample beyond the end is its own recording.
    pub recordings: &'a [u32],
}

/// One place in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Draw {
    /// Sample id.
    pub id: u32,
    /// How often the sample was drawn before in this epoch. Views of a repeated sample must be seeded by it too:
    /// otherwise they are the same views again.
    pub repeat: u32,
}

impl Draw {
    /// A sample that was not drawn before in its epoch.
    pub fn first(id: u32) -> Self {
        Self { id, repeat: 0 }
    }
}

/// The order of batches.
#[derive(Debug)]
pub struct Sampler {
    order: Box<dyn Order>,
    /// The plans used last, newest at the end: two, since batches are prepared ahead across the end of an epoch.
    plans: Mutex<Vec<Arc<EpochPlan>>>,
}

const NUM_CACHED_PLANS: usize = 2;

/// `ids` in batches of at most `batch_size` whose sizes differ by one at most, each sample once: a function of the seed
/// alone, so that samples which lie side by side because they are of one class do not meet in one batch.
pub fn evaluation_batches(ids: &[u32], batch_size: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut ids = ids.to_vec();
    permutation::shuffle(&mut ids, &mut permutation::stream(seed, permutation::Purpose::Evaluation, 0, 0));
    let num_batches = ids.len().div_ceil(batch_size.max(1));
    let part = |index| ids.get(share(ids.len(), num_batches, index)).unwrap_or_default().to_vec();
    (0..num_batches).map(part).collect()
}

impl Sampler {
    /// An order of `pool` in global batches of `batch_size`.
    ///
    /// # Errors
    /// A batch larger than the pool, and what the kind needs: labels, a batch that P x K fits.
    pub fn new(kind: SamplerKind, pool: Pool<'_>, batch_size: usize, seed: u64) -> Result<Self, DataError> {
        if batch_size == 0 {
            return Err(DataError::BatchTooSmall { batch_size, reason: "it holds nothing".into() });
        }
        let order: Box<dyn Order> = match kind {
            SamplerKind::Shuffled => Box::new(shuffled::Shuffled::new(pool, batch_size, seed)?),
            SamplerKind::Balanced { samples_per_class, include_unlabelled } => Box::new(
                balanced::Balanced::new(pool, batch_size, samples_per_class, include_unlabelled, seed)?,
            ),
            SamplerKind::DistinctRecordings => {
                Box::new(distinct::DistinctRecordings::new(pool, batch_size, seed)?)
            }
        };
        Ok(Self { order, plans: Mutex::new(Vec::new()) })
    }

    /// An order in which every batch has places for samples of pools of their own.
    ///
    /// # Errors
    /// A pool without samples or with one of another pool, pools that take all places, fewer other samples than places.
    pub fn of_pools(
        pool: Pool<'_>,
        shares: Vec<PoolShare>,
        batch_size: usize,
        seed: u64,
    ) -> Result<Self, DataError> {
        let order = Box::new(pools::Pools::new(pool, shares, batch_size, seed)?);
        Ok(Self { order, plans: Mutex::new(Vec::new()) })
    }

    /// Batches in an epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.order.num_steps()
    }

    /// Sample ids of a global batch; empty for a step past the epoch's end.
    pub fn batch(&self, epoch: u64, step: u64) -> Vec<u32> {
        self.draws(epoch, step).into_iter().map(|draw| draw.id).collect()
    }

    /// A global batch with the count of earlier draws of each sample.
    pub fn draws(&self, epoch: u64, step: u64) -> Vec<Draw> {
        self.plan(epoch).batch(step)
    }

    /// Samples drawn in an epoch divided by different samples drawn: 1 means that none was drawn twice.
    pub fn reuse(&self, epoch: u64) -> f64 {
        let plan = self.plan(epoch);
        let num_repeats = plan.repeats.iter().filter(|repeat| **repeat > 0).count();
        let num_drawn = plan.ids.len();
        num_drawn as f64 / num_drawn.saturating_sub(num_repeats).max(1) as f64
    }

    /// How the order departs from what was asked, for the start banner.
    pub fn notes(&self) -> Vec<String> {
        self.order.notes()
    }

    fn plan(&self, epoch: u64) -> Arc<EpochPlan> {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = match plans.iter().position(|plan| plan.epoch == epoch) {
            Some(at) => plans.remove(at),
            None => Arc::new(self.order.plan(epoch)),
        };
        if plans.len() >= NUM_CACHED_PLANS {
            plans.remove(0);
        }
        plans.push(Arc::clone(&plan));
        plan
    }
}

/// Batches in which each sample is counted once, for evaluation on any world size: split each with
/// [`share`]. The last one may be smaller.
pub fn eval_batches(ids: &[u32], batch_size: usize) -> impl ExactSizeIterator<Item = &[u32]> {
    ids.chunks(batch_size.max(1))
}

/// A kind of order: a pure function from the epoch to all its batches.
trait Order: Debug + Send + Sync {
    /// Batches in every epoch.
    fn num_steps(&self) -> u64;
    /// All batches of an epoch.
    fn plan(&self, epoch: u64) -> EpochPlan;
    /// See [`Sampler::notes`].
    fn notes(&self) -> Vec<String>;
}

/// All batches of an epoch, one after the other.
#[derive(Debug, PartialEq, Eq)]
struct EpochPlan {
    epoch: u64,
    ids: Vec<u32>,
    /// For each id; empty where no sample is drawn twice.
    repeats: Vec<u32>,
    /// End of each batch in `ids`.
    ends: Vec<usize>,
}

impl EpochPlan {
    fn batch(&self, step: u64) -> Vec<Draw> {
        let positions = self.positions(step).unwrap_or(0..0);
        let repeats = self.repeats.get(positions.clone()).unwrap_or_default();
        let ids = self.ids.get(positions).unwrap_or_default();
        let repeats = repeats.iter().copied().chain(std::iter::repeat(0));
        ids.iter().copied().zip(repeats).map(|(id, repeat)| Draw { id, repeat }).collect()
    }

    fn positions(&self, step: u64) -> Option<Range<usize>> {
        let step = usize::try_from(step).ok()?;
        let end = *self.ends.get(step)?;
        let start = step.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        Some(start..end)
    }
}

fn check_batch_fits(batch_size: usize, num_samples: usize, pool: Pool<'_>) -> Result<(), DataError> {
    if batch_size <= num_samples {
        return Ok(());
    }
    Err(DataError::BatchLargerThanData { batch_size, num_samples, part: pool.part.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Samples with a class (none for the last of `num_classes`) and a recording each.
    pub(super) fn samples(
        num_classes: u32,
        num_recordings: u32,
        max_len: usize,
    ) -> impl Strategy<Value = (Vec<Option<u32>>, Vec<u32>)> {
        let sample = (0..num_classes, 0..num_recordings);
        prop::collection::vec(sample, 2..max_len).prop_map(move |samples| {
            let class = |class: u32| Some(class).filter(|class| class + 1 < num_classes);
            samples.into_iter().map(|(c, recording)| (class(c), recording)).unzip()
        })
    }

    /// All batches of an epoch.
    pub(super) fn epoch_of(sampler: &Sampler, epoch: u64) -> Vec<Vec<u32>> {
        (0..sampler.steps_per_epoch()).map(|step| sampler.batch(epoch, step)).collect()
    }

    const KINDS: [SamplerKind; 4] = [
        SamplerKind::Shuffled,
        SamplerKind::Balanced { samples_per_class: None, include_unlabelled: true },
        SamplerKind::Balanced { samples_per_class: None, include_unlabelled: false },
        SamplerKind::DistinctRecordings,
    ];

    proptest! {
        #[test]
        fn a_batch_does_not_depend_on_what_was_asked_before(
            (classes, recordings) in samples(5, 20, 80),
            batch_size in 2usize..10,
            seed: u64,
            calls in prop::collection::vec((0u64..6, 0u64..40), 1..60),
        ) {
            let ids: Vec<u32> = (0..classes.len() as u32).collect();
            let pool = Pool { part: "train", ids: &ids, classes: &classes, recordings: &recordings };
            for kind in KINDS {
                let Ok(sampler) = Sampler::new(kind, pool, batch_size, seed) else { continue };
                for &(epoch, step) in &calls {
                    let fresh = Sampler::new(kind, pool, batch_size, seed).unwrap();
                    prop_assert_eq!(sampler.draws(epoch, step), fresh.draws(epoch, step));
                    prop_assert_eq!(sampler.draws(epoch, step).is_empty(), step >= sampler.steps_per_epoch());
                }
            }
        }

        #[test]
        fn repeats_count_earlier_draws_and_give_the_reuse(
            (classes, recordings) in samples(5, 20, 80),
            batch_size in 2usize..10,
            seed: u64,
        ) {
            let ids: Vec<u32> = (0..classes.len() as u32).collect();
            let pool = Pool { part: "train", ids: &ids, classes: &classes, recordings: &recordings };
            for kind in KINDS {
                let Ok(sampler) = Sampler::new(kind, pool, batch_size, seed) else { continue };
                let draws: Vec<Draw> =
                    (0..sampler.steps_per_epoch()).flat_map(|step| sampler.draws(3, step)).collect();
                let mut repeats_of: std::collections::BTreeMap<u32, Vec<u32>> = Default::default();
                for draw in &draws {
                    repeats_of.entry(draw.id).or_default().push(draw.repeat);
                }
                for repeats in repeats_of.values_mut() {
                    repeats.sort_unstable();
                    prop_assert_eq!(&*repeats, &(0..repeats.len() as u32).collect::<Vec<_>>());
                }
                prop_assert_eq!(sampler.reuse(3), draws.len() as f64 / repeats_of.len() as f64);
            }
        }
    }

    #[test]
    fn epochs_and_seeds_differ() {
        let ids: Vec<u32> = (0..100).collect();
        let classes: Vec<Option<u32>> = (0..100).map(|i| Some(i % 4)).collect();
        let pool = Pool { part: "train", ids: &ids, classes: &classes, recordings: &[] };
        for kind in KINDS {
            let sampler = |seed| Sampler::new(kind, pool, 10, seed).unwrap();
            assert_ne!(epoch_of(&sampler(0), 0), epoch_of(&sampler(0), 1));
            assert_ne!(epoch_of(&sampler(0), 0), epoch_of(&sampler(1), 0));
        }
    }

    #[test]
    fn a_batch_that_does_not_fit_is_refused_with_both_numbers() {
        let ids: Vec<u32> = (0..10).collect();
        let classes = vec![Some(0); 10];
        let pool = Pool { part: "train", ids: &ids, classes: &classes, recordings: &[] };
        for kind in KINDS {
            let error = Sampler::new(kind, pool, 11, 0).unwrap_err();
            assert_eq!(
                error.to_string(),
                "`trainer.batch_size` = 11 is larger than the 10 samples of the train part"
            );
            assert!(error.hint().unwrap().contains("trainer.batch_size=10"));
            assert!(matches!(Sampler::new(kind, pool, 0, 0), Err(DataError::BatchTooSmall { .. })));
        }
    }

    #[test]
    fn evaluation_counts_each_sample_once() {
        let ids: Vec<u32> = (5..28).collect();
        let batches: Vec<&[u32]> = eval_batches(&ids, 10).collect();
        assert_eq!(batches.iter().map(|b| b.len()).collect::<Vec<_>>(), [10, 10, 3]);
        assert_eq!(batches.concat(), ids);
        assert_eq!(eval_batches(&[], 10).len(), 0);
    }
}
