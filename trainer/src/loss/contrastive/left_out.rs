//! Pairs that the loss leaves out, as a mask of one tile at a time. Whether there can be any is settled on the host
//! beforehand: without any, a tile costs what it always did.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;

use tch::{Device, Tensor};

use super::keys::PairKeys;
use super::upload;

/// The rule of [`PairKeys`] for the rows of the batch against some columns. It is symmetric, so that the mask of a
/// mirrored tile is the transposed mask.
#[derive(Debug)]
pub(super) struct LeftOut {
    samples: Codes,
    /// Exclusions that have a key which two samples share.
    exclusions: Vec<Codes>,
    /// Set if a sample has rows of different groups.
    groups: Option<Codes>,
}

/// A key of rows and columns, as 32-bit numbers that are cheap to compare; unknown keys equal nothing.
#[derive(Debug)]
struct Codes {
    rows: Tensor,
    columns: Tensor,
}

impl LeftOut {
    /// `None` if no pair of a row and a column is left out.
    pub(super) fn new(rows: &PairKeys, columns: &PairKeys, device: Device) -> Option<Self> {
        let exclusions: Vec<Codes> = rows
            .excluded
            .iter()
            .zip(&columns.excluded)
            .filter(|(row_keys, column_keys)| {
                let known = |key: i64| (key >= 0).then_some(key);
                clash((row_keys, &rows.samples), (column_keys, &columns.samples), known)
            })
            .map(|(row_keys, column_keys)| Codes::new(row_keys, column_keys, |key| key >= 0, device))
            .collect();
        let groups = clash((&rows.samples, &rows.groups), (&columns.samples, &columns.groups), Some)
            .then(|| Codes::new(&rows.groups, &columns.groups, |_| true, device));
        (groups.is_some() || !exclusions.is_empty()).then(|| Self {
            samples: Codes::new(&rows.samples, &columns.samples, |_| true, device),
            exclusions,
            groups,
        })
    }

    /// True where the pair is left out, `[rows, columns]`, bool.
    pub(super) fn mask(&self, rows: &Range<usize>, columns: &Range<usize>) -> Tensor {
        let same_sample = self.samples.equal(rows, columns);
        let excluded = self.exclusions.iter().fold(None, |mask: Option<Tensor>, codes| {
            let equal = codes.equal(rows, columns);
            Some(match mask {
                Some(mut mask) => mask.logical_or_(&equal),
                None => equal,
            })
        });
        let split = self.groups.as_ref().map(|groups| {
            let mut other_group = groups.equal(rows, columns).logical_not_();
            other_group.logical_and_(&same_sample)
        });
        match (excluded, split) {
            (Some(mut excluded), split) => {
                let mut excluded = excluded.logical_and_(&same_sample.logical_not());
                match split {
                    Some(split) => excluded.logical_or_(&split),
                    None => excluded,
                }
            }
            (None, Some(split)) => split,
            (None, None) => same_sample.zeros_like(),
        }
    }
}

impl Codes {
    fn new(rows: &[i64], columns: &[i64], known: impl Fn(i64) -> bool, device: Device) -> Self {
        let mut dense = HashMap::with_capacity(rows.len() + columns.len());
        let mut codes = |keys: &[i64], unknown: i32| -> Vec<i32> {
            let mut code = |key: &i64| {
                let next = dense.len() as i32;
                if known(*key) { *dense.entry(*key).or_insert(next) } else { unknown }
            };
            keys.iter().map(&mut code).collect()
        };
        let (rows, columns) = (codes(rows, -1), codes(columns, -2));
        Self { rows: upload(&rows, device), columns: upload(&columns, device) }
    }

    fn equal(&self, rows: &Range<usize>, columns: &Range<usize>) -> Tensor {
        let part =
            |codes: &Tensor, range: &Range<usize>| codes.narrow(0, range.start as i64, range.len() as i64);
        part(&self.rows, rows).unsqueeze(1).eq_tensor(&part(&self.columns, columns).unsqueeze(0))
    }
}

/// True if a row and a column have equal known keys but different values.
fn clash<K: Eq + Hash>(
    rows: (&[i64], &[i64]),
    columns: (&[i64], &[i64]),
    known: impl Fn(i64) -> Option<K>,
) -> bool {
    // Per key the first row's value, and whether another row has a second one.
    let mut values: HashMap<K, (i64, bool)> = HashMap::with_capacity(rows.0.len());
    for (&key, &value) in rows.0.iter().zip(rows.1) {
        if let Some(key) = known(key) {
            let seen = values.entry(key).or_insert((value, false));
            seen.1 |= seen.0 != value;
        }
    }
    columns.0.iter().zip(columns.1).any(|(&key, &value)| {
        known(key).and_then(|key| values.get(&key)).is_some_and(|&(first, several)| several || first != value)
    })
}
