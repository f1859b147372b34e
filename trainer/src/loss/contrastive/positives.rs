//! Who is whose positive, as sums over sets of rows instead of an N x N mask.
//!
//! P(i) holds the rows j != i with i's group, without those of another sample that share the key of an exclusion. With
//! g, s and e_1, ..., e_K the keys of a row, the indicator of P(i) is, by inclusion and exclusion over the nonempty sets
//! T of exclusions,
//!
//! ```text
//! [g equal] + sum_T (-1)^|T| ([g and e_T equal] - [g, e_T and s equal]) - [j = i]
//! ```
//!
//! Each bracket says that two rows lie in one cell of a partition, so that a sum over P(i) is a few sums over cells, each
//! taken once for all of the cell's rows. Rows whose e_T is unknown lie in no cell of T.

use std::collections::HashMap;
use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::keys::PairKeys;
use super::upload;

/// The positives of all rows of the batch, among the batch and the queue.
#[derive(Debug)]
pub(super) struct Positives {
    terms: Vec<Term>,
    counts: Tensor,
    inverse_counts: Tensor,
    num_anchors: usize,
}

/// A bracket of the formula.
#[derive(Debug)]
struct Term {
    sign: f64,
    /// Cell of each row of the batch; one past the last cell for a row in none.
    cell_of_row: Tensor,
    batch: Segments,
    queue: Option<Segments>,
}

/// Rows by cell, with an empty cell at the end.
#[derive(Debug)]
struct Segments {
    order: Tensor,
    sizes: Tensor,
}

/// Cell of each row, the batch's before the queue's; cells are numbered in the order in which they appear.
#[derive(Clone)]
struct Partition {
    cells: Vec<Option<usize>>,
    num_cells: usize,
}

impl Partition {
    /// Cuts every cell by the keys of a column; a row without key leaves.
    fn refine(&self, column: impl Iterator<Item = Option<i64>>) -> Self {
        let mut known = HashMap::with_capacity(self.cells.len());
        let cells = self.cells.iter().zip(column).map(|(cell, key)| {
            let pair = ((*cell)?, key?);
            let next = known.len();
            Some(*known.entry(pair).or_insert(next))
        });
        let cells = cells.collect();
        Self { cells, num_cells: known.len() }
    }
}

impl Positives {
    pub(super) fn new(batch: &PairKeys, queue: Option<&PairKeys>, device: Device) -> Self {
        let rows = batch.num_rows();
        let brackets = brackets(batch, queue);
        let mut counts = vec![-1_i64; rows];
        for (sign, partition) in &brackets {
            let mut sizes = vec![0_i64; partition.num_cells];
            for cell in partition.cells.iter().flatten() {
                if let Some(size) = sizes.get_mut(*cell) {
                    *size += sign;
                }
            }
            for (count, cell) in counts.iter_mut().zip(&partition.cells) {
                *count += cell.and_then(|cell| sizes.get(cell)).copied().unwrap_or(0);
            }
        }
        let inverse: Vec<f64> = counts.iter().map(|&n| if n > 0 { 1.0 / n as f64 } else { 0.0 }).collect();
        Self {
            terms: brackets.iter().filter_map(|(sign, p)| Term::new(*sign, p, rows, device)).collect(),
            num_anchors: counts.iter().filter(|&&n| n > 0).count(),
            counts: upload(&counts, device),
            inverse_counts: upload(&inverse, device),
        }
    }

    /// M: rows with a positive.
    pub(super) fn num_anchors(&self) -> usize {
        self.num_anchors
    }

    /// |P(i)|, `[N]`, i64.
    pub(super) fn counts(&self) -> &Tensor {
        &self.counts
    }

    /// 1/|P(i)|, 0 without a positive, `[N]`, f64.
    pub(super) fn inverse_counts(&self) -> &Tensor {
        &self.inverse_counts
    }

    /// Sums of `rows` `[N, D]` and `queued` over the cells of every term, for [`Positives::of_rows`]. Sums run over
    /// sorted segments and not by `index_add`, whose order on a GPU is not fixed. Where terms are subtracted, they are
    /// added up in f64, because a sum over few positives can be the difference of sums over many rows.
    pub(super) fn sums(&self, rows: &Tensor, queued: Option<&Tensor>) -> Vec<Tensor> {
        let wide =
            |z: &Tensor| if self.terms.len() > 1 { z.to_kind(Kind::Double) } else { z.shallow_clone() };
        let (rows, queued) = (wide(rows), queued.map(wide));
        self.terms
            .iter()
            .map(|term| {
                let sums = term.batch.sums(&rows);
                match (&term.queue, &queued) {
                    (Some(segments), Some(queued)) => sums + segments.sums(queued),
                    _ => sums,
                }
            })
            .collect()
    }

