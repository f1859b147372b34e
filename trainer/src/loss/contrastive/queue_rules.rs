//! The names of what a queue keeps of its rows, under which checkpoints have it.

use super::keys::{Nearness, PairKeys};

/// What decides about pairs of queued rows besides groups and samples: the columns of [`PairKeys`] by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueRules<'a> {
    /// Further rules of positives.
    pub alike: Vec<&'a str>,
    /// Largest distance of rows that are near each other, in microseconds; `None` without that rule.
    pub within: Option<i64>,
    /// Exclusions.
    pub excluded: Vec<&'a str>,
}

impl QueueRules<'_> {
    /// Keys without rows.
    pub(super) fn keys(&self) -> PairKeys {
        let near = |within| Nearness { recordings: Vec::new(), begins: Vec::new(), within };
        PairKeys {
            alike: vec![Vec::new(); self.alike.len()],
            near: self.within.map(near),
            excluded: vec![Vec::new(); self.excluded.len()],
            ..PairKeys::default()
        }
    }
}
