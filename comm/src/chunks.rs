//! MPI counts with C ints: longer buffers are cut into chunks.

use std::ops::Range;

/// Longest message in bytes.
///
/// Half of what an `int` can count, and counted in bytes rather than elements, since some of Open MPI's collectives
/// compute displacements in bytes as `int`. Changing it changes the order of summation of longer buffers.
pub(crate) const MAX_CHUNK_BYTES: usize = 1 << 30;

/// Cuts `len` elements of `element_bytes` into ranges of at most `max_bytes`, but never less than one element.
pub(crate) fn chunks(
    len: usize,
    element_bytes: usize,
    max_bytes: usize,
) -> impl Iterator<Item = Range<usize>> {
    let step = (max_bytes / element_bytes.max(1)).max(1);
    (0..len).step_by(step).map(move |start| start..start.saturating_add(step).min(len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chunks_cover_everything_once_in_order(
            len in 0_usize..1000,
            element_bytes in prop::sample::select(vec![1_usize, 4, 8]),
            max_bytes in 0_usize..200,
        ) {
            let mut next = 0;
            for chunk in chunks(len, element_bytes, max_bytes) {
                prop_assert_eq!(chunk.start, next);
                prop_assert!(!chunk.is_empty());
                prop_assert!(chunk.len() == 1 || chunk.len() * element_bytes <= max_bytes);
                next = chunk.end;
            }
            prop_assert_eq!(next, len);
        }
    }

    #[test]
    fn the_longest_chunk_fits_an_int() {
        let huge = 5_usize << 30;
        for element_bytes in [1, 4, 8] {
            let all: Vec<_> = chunks(huge, element_bytes, MAX_CHUNK_BYTES).collect();
            assert!(all.iter().all(|chunk| i32::try_from(chunk.len() * element_bytes).is_ok()));
            assert_eq!(all.iter().map(ExactSizeIterator::len).sum::<usize>(), huge);
        }
    }
}
