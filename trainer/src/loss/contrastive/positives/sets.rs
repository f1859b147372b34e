//! Sets of rows, of which each row of the batch has one at most: cells of a partition, or neighbours in time, which overlap.

use std::collections::HashMap;

use tch::{Device, Kind, Tensor};

use super::super::upload;
use super::partition::Partition;

/// A set for each row of the batch, and what is in the sets.
#[derive(Debug)]
pub(super) struct Sets {
    /// The set of each row of the batch; none holds what a row in no set is like.
    pub(super) of_row: Vec<Option<usize>>,
    pub(super) num_sets: usize,
    /// Rows of the batch in each set.
    pub(super) batch: Members,
    /// Rows of the queue in each set.
    pub(super) queue: Members,
}

/// Which rows each set holds: stretches of a list of rows.
#[derive(Debug)]
pub(super) enum Members {
    /// One after the other.
    Apart {
        /// Rows, set by set.
        order: Vec<i64>,
        /// Rows of each set.
        sizes: Vec<i64>,
    },
    /// Overlapping.
    Stretches {
        /// Rows, sorted by time within each cell.
        order: Vec<i64>,
        /// First row and row after the last of each set.
        ends: Vec<(i64, i64)>,
    },
}

impl Sets {
    /// The cells of a partition, of which the first `num_rows` rows are the batch's.
    pub(super) fn of_cells(partition: &Partition, num_rows: usize) -> Self {
        let (batch, queue) = partition.cells.split_at(num_rows.min(partition.cells.len()));
        // The batch comes first, so that cells after these hold queued rows alone.
        let num_sets = batch.iter().flatten().max().map_or(0, |last| last + 1);
        Self {
            of_row: batch.to_vec(),
            num_sets,
            batch: Members::apart(batch, num_sets),
            queue: Members::apart(queue, num_sets),
        }
    }

    /// For each row of the batch, the rows of its cell that begin at most `within` before or after it.
    pub(super) fn near(partition: &Partition, num_rows: usize, begins: &[i64], within: i64) -> Self {
        let placed: Vec<Option<(usize, i64)>> =
            partition.cells.iter().zip(begins).map(|(cell, &begin)| Some(((*cell)?, begin))).collect();
        let (batch, queue) = placed.split_at(num_rows.min(placed.len()));
        let (in_batch, in_queue) = (sorted(batch), sorted(queue));
        let mut known = HashMap::new();
        let (mut of_batch, mut of_queue) = (Vec::new(), Vec::new());
        let mut set_of = |&(cell, begin): &(usize, i64)| {
            let low = (cell, begin.saturating_sub(within));
            let high = (cell, begin.saturating_add(within));
            let next = known.len();
            *known.entry((cell, begin)).or_insert_with(|| {
                of_batch.push(stretch(&in_batch, low, high));
                of_queue.push(stretch(&in_queue, low, high));
                next
            })
        };
        let of_row: Vec<Option<usize>> = batch.iter().map(|place| place.as_ref().map(&mut set_of)).collect();
        let rows = |sorted: Vec<((usize, i64), i64)>| sorted.into_iter().map(|(_, row)| row).collect();
        Self {
            of_row,
            num_sets: of_batch.len(),
            batch: Members::Stretches { order: rows(in_batch), ends: of_batch },
            queue: Members::Stretches { order: rows(in_queue), ends: of_queue },
        }
    }

    /// Rows of batch and queue in each set.
    pub(super) fn sizes(&self) -> Vec<i64> {
        self.batch.sizes().into_iter().zip(self.queue.sizes()).map(|(batch, queue)| batch + queue).collect()
    }
}

/// Rows by cell and beginning.
fn sorted(places: &[Option<(usize, i64)>]) -> Vec<((usize, i64), i64)> {
    let mut rows: Vec<((usize, i64), i64)> =
        places.iter().zip(0_i64..).filter_map(|(place, row)| Some(((*place)?, row))).collect();
    rows.sort_unstable();
    rows
}

/// The rows from `low` to `high`, both included.
fn stretch(rows: &[((usize, i64), i64)], low: (usize, i64), high: (usize, i64)) -> (i64, i64) {
    let before =
        |wanted: &dyn Fn(&(usize, i64)) -> bool| rows.partition_point(|(place, _)| wanted(place)) as i64;
    (before(&|place| *place < low), before(&|place| *place <= high))
}

impl Members {
    fn apart(cells: &[Option<usize>], num_sets: usize) -> Self {
        let mut sizes = vec![0_i64; num_sets];
        let mut order = Vec::with_capacity(cells.len());
        for (row, cell) in (0_i64..).zip(cells) {
            let Some(size) = cell.and_then(|cell| sizes.get_mut(cell)) else { continue };
            *size += 1;
            order.push((*cell, row));
        }
        order.sort_unstable();
        Self::Apart { order: order.into_iter().map(|(_, row)| row).collect(), sizes }
    }

