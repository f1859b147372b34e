//! Who is whose positive, as sums over sets of rows instead of an N x N mask: [`union`] has the sets, each of which stands for
//! all of its rows at once.

mod partition;
mod sets;
mod union;

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use self::sets::Summed;
use self::union::{Bracket, brackets};
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
    /// Set of each row of the batch; one past the last set for a row in none.
    set_of_row: Tensor,
    batch: Summed,
    queue: Option<Summed>,
}

impl Positives {
    pub(super) fn new(batch: &PairKeys, queue: Option<&PairKeys>, device: Device) -> Self {
        let brackets = brackets(batch, queue);
        let mut counts = vec![-1_i64; batch.num_rows()];
        for Bracket { sign, sets } in &brackets {
            let sizes = sets.sizes();
            for (count, set) in counts.iter_mut().zip(&sets.of_row) {
                *count += sign * set.and_then(|set| sizes.get(set)).copied().unwrap_or(0);
            }
        }
        let inverse: Vec<f64> = counts.iter().map(|&n| if n > 0 { 1.0 / n as f64 } else { 0.0 }).collect();
        Self {
            terms: brackets.into_iter().filter_map(|bracket| Term::new(bracket, device)).collect(),
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

    /// Sums of `rows` `[N, D]` and `queued` over the sets of every term, for [`Positives::of_rows`]. Sums run over
    /// sorted rows and not by `index_add`, whose order on a GPU is not fixed. Where terms are subtracted, they are
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
                    (Some(members), Some(queued)) => sums + members.sums(queued),
                    _ => sums,
                }
            })
            .collect()
    }

    /// Sums over the positives of the rows `range`, `[range, D]`, given the sets' sums; `own` are the rows themselves.
    pub(super) fn of_rows(&self, sums: &[Tensor], own: &Tensor, range: &Range<i64>) -> Tensor {
        let mut parts = self.terms.iter().zip(sums).map(|(term, sums)| {
            let sets = term.set_of_row.narrow(0, range.start, range.end - range.start);
            (term.sign, sums.index_select(0, &sets))
        });
        // The first term has sign 1.
        let Some((_, first)) = parts.next() else { return own.zeros_like() };
        let others = first - own;
        parts.fold(others, |total, (sign, part)| if sign > 0.0 { total + part } else { total - part })
    }

    /// True if rows that are positives of each other have equal numbers of positives, all of them in the batch.
    pub(super) fn are_even(&self) -> bool {
        self.terms.len() <= 1 && self.terms.iter().all(|term| term.queue.is_none() && term.batch.are_apart())
    }
}

impl Term {
    /// `None` without any row in a set.
    fn new(Bracket { sign, sets }: Bracket, device: Device) -> Option<Self> {
        let none = sets.num_sets;
        let set_of_row: Vec<i64> = sets.of_row.iter().map(|set| set.unwrap_or(none) as i64).collect();
        Some(Self {
            sign: sign as f64,
            batch: sets.batch.summed(device)?,
            queue: sets.queue.summed(device),
            set_of_row: upload(&set_of_row, device),
        })
    }
}
