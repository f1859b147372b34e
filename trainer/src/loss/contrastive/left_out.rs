//! Pairs that the loss leaves out, as a mask of one tile at a time. Whether there can be any is settled on the host
//! beforehand: without any, a tile costs what it always did.

use std::borrow::Cow;
use std::collections::HashMap;
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
    /// Set if a sample has rows that are not alike.
    groups: Option<Codes>,
}

/// Group of the rows of a sample that a rule besides the groups knows: they are alike whatever their groups.
const ALIKE: i64 = i64::MAX;

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
                clash((row_keys, &rows.samples), (column_keys, &columns.samples), |key| key >= 0)
            })
            .map(|(row_keys, column_keys)| Codes::new(row_keys, column_keys, |key| key >= 0, device))
            .collect();
        let row_groups = groups_within_samples(rows);
        let column_groups = (!std::ptr::eq(rows, columns)).then(|| groups_within_samples(columns));
        let (of_rows, of_columns) = (&*row_groups, column_groups.as_deref().unwrap_or(&row_groups));
        let groups = clash((&rows.samples, of_rows), (&columns.samples, of_columns), |_| true)
            .then(|| Codes::new(of_rows, of_columns, |_| true, device));
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

/// Rows of one sample that are positives of each other have equal ones.
fn groups_within_samples(keys: &PairKeys) -> Cow<'_, [i64]> {
    if keys.alike.is_empty() && keys.near.is_none() {
        return Cow::Borrowed(&keys.groups);
    }
    let group = |(row, &group)| if keys.is_alike_by_other_rules(row) { ALIKE } else { group };
    Cow::Owned(keys.groups.iter().enumerate().map(group).collect())
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

/// True if a row and a column have equal known keys but different values. By sorting, which is cheaper than hashing.
fn clash(rows: (&[i64], &[i64]), columns: (&[i64], &[i64]), known: impl Fn(i64) -> bool) -> bool {
    let sorted = |(keys, values): (&[i64], &[i64])| {
        let mut pairs: Vec<(i64, i64)> =
            keys.iter().copied().zip(values.iter().copied()).filter(|(key, _)| known(*key)).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs
    };
    let row_pairs = sorted(rows);
    // Rows against themselves: a key with two values.
    if std::ptr::eq(rows.0, columns.0) && std::ptr::eq(rows.1, columns.1) {
        return row_pairs.windows(2).any(|pair| matches!(pair, [a, b] if a.0 == b.0));
    }
    sorted(columns).iter().any(|&(key, value)| {
        let from = row_pairs.partition_point(|pair| pair.0 < key);
        let same_key = row_pairs.iter().skip(from).take_while(|pair| pair.0 == key);
        same_key.take(2).any(|pair| pair.1 != value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clash_is_an_equal_key_with_another_value() {
        let one = (&[5, 6, 5, -1][..], &[1, 2, 1, 9][..]);
        let several = (&[5, 6, 5, -1][..], &[1, 2, 3, 9][..]);
        let known = |key: i64| key >= 0;
        assert!(!clash(one, one, known));
        assert!(clash(several, several, known));
        assert!(!clash(one, (&[5, 7, -1], &[1, 8, 0]), known));
        assert!(clash(one, (&[7, 5], &[8, 4]), known));
        // One of several values of the key is the column's, the other is not.
        for value in [1, 3] {
            assert!(clash(several, (&[5], &[value]), known));
        }
        assert!(!clash(several, (&[6], &[2]), known));
        assert!(!clash((&[], &[]), several, known) && !clash(several, (&[], &[]), known));
    }

    /// The plain path is chosen on the host, so that ordinary batches pay for no mask.
    #[test]
    fn keys_that_leave_nothing_out_make_no_mask() {
        let mut keys = PairKeys::new(vec![-1, -2, -1, -2], vec![10, 11, 10, 11]);
        let out = |keys: &PairKeys| LeftOut::new(keys, keys, Device::Cpu);
        assert!(out(&keys).is_none());
        keys.excluded = vec![vec![3, 4, 3, 4], vec![-1; 4]];
        assert!(out(&keys).is_none(), "keys that are a sample's own");
        keys.excluded = vec![vec![3, 3, 3, 3], vec![-1; 4]];
        let mask = out(&keys).unwrap().mask(&(0..4), &(0..4));
        let different = [0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0];
        assert!(mask.to_kind(tch::Kind::Int64) == Tensor::from_slice(&different.map(i64::from)).view([4, 4]));
    }
}
