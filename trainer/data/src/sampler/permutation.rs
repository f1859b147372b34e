//! Random orders as pure functions of a key, and draws that use everything up before anything returns.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for; no two purposes share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(super) enum Purpose {
    /// Order of samples in an epoch.
    Samples = 1,
    /// Order of classes in an epoch.
    Classes = 2,
    /// Samples of one class.
    ClassSamples = 3,
    /// Samples without a label.
    Unlabelled = 4,
    /// Order of recordings in an epoch.
    Recordings = 5,
    /// Samples of one recording.
    RecordingSamples = 6,
    /// Batches that a recording's samples go to.
    Batches = 7,
    /// Order within a batch.
    WithinBatch = 8,
    /// Rounds after the first one.
    FurtherRounds = 9,
    /// Batches that a part is evaluated in.
    Evaluation = 10,
    /// Samples of a class that an evaluation looks at.
    EvaluatedSamples = 11,
    /// Samples of a pool that has places of its own.
    PoolSamples = 12,
}

/// ChaCha8 (Bernstein 2008) whose 256-bit key is (seed, purpose, epoch, item) as little-endian words: streams are
/// independent of each other and of the order in which they are asked for.
pub(super) fn stream(seed: u64, purpose: Purpose, epoch: u64, item: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, epoch, item]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Uniform in `0..bound` without bias (Lemire 2019). 0 for a bound of 0.
pub(super) fn below(rng: &mut ChaCha8Rng, bound: u32) -> u32 {
    let threshold = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(bound);
        if product as u32 >= threshold {
            return (product >> 32) as u32;
        }
    }
}

/// Shuffles in place (Fisher and Yates, Durstenfeld's form, from the end).
pub(super) fn shuffle<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    let len = u32::try_from(items.len()).unwrap_or(u32::MAX);
    for last in (1..len).rev() {
        items.swap(last as usize, below(rng, last + 1) as usize);
    }
}

/// `0..len` for one epoch, such that the first `take` elements of successive epochs are disjoint for as many epochs as
/// `len` allows; then a new order begins.
pub(super) fn epoch_order(
    seed: u64,
    purpose: Purpose,
    item: u64,
    epoch: u64,
    len: u32,
    take: u32,
) -> Vec<u32> {
    let epochs_per_order = u64::from(len / take.max(1)).max(1);
    let mut order: Vec<u32> = (0..len).collect();
    shuffle(&mut order, &mut stream(seed, purpose, epoch / epochs_per_order, item));
    let start = (epoch % epochs_per_order) * u64::from(take);
    order.rotate_left(usize::try_from(start).unwrap_or(0).min(len as usize));
    order
}

/// Draws items in rounds: each round is a random order of all items. A group of draws holds no item twice as long as
/// it is not larger than the number of items, also where it spans two rounds.
///
/// After any number of draws, the counts of two items differ by at most one (plus one while a group that spans two
/// rounds is open).
#[derive(Debug)]
pub(super) struct Rounds {
    rng: ChaCha8Rng,
    /// What is left of the round, drawn from the end.
    left: Vec<u32>,
    /// Items of the round that the group holds already; they return after the group.
    postponed: Vec<u32>,
    len: u32,
    /// The last group that drew an item; 0 for none.
    last_group: Vec<u32>,
    group: u32,
}

impl Rounds {
    /// The first round is `first`, an order of `0..first.len()`; further ones come from `rng`.
    pub fn new(mut first: Vec<u32>, rng: ChaCha8Rng) -> Self {
        let len = u32::try_from(first.len()).unwrap_or(u32::MAX);
        first.reverse();
        Self { rng, left: first, postponed: Vec::new(), len, last_group: vec![0; len as usize], group: 0 }
    }

    /// All rounds of `0..len` come from `rng`.
    pub fn fresh(len: u32, rng: ChaCha8Rng) -> Self {
        Self { len, last_group: vec![0; len as usize], ..Self::new(Vec::new(), rng) }
    }

    /// Appends a group of `count` items to `drawn`.
    pub fn draw(&mut self, count: usize, drawn: &mut Vec<u32>) {
        self.group += 1;
        for i in 0..count {
            // All items are in the group already: repeats are all that is left.
            if self.len > 0 && i % self.len as usize == 0 && i > 0 {
                self.left.append(&mut self.postponed);
                self.group += 1;
            }
            if let Some(item) = self.next() {
                drawn.push(item);
            }
        }
        self.left.append(&mut self.postponed);
    }

