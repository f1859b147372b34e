//! What decides about a pair of rows: integers on the host, one set per row, gathered over ranks like any other integers.

/// Keys of the rows of a batch or of a queue. A pair of rows is
///
/// - of one sample: a positive if the groups are equal, else left out, since a sample is never its own negative;
/// - of two samples: left out if an exclusion has the same key >= 0 in both, else a positive if the groups are equal,
///   else a negative.
///
/// What is left out is neither positive nor negative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairKeys {
    /// Rows with equal groups are positives of each other. A group >= 0 means the same in every batch, a negative one
    /// holds within its batch only.
    pub groups: Vec<i64>,
    /// The sample that each row is a view of.
    pub samples: Vec<i64>,
    /// For each configured exclusion, a key per row; negative = unknown, which excludes nothing.
    pub excluded: Vec<Vec<i64>>,
}

impl PairKeys {
    /// Keys that exclude no pair.
    pub fn new(groups: Vec<i64>, samples: Vec<i64>) -> Self {
        Self { groups, samples, excluded: Vec::new() }
    }

    /// Rows.
    pub fn num_rows(&self) -> usize {
        self.groups.len()
    }

    /// The rows of all parts, in their order. All parts have the same number of exclusions.
    pub fn concat(parts: &[PairKeys]) -> Self {
        let mut parts = parts.iter();
        let mut all = parts.next().cloned().unwrap_or_default();
        for part in parts {
            debug_assert_eq!(part.excluded.len(), all.excluded.len(), "parts of different exclusions");
            all.groups.extend(&part.groups);
            all.samples.extend(&part.samples);
            for (all, part) in all.excluded.iter_mut().zip(&part.excluded) {
                all.extend(part);
            }
        }
        all
    }

    /// Groups, samples and one column per exclusion, each as long as there are rows. All ranks have the same number of
    /// columns, also ranks without rows.
    pub fn to_columns(&self) -> Vec<Vec<i64>> {
        [&self.groups, &self.samples].into_iter().chain(&self.excluded).cloned().collect()
    }

    /// The inverse of [`PairKeys::to_columns`].
    pub fn from_columns(columns: Vec<Vec<i64>>) -> Self {
        let mut columns = columns.into_iter();
        let (groups, samples) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
        Self { groups, samples, excluded: columns.collect() }
    }

    /// The last `rows` rows.
    pub(super) fn last(&self, rows: usize) -> Self {
        let from = self.num_rows().saturating_sub(rows);
        let tail = |column: &[i64]| column.get(from..).unwrap_or_default().to_vec();
        Self {
            groups: tail(&self.groups),
            samples: tail(&self.samples),
            excluded: self.excluded.iter().map(|column| tail(column)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(groups: &[i64], first: i64) -> PairKeys {
        let samples: Vec<i64> = (first..).take(groups.len()).collect();
        let excluded = vec![samples.iter().map(|s| s / 2).collect(), vec![-1; groups.len()]];
        PairKeys { groups: groups.to_vec(), samples, excluded }
    }

    #[test]
    fn columns_and_parts_keep_every_key() {
        let (a, b) = (keys(&[3, 3, -1], 10), keys(&[], 0));
        let c = keys(&[4, -2], 20);
        let all = PairKeys::concat(&[a.clone(), b.clone(), c]);
        assert_eq!(all.groups, [3, 3, -1, 4, -2]);
        assert_eq!(all.samples, [10, 11, 12, 20, 21]);
        assert_eq!(all.excluded, [vec![5, 5, 6, 10, 10], vec![-1; 5]]);
        for keys in [all, b] {
            assert_eq!(keys.to_columns().len(), 4);
            assert_eq!(PairKeys::from_columns(keys.to_columns()), keys);
        }
        assert_eq!(PairKeys::concat(&[]), PairKeys::default());
    }
}
