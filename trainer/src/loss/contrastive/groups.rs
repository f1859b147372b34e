//! Who is whose positive: rows of the gathered batch by group, without an N x N mask.

use std::collections::HashMap;

use tch::{Device, Tensor};

/// Which rows of the gathered batch belong together.
#[derive(Debug)]
pub struct Groups {
    /// Dense group index of each row, `[N]`, i64.
    index: Tensor,
    /// Rows sorted by group, `[N]`, i64.
    order: Tensor,
    /// Rows per group, `[K]`, i64.
    sizes: Tensor,
    num_rows: usize,
    num_anchors: usize,
}

impl Groups {
    /// `group_of_row[i]` names the group of row i of the gathered batch: the sample id for NT-Xent, the class for
    /// SupCon, and for a row without label an id that no other row has.
    pub fn new(group_of_row: &[i64], device: Device) -> Self {
        let mut dense = HashMap::new();
        let mut sizes: Vec<i64> = Vec::new();
        let mut index: Vec<i64> = Vec::with_capacity(group_of_row.len());
        for group in group_of_row {
            let k = *dense.entry(*group).or_insert_with(|| {
                sizes.push(0);
                sizes.len() - 1
            });
            if let Some(size) = sizes.get_mut(k) {
                *size += 1;
            }
            index.push(k as i64);
        }
        let mut order: Vec<(i64, i64)> = index.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let order: Vec<i64> = order.into_iter().map(|(_, row)| row).collect();
        let num_anchors = sizes.iter().filter(|size| **size > 1).sum::<i64>() as usize;
        Self {
            index: Tensor::from_slice(&index).to_device(device),
            order: Tensor::from_slice(&order).to_device(device),
            sizes: Tensor::from_slice(&sizes).to_device(device),
            num_rows: group_of_row.len(),
            num_anchors,
        }
    }

    /// M: rows with at least one positive in the whole batch. With 0 the loss and its gradient are 0, which deserves a
    /// warning.
    pub fn num_anchors(&self) -> usize {
        self.num_anchors
    }

    /// N: rows of the whole batch.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// |P(i)| for rows `first..first + len`, `[len]`, i64.
    pub(super) fn num_positives(&self, first: i64, len: i64) -> Tensor {
        self.sizes.index_select(0, &self.index.narrow(0, first, len)) - 1
    }

    /// Sum of the embeddings of each group, `[K, D]`. Sums run over sorted segments and not by `index_add`, whose order
    /// on a GPU is not fixed.
    pub(super) fn sums(&self, z: &Tensor) -> Tensor {
        // libtorch refuses to reduce nothing.
        if self.num_rows == 0 {
            return z.copy();
        }
        let sorted = z.index_select(0, &self.order);
        Tensor::segment_reduce(&sorted, "sum", Some(&self.sizes), None, None, 0, false, 0.0)
    }

    /// Sum of z over the positives of each of the rows `first..`, `[rows, D]`, given the group sums; 0 for a row
    /// without any.
    pub(super) fn positive_sums(&self, sums: &Tensor, z_rows: &Tensor, first: i64) -> Tensor {
        let rows = z_rows.size().first().copied().unwrap_or(0);
        sums.index_select(0, &self.index.narrow(0, first, rows)) - z_rows
    }
}