    fn sizes(&self) -> Vec<i64> {
        match self {
            Self::Apart { sizes, .. } => sizes.clone(),
            Self::Stretches { ends, .. } => ends.iter().map(|(first, end)| end - first).collect(),
        }
    }

    /// `None` where all sets are empty: libtorch refuses to reduce nothing.
    pub(super) fn summed(self, device: Device) -> Option<Summed> {
        match self {
            Self::Apart { order, .. } | Self::Stretches { order, .. } if order.is_empty() => None,
            Self::Apart { order, mut sizes } => {
                sizes.push(0);
                Some(Summed::Apart { order: upload(&order, device), sizes: upload(&sizes, device) })
            }
            Self::Stretches { ends, .. } if ends.iter().all(|(first, end)| first == end) => None,
            Self::Stretches { order, mut ends } => {
                ends.push((0, 0));
                let (first, end): (Vec<i64>, Vec<i64>) = ends.into_iter().unzip();
                Some(Summed::Stretches {
                    order: upload(&order, device),
                    first: upload(&first, device),
                    end: upload(&end, device),
                })
            }
        }
    }
}

/// Members on the device, with an empty set at the end.
#[derive(Debug)]
pub(super) enum Summed {
    Apart { order: Tensor, sizes: Tensor },
    Stretches { order: Tensor, first: Tensor, end: Tensor },
}

impl Summed {
    /// Whether no row is in two sets.
    pub(super) fn are_apart(&self) -> bool {
        matches!(self, Self::Apart { .. })
    }

    /// Sum of the rows of each set, `[sets + 1, D]`. Rows are added in a fixed order; those of stretches in f64, as differences of
    /// sums from the first row on.
    pub(super) fn sums(&self, z: &Tensor) -> Tensor {
        match self {
            Self::Apart { order, sizes } => {
                let sorted = z.index_select(0, order);
                // `unsafe`: a check of the sizes, which add up by construction, would wait for the device.
                Tensor::segment_reduce(&sorted, "sum", Some(sizes), None, None, 0, true, 0.0)
            }
            Self::Stretches { order, first, end } => {
                let up_to = z.index_select(0, order).cumsum(0, Kind::Double);
                let from_none = Tensor::cat(&[up_to.narrow(0, 0, 1).zeros_like(), up_to], 0);
                from_none.index_select(0, end) - from_none.index_select(0, first)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A set holds exactly the rows that the definition names, and its sum is theirs.
        #[test]
        fn stretches_hold_the_rows_that_are_near(
            places in prop::collection::vec((prop::option::weighted(0.9, 0_usize..3), 0_i64..20), 1..40),
            cut in 0_usize..40,
            within in 0_i64..8,
        ) {
            let num_rows = cut.min(places.len());
            let cells: Vec<Option<usize>> = places.iter().map(|place| place.0).collect();
            let begins: Vec<i64> = places.iter().map(|place| place.1).collect();
            let sets = Sets::near(&Partition { cells, num_cells: 3 }, num_rows, &begins, within);
            let near = |i: usize, j: usize| {
                places[i].0.is_some() && places[i].0 == places[j].0 && (begins[i] - begins[j]).abs() <= within
            };
            let expected = |rows: std::ops::Range<usize>, i: usize| -> i64 {
                rows.clone().filter(|&j| near(i, j)).map(|j| 1 << (j - rows.start)).sum()
            };
            let sizes = sets.sizes();
            let of_row = sets.of_row.clone();
            let powers = |n: usize| {
                let rows: Vec<f64> = (0..n).map(|j| (1_i64 << j) as f64).collect();
                Tensor::from_slice(&rows).view([n as i64, 1])
            };
            let num_queued = places.len() - num_rows;
            let sums = |members: Members, n: usize| members.summed(Device::Cpu).map(|summed| summed.sums(&powers(n)));
            let (batch, queue) = (sums(sets.batch, num_rows), sums(sets.queue, num_queued));
            for (i, set) in of_row.iter().enumerate() {
                prop_assert_eq!(set.is_some(), places[i].0.is_some());
                let Some(set) = *set else { continue };
                let count = (0..places.len()).filter(|&j| near(i, j)).count() as i64;
                prop_assert_eq!(sizes[set], count);
                for (sums, rows) in [(&batch, 0..num_rows), (&queue, num_rows..places.len())] {
                    let found = sums.as_ref().map_or(0.0, |sums| sums.double_value(&[set as i64, 0]));
                    prop_assert_eq!(found as i64, expected(rows, i));
                }
            }
        }
    }
}
