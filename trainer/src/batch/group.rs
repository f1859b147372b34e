//! Views of one shape, as rows of a tensor.

use std::ops::Range;

use dtrain_data::Columns;
use tch::{TchError, Tensor};

/// Views of one shape, some of each sample.
#[derive(Debug)]
pub struct ViewGroup {
    /// Views of each sample.
    pub num_views: u32,
    /// `[num_views * n, ...]`, view-major: row `v * n + i` is view `v` of sample `i`.
    pub rows: Tensor,
    /// What augmentations tell of the views, a row for each of `rows`.
    pub drawn: Columns,
}

impl ViewGroup {
    /// Views of which no augmentation tells anything.
    pub fn new(num_views: u32, rows: Tensor) -> Self {
        let num_rows = rows.size().first().copied().unwrap_or(0);
        Self { num_views, rows, drawn: Columns::new(num_rows as usize) }
    }

    /// The samples `range` of the `n` that are here, all of their views; a copy, unless these are all samples.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn narrow(&self, range: &Range<usize>, n: usize) -> Result<Self, TchError> {
        let rows = if *range == (0..n) {
            self.rows.shallow_clone()
        } else {
            let of_view =
                |view: usize| self.rows.f_narrow(0, (view * n + range.start) as i64, range.len() as i64);
            let views: Vec<Tensor> = (0..self.num_views as usize).map(of_view).collect::<Result<_, _>>()?;
            Tensor::f_cat(&views, 0)?
        };
        let of_view = |view: usize| range.clone().map(move |sample| view * n + sample);
        let drawn = self.drawn.select((0..self.num_views as usize).flat_map(of_view));
        Ok(Self { num_views: self.num_views, rows, drawn })
    }
}
