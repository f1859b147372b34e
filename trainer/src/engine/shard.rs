//! Which part of the flat buffers this rank updates: all of it, or its part of every bucket (ZeRO stage 1, Rajbhandari et
//! al. 2020, arXiv 1910.02054: optimizer state is sharded, weights and gradients are not).

use std::ops::Range;

use tch::Tensor;

use super::flat::part;
use crate::error::TrainError;

/// The elements whose weights this rank moves and whose moments it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    pieces: Vec<Piece>,
    len: usize,
    is_whole: bool,
}

/// A contiguous part of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Piece {
    flat: Range<usize>,
    /// First element in the rank's own buffers.
    local: usize,
    /// Whether every rank has this piece; sums over ranks then count it on rank 0 only.
    on_all_ranks: bool,
}

/// A part of the flat buffers that is treated alike, within one piece.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run<T> {
    /// Where it lies in the flat buffers.
    pub flat: Range<usize>,
    /// Where it lies in the rank's own buffers.
    pub local: Range<usize>,
    /// Whether this rank's share of a sum over ranks includes it.
    pub counts: bool,
    /// How it is treated.
    pub treatment: T,
}

/// Elements of each rank's part of a bucket; what is left over, fewer than there are ranks, is on all ranks.
pub fn part_len(bucket: &Range<usize>, world_size: usize) -> usize {
    bucket.len() / world_size.max(1)
}

impl Shard {
    /// Everything, as on each rank of a run without sharding.
    pub fn whole(len: usize) -> Self {
        let pieces = vec![Piece { flat: 0..len, local: 0, on_all_ranks: false }];
        Self { pieces, len, is_whole: true }
    }

    /// Part `rank` of each of the buckets, which cover the buffer from its end to its beginning.
    pub fn of_rank(buckets: &[Range<usize>], rank: usize, world_size: usize) -> Self {
        let mut pieces = Vec::new();
        let mut len = 0;
        let mut add = |flat: Range<usize>, on_all_ranks| {
            if !flat.is_empty() {
                pieces.push(Piece { flat: flat.clone(), local: len, on_all_ranks });
                len += flat.len();
            }
        };
        for bucket in buckets.iter().rev() {
            let part = part_len(bucket, world_size);
            let begin = bucket.start + rank * part;
            add(begin..begin + part, false);
            add(bucket.start + world_size * part..bucket.end, true);
        }
        Self { pieces, len, is_whole: false }
    }

    /// Whether every rank keeps everything.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Elements of the rank's own buffers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Zeros for one moment, `[len]`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn zeros(&self, like: &Tensor) -> Result<Tensor, TrainError> {
        let bytes = self.len.saturating_mul(like.kind().elt_size_in_bytes()) as u64;
        let fewer = if self.is_whole {
            "over several ranks `trainer.shard_optimizer=true` leaves each its part"
        } else {
            "more ranks keep smaller parts"
        };
        Tensor::f_zeros([self.len as i64], (like.kind(), like.device())).map_err(|error| {
            let hint = format!(
                "choose a smaller `model`, or an optimizer with fewer moments such as `optimizer=sgd`; {fewer}"
            );
            TrainError::from(error).wanting("a moment of the optimizer", Some(bytes), hint)
        })
    }

    /// The parts of `runs`, sorted ranges of the flat buffers, that are this rank's.
    pub fn runs<T: Clone>(&self, rank: usize, runs: &[(Range<usize>, T)]) -> Vec<Run<T>> {
        let mut own = Vec::new();
        let mut first = 0;
        for piece in &self.pieces {
            // Both are sorted: runs that end before this piece end before all later ones.
            while runs.get(first).is_some_and(|(range, _)| range.end <= piece.flat.start) {
                first += 1;
            }
            for (range, treatment) in runs.iter().skip(first) {
                if range.start >= piece.flat.end {
                    break;
                }
                let flat = range.start.max(piece.flat.start)..range.end.min(piece.flat.end);
                let begin = piece.local + (flat.start - piece.flat.start);
                own.push(Run {
                    local: begin..begin + flat.len(),
                    flat,
                    counts: !piece.on_all_ranks || rank == 0,
                    treatment: treatment.clone(),
                });
            }
        }
        own
    }

    /// Writes the rank's own values into their places of a flat buffer.
    pub fn scatter(&self, own: &Tensor, flat: &Tensor) {
        for piece in &self.pieces {
            let from = part(own, &(piece.local..piece.local + piece.flat.len()));
            part(flat, &piece.flat).copy_(&from);
        }
    }

    /// The rank's own values of a flat buffer, written into `own`.
    pub fn collect(&self, flat: &Tensor, own: &Tensor) {
        for piece in &self.pieces {
            part(own, &(piece.local..piece.local + piece.flat.len())).copy_(&part(flat, &piece.flat));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::{Device, Kind};

    use super::*;

    proptest! {
        #[test]
        fn shards_of_all_ranks_cover_every_element_and_count_it_once(
            lens in prop::collection::vec(0_usize..40, 1..6),
            world_size in 1_usize..6,
        ) {
            let mut end = lens.iter().sum();
            let total: usize = end;
            let buckets: Vec<Range<usize>> = lens.iter().map(|len| { end -= len; end..end + len }).collect();
            let runs: Vec<(Range<usize>, usize)> =
                (0..total.div_ceil(7)).map(|i| (7 * i..(7 * i + 7).min(total), i)).collect();
            let flat = Tensor::arange(total as i64, (Kind::Double, Device::Cpu));
            let restored = flat.zeros_like();
            let mut counted = vec![0; total];
            for rank in 0..world_size {
                let shard = Shard::of_rank(&buckets, rank, world_size);
                prop_assert!(shard.len() <= total / world_size + lens.len() * world_size);
                let own = shard.zeros(&flat).unwrap();
                shard.collect(&flat, &own);
                shard.scatter(&own, &restored);
                let mut covered = 0;
                for run in shard.runs(rank, &runs) {
                    prop_assert_eq!(part(&own, &run.local), part(&flat, &run.flat));
                    prop_assert_eq!(run.flat.start / 7, run.treatment);
                    prop_assert_eq!((run.flat.end - 1) / 7, run.treatment);
                    covered += run.flat.len();
                    if run.counts {
                        run.flat.for_each(|at| counted[at] += 1);
                    }
                }
                prop_assert_eq!(covered, shard.len());
            }
            prop_assert_eq!(restored, flat);
            prop_assert!(counted.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn moments_that_find_no_memory_are_an_error_with_a_way_out() {
        let weights = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let len = 1 << 48;
        let error = Shard::whole(len).zeros(&weights).unwrap_err();
        assert_eq!(error.to_string(), "not enough memory for a moment of the optimizer: 1.0 PiB");
        assert!(error.hint().unwrap().ends_with("`trainer.shard_optimizer=true` leaves each its part"));
        let buckets = std::array::from_fn::<_, 1, _>(|_| 0..len);
        let half = Shard::of_rank(&buckets, 0, 2).zeros(&weights).unwrap_err();
        assert_eq!(half.to_string(), "not enough memory for a moment of the optimizer: 512 TiB");
        assert!(half.hint().unwrap().ends_with("more ranks keep smaller parts"));
    }

    #[test]
    fn the_whole_is_one_run_per_treatment() {
        let runs = [(0..3, 'a'), (5..9, 'b')];
        let own = Shard::whole(9).runs(1, &runs);
        let expected: Vec<Run<char>> =
            runs.map(|(flat, treatment)| Run { local: flat.clone(), flat, counts: true, treatment }).into();
        assert_eq!(own, expected);
    }
}
