//! The N x N part of the loss, one square tile at a time.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::Groups;

/// Largest |s_ij| for which exp(s_ij), its sums and their reciprocals stay far inside fp32's range, so that pass 1
/// needs no running maximum and pass 2 one exponential for both P_ij and P_ji. Unit vectors get there at tau = 0.025.
const PLAIN_EXP_LIMIT: f64 = 40.0;

/// Calls `f(rows, columns, mirrored)` for tiles that cover own x all. The part own x own is symmetric: only its upper
/// triangle is visited, and `mirrored` says that the tile stands for its transpose too.
pub(super) fn visit(
    own: Range<usize>,
    num_rows: usize,
    tile: usize,
    mut f: impl FnMut(Range<usize>, Range<usize>, bool),
) {
    let tile = tile.max(1);
    let blocks = |range: Range<usize>| {
        let end = range.end;
        range.step_by(tile).map(move |start| start..(start + tile).min(end))
    };
    for rows in blocks(own.clone()) {
        for columns in blocks(rows.start..own.end) {
            let mirrored = columns.start != rows.start;
            f(rows.clone(), columns, mirrored);
        }
        for columns in blocks(0..own.start).chain(blocks(own.end..num_rows)) {
            f(rows.clone(), columns, false);
        }
    }
}

/// 1/sum of exponentials of every row, in the form that the exponentials need; a row that is no anchor has weight 0.
pub(super) struct Normalizer {
    /// exp(-lse) when exponentials are plain, else lse.
    value: Tensor,
}

impl Normalizer {
    pub(super) fn new(lse_all: &Tensor, groups: &Groups, plain: bool, kind: Kind) -> Self {
        let anchors = groups.num_positives(0, groups.num_rows() as i64).gt(0);
        let lse = lse_all.to_kind(Kind::Double);
        let value = if plain {
            (-&lse).exp().where_self(&anchors, &lse.zeros_like())
        } else {
            lse.where_self(&anchors, &lse.full_like(f64::INFINITY))
        };
        Self { value: value.to_kind(kind) }
    }

    fn of(&self, range: &Range<usize>) -> Tensor {
        self.value.narrow(0, range.start as i64, range.len() as i64)
    }
}

/// Computes one tile at a time into buffers that are allocated once.
pub(super) struct Tiles<'a> {
    z: &'a Tensor,
    inverse_temperature: f64,
    plain: bool,
    /// s_ij, then the exponentials; `tile * tile`.
    first: Tensor,
    /// Scratch of the same size.
    second: Tensor,
}

impl<'a> Tiles<'a> {
    pub(super) fn new(z: &'a Tensor, temperature: f64, tile: usize) -> Self {
        let edge = (tile.max(1) as i64).min(z.size().first().copied().unwrap_or(0));
        let buffer = || Tensor::empty([edge * edge], (z.kind(), z.device()));
        // Measured, not assumed to be 1/tau: overflow would be silent. NaN compares false and goes the careful way.
        let largest_norm = z.norm_scalaropt_dim(2.0, 1, false).to_kind(Kind::Double);
        let largest_norm = if edge == 0 { 0.0 } else { largest_norm.max().double_value(&[]) };
        Self {
            z,
            inverse_temperature: 1.0 / temperature,
            plain: largest_norm * largest_norm / temperature <= PLAIN_EXP_LIMIT,
            first: buffer(),
            second: buffer(),
        }
    }

    pub(super) fn plain_exp(&self) -> bool {
        self.plain
    }

    /// s_ij with -inf on the batch's diagonal, `[rows, columns]`.
    pub(super) fn similarities(&mut self, rows: &Range<usize>, columns: &Range<usize>) -> Tensor {
        self.products(rows, columns, f64::NEG_INFINITY)
    }

    /// exp(s_ij) with 0 on the batch's diagonal, `[rows, columns]`.
    pub(super) fn exponentials(&mut self, rows: &Range<usize>, columns: &Range<usize>) -> Tensor {
        self.products(rows, columns, f64::NEG_INFINITY).exp_()
    }

    /// w_i exp(s_ij - lse_i) + w_j exp(s_ij - lse_j), `[rows, columns]`.
    pub(super) fn weights(
        &mut self,
        rows: &Range<usize>,
        columns: &Range<usize>,
        normalizer: &Normalizer,
    ) -> Tensor {
        let (of_rows, of_columns) = (normalizer.of(rows).unsqueeze(1), normalizer.of(columns).unsqueeze(0));
        let scratch = view(&self.second, rows, columns);
        if self.plain {
            let mut exponentials = self.exponentials(rows, columns);
            let sum = of_rows.add_out(&scratch, &of_columns);
            exponentials.g_mul_(&sum)
        } else {
            let mut similarities = self.similarities(rows, columns);
            let mut by_rows = similarities.subtract_out(&scratch, &of_rows).exp_();
            by_rows.g_add_(&similarities.g_sub_(&of_columns).exp_())
        }
    }

    fn products(&mut self, rows: &Range<usize>, columns: &Range<usize>, diagonal: f64) -> Tensor {
        let z_rows = self.z.narrow(0, rows.start as i64, rows.len() as i64) * self.inverse_temperature;
        let z_columns = self.z.narrow(0, columns.start as i64, columns.len() as i64);
        let tile = z_rows.mm_out(&view(&self.first, rows, columns), &z_columns.tr());
        let offset = rows.start as i64 - columns.start as i64;
        if offset < columns.len() as i64 && -offset < rows.len() as i64 {
            let _ = tile.diagonal(offset, 0, 1).fill_(diagonal);
        }
        tile
    }
}

fn view(buffer: &Tensor, rows: &Range<usize>, columns: &Range<usize>) -> Tensor {
    let (rows, columns) = (rows.len() as i64, columns.len() as i64);
    buffer.narrow(0, 0, rows * columns).view([rows, columns])
}
