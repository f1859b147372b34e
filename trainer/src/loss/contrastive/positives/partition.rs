//! Rows in cells: those that have equal keys.

use std::collections::HashMap;

/// Cell of each row, the batch's before the queue's; cells are numbered in the order in which they appear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) cells: Vec<Option<usize>>,
    pub(super) num_cells: usize,
}

impl Partition {
    pub(super) fn whole(num_rows: usize) -> Self {
        Self { cells: vec![Some(0); num_rows], num_cells: 1 }
    }

    /// Cuts every cell by the keys of a column; a row without key leaves.
    pub(super) fn refine(&self, column: impl Iterator<Item = Option<i64>>) -> Self {
        let mut known = HashMap::with_capacity(self.cells.len());
        let cells = self.cells.iter().zip(column).map(|(cell, key)| {
            let pair = ((*cell)?, key?);
            let next = known.len();
            Some(*known.entry(pair).or_insert(next))
        });
        let cells = cells.collect();
        Self { cells, num_cells: known.len() }
    }

    /// Without the cells in which no row of the batch lies.
    pub(super) fn of_batch(mut self, num_rows: usize) -> Self {
        self.num_cells = self.cells.iter().take(num_rows).flatten().max().map_or(0, |last| last + 1);
        let num_cells = self.num_cells;
        self.cells.iter_mut().for_each(|cell| *cell = cell.filter(|&cell| cell < num_cells));
        self
    }
}