    /// Sums over the positives of the rows `range`, `[range, D]`, given the cells' sums; `own` are the rows themselves.
    pub(super) fn of_rows(&self, sums: &[Tensor], own: &Tensor, range: &Range<i64>) -> Tensor {
        let mut parts = self.terms.iter().zip(sums).map(|(term, sums)| {
            let cells = term.cell_of_row.narrow(0, range.start, range.end - range.start);
            (term.sign, sums.index_select(0, &cells))
        });
        // The first term is the group's, with sign 1.
        let Some((_, group)) = parts.next() else { return own.zeros_like() };
        let others = group - own;
        parts.fold(others, |total, (sign, part)| if sign > 0.0 { total + part } else { total - part })
    }

    /// True if rows that are positives of each other have equal numbers of positives, all of them in the batch.
    pub(super) fn are_even(&self) -> bool {
        self.terms.len() <= 1 && self.terms.iter().all(|term| term.queue.is_none())
    }
}

/// The brackets of the formula with their signs. A pair of brackets that cancels is left out.
fn brackets(batch: &PairKeys, queue: Option<&PairKeys>) -> Vec<(i64, Partition)> {
    let both = |batch: &[i64], queue: Option<&[i64]>| -> Vec<i64> {
        batch.iter().chain(queue.unwrap_or_default()).copied().collect()
    };
    let groups = both(&batch.groups, queue.map(|q| q.groups.as_slice()));
    let samples = both(&batch.samples, queue.map(|q| q.samples.as_slice()));
    let exclusions: Vec<Vec<i64>> = batch
        .excluded
        .iter()
        .enumerate()
        .map(|(k, column)| both(column, queue.and_then(|q| q.excluded.get(k)).map(Vec::as_slice)))
        .collect();

    let whole = Partition { cells: vec![Some(0); groups.len()], num_cells: 1 };
    let by_group = whole.refine(groups.iter().copied().map(Some));
    let mut brackets = vec![(1, by_group.clone())];
    // Every subset of the exclusions, as the partition that it makes of the groups.
    let mut subsets = vec![(1, by_group)];
    for exclusion in &exclusions {
        let finer: Vec<(i64, Partition)> = subsets
            .iter()
            .map(|(sign, partition)| {
                (-sign, partition.refine(exclusion.iter().map(|&key| (key >= 0).then_some(key))))
            })
            .collect();
        for (sign, partition) in &finer {
            let by_sample = partition.refine(samples.iter().copied().map(Some));
            if by_sample.num_cells != partition.num_cells {
                brackets.push((*sign, partition.clone()));
                brackets.push((-sign, by_sample));
            }
        }
        subsets.extend(finer);
    }
    brackets
}

impl Term {
    /// `None` without any row in a cell.
    fn new(sign: i64, partition: &Partition, rows: usize, device: Device) -> Option<Self> {
        let (batch, queue) = partition.cells.split_at_checked(rows)?;
        // The batch comes first, so that cells after these hold queued rows alone.
        let num_cells = batch.iter().flatten().max()? + 1;
        let cell_of_row: Vec<i64> = batch.iter().map(|cell| cell.unwrap_or(num_cells) as i64).collect();
        Some(Self {
            sign: sign as f64,
            cell_of_row: upload(&cell_of_row, device),
            batch: Segments::new(batch, num_cells, device)?,
            queue: Segments::new(queue, num_cells, device),
        })
    }
}

impl Segments {
    /// `None` where all cells are empty: libtorch refuses to reduce nothing.
    fn new(cells: &[Option<usize>], num_cells: usize, device: Device) -> Option<Self> {
        let mut sizes = vec![0_i64; num_cells + 1];
        let mut order = Vec::with_capacity(cells.len());
        for (row, cell) in (0_i64..).zip(cells) {
            let Some(cell) = cell.filter(|cell| *cell < num_cells) else { continue };
            order.push((cell, row));
            if let Some(size) = sizes.get_mut(cell) {
                *size += 1;
            }
        }
        order.sort_unstable();
        let order: Vec<i64> = order.into_iter().map(|(_, row)| row).collect();
        (!order.is_empty()).then(|| Self { order: upload(&order, device), sizes: upload(&sizes, device) })
    }

    /// Sum of the rows of each cell, `[cells + 1, D]`.
    fn sums(&self, z: &Tensor) -> Tensor {
        let sorted = z.index_select(0, &self.order);
        // `unsafe`: a check of the sizes, which add up by construction, would wait for the device.
        Tensor::segment_reduce(&sorted, "sum", Some(&self.sizes), None, None, 0, true, 0.0)
    }
}
