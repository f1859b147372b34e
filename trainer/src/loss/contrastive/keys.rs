//! What decides about a pair of rows: integers on the host, one set per row, gathered over ranks like any other integers.

/// Keys of the rows of a batch or of a queue. Two rows are alike if a rule of positives says so: equal groups, an equal
/// key >= 0 in a column of `alike`, or nearness. A pair of rows is
///
/// - of one sample: a positive if they are alike, else left out, since a sample is never its own negative;
/// - of two samples: left out if an exclusion has the same key >= 0 in both, else a positive if they are alike, else a
///   negative.
///
/// What is left out is neither positive nor negative. All columns but `groups` are functions of the sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PairKeys {
    /// Rows with equal groups are positives of each other. A group >= 0 means the same in every batch, a negative one
    /// holds within its batch only.
    pub groups: Vec<i64>,
    /// The sample that each row is a view of.
    pub samples: Vec<i64>,
    /// For each further rule of positives, a key per row; negative = unknown, which is like nothing.
    pub alike: Vec<Vec<i64>>,
    /// Rows that are positives because they are near each other.
    pub near: Option<Nearness>,
    /// For each configured exclusion, a key per row; negative = unknown, which excludes nothing.
    pub excluded: Vec<Vec<i64>>,
}

/// Where rows lie in time. Two are near each other if they are of one recording and begin at most `within` apart, which
/// does not carry over from pair to pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nearness {
    /// Recording of each row; negative = unknown, which is near nothing.
    pub recordings: Vec<i64>,
    /// Where each row begins in its recording, in microseconds; negative = unknown, which is near nothing.
    pub begins: Vec<i64>,
    /// Largest distance of beginnings, in microseconds.
    pub within: i64,
}

impl PairKeys {
    /// Keys of one rule, which exclude no pair.
    pub fn new(groups: Vec<i64>, samples: Vec<i64>) -> Self {
        Self { groups, samples, ..Self::default() }
    }

    /// Rows.
    pub fn num_rows(&self) -> usize {
        self.groups.len()
    }

    /// Keys of the same rules for no row.
    pub fn without_rows(&self) -> Self {
        self.with_columns(std::iter::empty())
    }

    /// The rows of all parts, in their order. All parts have the same rules.
    pub fn concat(parts: &[PairKeys]) -> Self {
        let mut parts = parts.iter();
        let mut all = parts.next().cloned().unwrap_or_default();
        for part in parts {
            debug_assert_eq!(part.columns().count(), all.columns().count(), "parts of different rules");
            for (all, part) in all.columns_mut().zip(part.columns()) {
                all.extend(part);
            }
        }
        all
    }

    /// All columns, each as long as there are rows. All ranks have the same number of columns, also ranks without rows.
    pub fn to_columns(&self) -> Vec<Vec<i64>> {
        self.columns().cloned().collect()
    }

    /// Keys of the same rules for other rows: the inverse of [`PairKeys::to_columns`]. A column that is missing is empty.
    #[must_use]
    pub fn with_columns(&self, columns: impl IntoIterator<Item = Vec<i64>>) -> Self {
        let mut keys = Self {
            alike: vec![Vec::new(); self.alike.len()],
            near: self.near.as_ref().map(|near| Nearness {
                recordings: Vec::new(),
                begins: Vec::new(),
                within: near.within,
            }),
            excluded: vec![Vec::new(); self.excluded.len()],
            ..Self::default()
        };
        for (to, from) in keys.columns_mut().zip(columns) {
            *to = from;
        }
        keys
    }

    /// The last `rows` rows.
    pub(super) fn last(&self, rows: usize) -> Self {
        let from = self.num_rows().saturating_sub(rows);
        self.with_columns(self.columns().map(|column| column.get(from..).unwrap_or_default().to_vec()))
    }

    /// Whether a rule besides the groups knows the row, so that other rows of its sample are positives whatever their
    /// groups.
    pub(super) fn is_alike_by_other_rules(&self, row: usize) -> bool {
        let is_known = |column: &Vec<i64>| column.get(row).is_some_and(|&key| key >= 0);
        let is_near = |near: &Nearness| is_known(&near.recordings) && is_known(&near.begins);
        self.alike.iter().any(is_known) || self.near.as_ref().is_some_and(is_near)
    }

    fn columns(&self) -> impl Iterator<Item = &Vec<i64>> {
        let near = self.near.iter().flat_map(|near| [&near.recordings, &near.begins]);
        [&self.groups, &self.samples].into_iter().chain(&self.alike).chain(near).chain(&self.excluded)
    }

    /// In the order of [`PairKeys::columns`].
    fn columns_mut(&mut self) -> impl Iterator<Item = &mut Vec<i64>> {
        let near = self.near.iter_mut().flat_map(|near| [&mut near.recordings, &mut near.begins]);
        let first = [&mut self.groups, &mut self.samples].into_iter();
        first.chain(&mut self.alike).chain(near).chain(&mut self.excluded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(groups: &[i64], first: i64) -> PairKeys {
        let samples: Vec<i64> = (first..).take(groups.len()).collect();
        let column = |key: &dyn Fn(i64) -> i64| -> Vec<i64> { samples.iter().map(|&s| key(s)).collect() };
        PairKeys {
            groups: groups.to_vec(),
            alike: vec![column(&|s| s / 3)],
            near: Some(Nearness { recordings: column(&|s| s / 4), begins: column(&|s| s % 4), within: 2 }),
            excluded: vec![column(&|s| s / 2), column(&|_| -1)],
            samples,
        }
    }

    #[test]
    fn columns_and_parts_keep_every_key() {
        let (a, b) = (keys(&[3, 3, -1], 10), keys(&[], 0));
        let c = keys(&[4, -2], 20);
        let all = PairKeys::concat(&[a.clone(), b.clone(), c]);
        assert_eq!(all.groups, [3, 3, -1, 4, -2]);
        assert_eq!(all.samples, [10, 11, 12, 20, 21]);
        assert_eq!(all.alike, [vec![3, 3, 4, 6, 7]]);
        assert_eq!(all.near.as_ref().unwrap().begins, [2, 3, 0, 0, 1]);
        assert_eq!(all.excluded, [vec![5, 5, 6, 10, 10], vec![-1; 5]]);
        for keys in [&all, &b] {
            assert_eq!(keys.to_columns().len(), 7);
            assert_eq!(a.with_columns(keys.to_columns()), *keys);
        }
        assert_eq!((all.last(2), all.last(99)), (keys(&[4, -2], 20), all.clone()));
        assert_eq!(all.without_rows(), b);
        assert_eq!(PairKeys::concat(&[]), PairKeys::default());
    }

    #[test]
    fn other_rules_know_a_row_by_any_column() {
        let mut keys = keys(&[1, 2, 3, 4], 0);
        keys.alike = vec![vec![-1, -1, 0, -1]];
        keys.near = Some(Nearness { recordings: vec![5, -1, -1, 5], begins: vec![0, 0, -1, -1], within: 9 });
        let known: Vec<bool> = (0..5).map(|row| keys.is_alike_by_other_rules(row)).collect();
        assert_eq!(known, [true, false, true, false, false]);
    }
}
