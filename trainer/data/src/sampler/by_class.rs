//! Few samples that stand for many: drawn at random, each class with its share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::permutation::{Purpose, shuffle, stream};

/// At most `most` of `ids`, ascending: a function of the ids, their classes and the seed. Every class has as large a share of
/// the draw as of all, rounded by the largest remainders, but at least one sample where there is room for all classes; samples
/// without a class count as one. `classes` are those of the data set by id, and may be empty.
pub fn draw_by_class<'a>(ids: &'a [u32], classes: &[Option<u32>], most: usize, seed: u64) -> Cow<'a, [u32]> {
    if ids.len() <= most {
        return Cow::Borrowed(ids);
    }
    let mut of_class: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
    for &id in ids {
        of_class.entry(classes.get(id as usize).copied().flatten()).or_default().push(id);
    }
    let sizes: Vec<usize> = of_class.values().map(Vec::len).collect();
    let mut drawn = Vec::with_capacity(most);
    for ((class, mut samples), quota) in of_class.into_iter().zip(quotas(&sizes, most)) {
        let item = class.map_or(u64::MAX, u64::from);
        shuffle(&mut samples, &mut stream(seed, Purpose::EvaluatedSamples, 0, item));
        drawn.extend(samples.into_iter().take(quota));
    }
    drawn.sort_unstable();
    Cow::Owned(drawn)
}

/// How many to draw of each class; they add up to `most`, which is less than all.
fn quotas(sizes: &[usize], most: usize) -> Vec<usize> {
    // What every class has, and what is left to share.
    let base = usize::from(most >= sizes.len());
    let total: usize = sizes.iter().map(|size| size - base).sum();
    let rest = most - base * sizes.len();
    let exact = |size: usize| (size - base) as u128 * rest as u128;
    let mut quotas: Vec<usize> =
        sizes.iter().map(|&size| base + (exact(size) / total.max(1) as u128) as usize).collect();
    let missing = most - quotas.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    let remainder = |&class: &usize| sizes.get(class).map(|&size| exact(size) % total.max(1) as u128);
    order.sort_by_key(|class| std::cmp::Reverse(remainder(class)));
    for class in order.into_iter().take(missing) {
        if let Some(quota) = quotas.get_mut(class) {
            *quota += 1;
        }
    }
    quotas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn classes_keep_their_shares_and_rare_ones_are_not_lost() {
        assert_eq!(quotas(&[50, 30, 20], 10), [5, 3, 2]);
        assert_eq!(quotas(&[97, 1, 2], 10), [8, 1, 1]);
        assert_eq!(quotas(&[5, 5, 5], 2), [1, 1, 0]);
        let ids: Vec<u32> = (0..100).collect();
        let classes: Vec<Option<u32>> = (0..100).map(|id| (id % 10 != 0).then_some(id % 2)).collect();
        let drawn = draw_by_class(&ids, &classes, 20, 7);
        let count = |class| drawn.iter().filter(|&&id| classes[id as usize] == class).count();
        assert_eq!([count(None), count(Some(0)), count(Some(1))], [2, 8, 10]);
        assert_eq!(drawn, draw_by_class(&ids, &classes, 20, 7), "a function of its arguments");
        assert_ne!(drawn, draw_by_class(&ids, &classes, 20, 8));
        assert_eq!(*draw_by_class(&ids, &[], 100, 7), ids);
    }

    proptest! {
        #[test]
        fn as_many_as_asked_for_and_each_once(
            sizes in prop::collection::vec(1usize..40, 1..12), most in 0usize..300, seed: u64
        ) {
            let classes: Vec<Option<u32>> = (0u32..)
                .zip(&sizes)
                .flat_map(|(class, &size)| vec![Some(class); size])
                .collect();
            let ids: Vec<u32> = (0..classes.len() as u32).collect();
            let drawn = draw_by_class(&ids, &classes, most, seed);
            prop_assert_eq!(drawn.len(), most.min(ids.len()));
            prop_assert!(drawn.is_sorted_by(|a, b| a < b));
            if most >= sizes.len() {
                let found: std::collections::BTreeSet<_> = drawn.iter().map(|&id| classes[id as usize]).collect();
                prop_assert_eq!(found.len(), sizes.len());
            }
        }
    }
}
