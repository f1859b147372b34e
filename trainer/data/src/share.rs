//! Which part of a global batch a rank works on, and which samples stand for many.

use std::borrow::Cow;
use std::ops::Range;

/// The positions of `rank` in a batch of `len` samples: contiguous, disjoint, covering `0..len` over all ranks, with
/// sizes that differ by at most one (the first `len % world_size` ranks hold one more). A rank outside the world
/// holds none.
pub fn share(len: usize, world_size: usize, rank: usize) -> Range<usize> {
    if rank >= world_size {
        return len..len;
    }
    let (base, extra) = (len / world_size, len % world_size);
    let start = rank * base + rank.min(extra);
    start..start + base + usize::from(rank < extra)
}

/// At most `most` of `ids`, evenly spaced: ids follow paths, and the first ones would be of a few classes.
pub fn spread(ids: &[u32], most: usize) -> Cow<'_, [u32]> {
    if ids.len() <= most {
        return Cow::Borrowed(ids);
    }
    (0..most).filter_map(|i| ids.get(i * ids.len() / most).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_samples_are_spread_over_all() {
        let ids: Vec<u32> = (0..10).collect();
        assert_eq!(*spread(&ids, 4), [0, 2, 5, 7]);
        assert_eq!(*spread(&ids, 10), ids);
        assert!(spread(&ids, 0).is_empty());
    }

    proptest! {
        #[test]
        fn shares_tile_the_batch(len in 0usize..5000, world_size in 1usize..300) {
            let shares: Vec<Range<usize>> = (0..world_size).map(|rank| share(len, world_size, rank)).collect();
            let covered: Vec<usize> = shares.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..len).collect::<Vec<_>>());
            let sizes = shares.iter().map(|s| s.len());
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }

        #[test]
        fn any_input_is_in_range(len: usize, world_size: usize, rank: usize) {
            let positions = share(len, world_size, rank);
            prop_assert!(positions.start <= positions.end && positions.end <= len);
        }
    }
}