    fn next(&mut self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        loop {
            if self.left.is_empty() {
                self.left.extend(0..self.len);
                shuffle(&mut self.left, &mut self.rng);
            }
            let item = self.left.pop()?;
            match self.last_group.get_mut(item as usize) {
                Some(last) if *last == self.group => self.postponed.push(item),
                Some(last) => {
                    *last = self.group;
                    return Some(item);
                }
                None => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rng(seed: u64) -> ChaCha8Rng {
        stream(seed, Purpose::Samples, 0, 0)
    }

    #[test]
    fn streams_differ_in_every_word_of_the_key() {
        let first = |seed, purpose, epoch, item| stream(seed, purpose, epoch, item).next_u64();
        let base = first(1, Purpose::Samples, 2, 3);
        assert_eq!(base, first(1, Purpose::Samples, 2, 3));
        let others = [
            first(2, Purpose::Samples, 2, 3),
            first(1, Purpose::Classes, 2, 3),
            first(1, Purpose::Samples, 3, 3),
            first(1, Purpose::Samples, 2, 4),
        ];
        assert!(others.iter().all(|other| *other != base));
    }

    #[test]
    fn the_order_never_changes_between_versions() {
        let mut items: Vec<u32> = (0..10).collect();
        shuffle(&mut items, &mut rng(7));
        assert_eq!(items, [2, 4, 1, 3, 5, 6, 8, 9, 7, 0]);
    }

    #[test]
    fn all_orders_of_four_are_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = rng(1);
        let num_draws = 24_000;
        for _ in 0..num_draws {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items, &mut rng);
            *counts.entry(items).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = f64::from(num_draws) / 24.0;
        let chi2: f64 = counts.values().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        assert!(chi2 < 49.7, "chi-squared with 23 degrees of freedom, p = 0.001: {chi2}");
    }

    #[test]
    fn below_covers_its_range_and_nothing_else() {
        let mut rng = rng(3);
        assert_eq!(below(&mut rng, 0), 0);
        assert_eq!(below(&mut rng, 1), 0);
        let mut seen = [0u32; 3];
        for _ in 0..3000 {
            seen[below(&mut rng, 3) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| (900..1100).contains(&count)), "{seen:?}");
        assert!((0..1000).all(|_| below(&mut rng, u32::MAX) < u32::MAX));
    }

    proptest! {
        #[test]
        fn successive_epochs_take_what_is_left(seed: u64, len in 1u32..60, take in 1u32..20, cycle in 0u64..5) {
            let epochs = u64::from(len / take).max(1);
            let mut seen = std::collections::BTreeSet::new();
            for epoch in cycle * epochs..(cycle + 1) * epochs {
                let order = epoch_order(seed, Purpose::ClassSamples, 4, epoch, len, take);
                let mut sorted = order.clone();
                sorted.sort_unstable();
                prop_assert_eq!(sorted, (0..len).collect::<Vec<_>>());
                let num_taken = take.min(len) as usize;
                prop_assert!(order[..num_taken].iter().all(|item| seen.insert(*item)));
            }
        }

        #[test]
        fn rounds_use_everything_up_and_groups_hold_nothing_twice(
            seed: u64,
            len in 1u32..20,
            groups in prop::collection::vec(0usize..30, 1..40),
        ) {
            let mut rounds = Rounds::fresh(len, rng(seed));
            let mut counts = vec![0i64; len as usize];
            for count in groups {
                let mut drawn = Vec::new();
                rounds.draw(count, &mut drawn);
                prop_assert_eq!(drawn.len(), count);
                for group in drawn.chunks(len as usize) {
                    let distinct: std::collections::BTreeSet<u32> = group.iter().copied().collect();
                    prop_assert_eq!(distinct.len(), group.len());
                }
                for item in drawn {
                    counts[item as usize] += 1;
                }
                prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
            }
        }

        #[test]
        fn the_first_round_is_as_given(seed: u64, len in 1u32..20) {
            let first: Vec<u32> = (0..len).map(|i| (i + 3) % len).collect();
            let mut drawn = Vec::new();
            Rounds::new(first.clone(), rng(seed)).draw(len as usize, &mut drawn);
            prop_assert_eq!(drawn, first);
        }
    }
}
