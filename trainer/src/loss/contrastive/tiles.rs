//! The N x (N + Q) part of the loss, one square tile at a time.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::left_out::LeftOut;
use super::positives::Positives;

/// Largest |s_ij| for which exp(s_ij), its sums and their reciprocals stay far inside fp32's range, so that pass 1
/// needs no running maximum and pass 2 one exponential for both P_ij and P_ji. Unit vectors get there at tau = 0.025.
const PLAIN_EXP_LIMIT: f64 = 40.0;

/// How much longer than 1 a normalized row may be: half precision rounds by less than half of that.
const NORM_SLACK: f64 = 0.01;

/// Edge of a tile on a CPU where none is chosen: two fp32 buffers of 1 MiB, which stay in a core's cache. Larger tiles
/// gain nothing there.
pub const DEFAULT_TILE: usize = 512;

/// Edge of a tile on a GPU where none is chosen: enough work for every kernel to fill the device.
const LARGEST_TILE: usize = 4096;

/// Edge of a tile where none is chosen, for `num_rows` rows of the global batch; a power of two.
pub fn default_tile(device: Device, num_rows: usize) -> usize {
    match device {
        Device::Cuda(_) => num_rows.max(1).next_power_of_two().min(LARGEST_TILE),
        _ => DEFAULT_TILE,
    }
}

/// Bytes that the passes hold for tiles of this edge, beside the embeddings: two buffers and a temporary of `kind` (fp32
/// for half precision), and three masks of one byte per pair.
pub fn tile_bytes(tile: usize, kind: Kind) -> u64 {
    let element = if kind == Kind::Double { 8 } else { 4 };
    (tile as u64).saturating_pow(2).saturating_mul(3 * element + 3)
}

/// The largest power of two whose [`tile_bytes`] fit into `budget_bytes`, not beyond what covers `num_rows` rows at
/// once; 1 where nothing fits.
pub fn tile_for_memory(budget_bytes: u64, num_rows: usize, kind: Kind) -> usize {
    let whole = num_rows.max(1).next_power_of_two();
    std::iter::successors(Some(whole), |tile| Some(tile / 2))
        .find(|&tile| tile <= 1 || tile_bytes(tile, kind) <= budget_bytes)
        .unwrap_or(1)
}

/// A tile: some rows of the batch against columns of the batch or of the queue.
pub(super) struct Tile {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// The columns are the queue's.
    pub(super) queued: bool,
    /// The tile stands for its transpose too.
    pub(super) mirrored: bool,
}

/// Calls `f` for tiles that cover own x (batch and queue). The part own x own is symmetric: only its upper triangle is
/// visited, mirrored.
pub(super) fn visit(
    own: Range<usize>,
    num_rows: usize,
    num_queued: usize,
    edge: usize,
    mut f: impl FnMut(Tile),
) {
    let edge = edge.max(1);
    let blocks = |range: Range<usize>| {
        let end = range.end;
        range.step_by(edge).map(move |start| start..(start + edge).min(end))
    };
    for rows in blocks(own.clone()) {
        for columns in blocks(rows.start..own.end) {
            let mirrored = columns.start != rows.start;
            f(Tile { rows: rows.clone(), columns, queued: false, mirrored });
        }
        for columns in blocks(0..own.start).chain(blocks(own.end..num_rows)) {
            f(Tile { rows: rows.clone(), columns, queued: false, mirrored: false });
        }
        for columns in blocks(0..num_queued) {
            f(Tile { rows: rows.clone(), columns, queued: true, mirrored: false });
        }
    }
}

/// 1/sum of exponentials of every row, in the form that the exponentials need; a row that is no anchor has weight 0.
pub(super) struct Normalizer {
    /// exp(-lse) when exponentials are plain, else lse.
    value: Tensor,
}

impl Normalizer {
    pub(super) fn new(lse_all: &Tensor, positives: &Positives, plain: bool, kind: Kind) -> Self {
        let anchors = positives.counts().gt(0);
        let lse = lse_all.to_kind(Kind::Double);
        let value = if plain {
            (-&lse).exp().where_self(&anchors, &lse.zeros_like())
        } else {
            lse.where_self(&anchors, &lse.full_like(f64::INFINITY))
        };
        Self { value: value.to_kind(kind) }
    }

    fn of(&self, range: &Range<usize>) -> Tensor {
        narrow(&self.value, range)
    }
}

/// Columns that rows are compared with.
#[derive(Debug)]
pub(super) struct Columns {
    /// `[C, D]`, of the rows' kind and device.
    pub(super) z: Tensor,
    /// Pairs that take no part.
    pub(super) left_out: Option<LeftOut>,
}

impl Columns {
    pub(super) fn len(&self) -> usize {
        self.z.size().first().map_or(0, |&rows| rows as usize)
    }
}

/// Whether exponentials need no running maximum. On a CPU the norms are measured, because overflow would be silent and
/// NaN, which compares false, goes the careful way; elsewhere that would wait for the device, and the rows are taken to
/// be normalized.
pub(super) fn plain_exp<'a>(parts: impl Iterator<Item = &'a Tensor>, temperature: f64) -> bool {
    let squared = |z: &Tensor| {
        if z.device() != Device::Cpu {
            return (1.0 + NORM_SLACK).powi(2);
        }
        if z.numel() == 0 {
            return 0.0;
        }
        z.norm_scalaropt_dim(2.0, 1, false).to_kind(Kind::Double).max().double_value(&[]).powi(2)
    };
    // |q.z| <= max(|q|^2, |z|^2); all parts must keep the limit.
    parts.map(squared).all(|squared| squared / temperature <= PLAIN_EXP_LIMIT)
}

/// Computes one tile at a time into buffers that are allocated once.
pub(super) struct Tiles<'a> {
    batch: &'a Columns,
    queue: Option<&'a Columns>,
    inverse_temperature: f64,
    plain: bool,
    /// s_ij, then the exponentials; `edge * edge`.
    first: Tensor,
    /// Scratch of the same size.
    second: Tensor,
}

impl<'a> Tiles<'a> {
    pub(super) fn new(
        batch: &'a Columns,
        queue: Option<&'a Columns>,
        temperature: f64,
        plain: bool,
        edge: usize,
    ) -> Self {
        let rows = edge.min(batch.len());
        let columns = edge.min(batch.len().max(queue.map_or(0, Columns::len)));
        let buffer = || Tensor::empty([(rows * columns) as i64], (batch.z.kind(), batch.z.device()));
        Self {
            batch,
            queue,
            inverse_temperature: 1.0 / temperature,
            plain,
            first: buffer(),
            second: buffer(),
        }
    }

    /// The embeddings of a tile's columns.
    pub(super) fn columns(&self, tile: &Tile) -> Tensor {
        narrow(&self.part(tile).z, &tile.columns)
    }

    /// s_ij with -inf on the batch's diagonal and where the pair is left out, `[rows, columns]`.
    pub(super) fn similarities(&self, tile: &Tile) -> Tensor {
        let (rows, columns) = (&tile.rows, &tile.columns);
        let z_rows = narrow(&self.batch.z, rows) * self.inverse_temperature;
        let mut products = z_rows.mm_out(&view(&self.first, tile), &self.columns(tile).tr());
        let offset = rows.start as i64 - columns.start as i64;
        if !tile.queued && offset < columns.len() as i64 && -offset < rows.len() as i64 {
            let _ = products.diagonal(offset, 0, 1).fill_(f64::NEG_INFINITY);
        }
        if let Some(left_out) = &self.part(tile).left_out {
            let _ = products.masked_fill_(&left_out.mask(rows, columns), f64::NEG_INFINITY);
        }
        products
    }

    /// exp(s_ij) with 0 where s_ij is -inf, `[rows, columns]`.
    pub(super) fn exponentials(&self, tile: &Tile) -> Tensor {
        self.similarities(tile).exp_()
    }

    /// w_i exp(s_ij - lse_i) + w_j exp(s_ij - lse_j), `[rows, columns]`; queued columns are no anchors and lack the
    /// second term.
    pub(super) fn weights(&self, tile: &Tile, normalizer: &Normalizer) -> Tensor {
        let of_rows = normalizer.of(&tile.rows).unsqueeze(1);
        let of_columns = (!tile.queued).then(|| normalizer.of(&tile.columns).unsqueeze(0));
        let scratch = view(&self.second, tile);
        if self.plain {
            let mut exponentials = self.exponentials(tile);
            match of_columns {
                Some(of_columns) => exponentials.g_mul_(&of_rows.add_out(&scratch, &of_columns)),
                None => exponentials.g_mul_(&of_rows),
            }
        } else {
            let mut similarities = self.similarities(tile);
            match of_columns {
                Some(of_columns) => {
                    let mut by_rows = similarities.subtract_out(&scratch, &of_rows).exp_();
                    by_rows.g_add_(&similarities.g_sub_(&of_columns).exp_())
                }
                None => similarities.g_sub_(&of_rows).exp_(),
            }
        }
    }

    fn part(&self, tile: &Tile) -> &'a Columns {
        match self.queue {
            Some(queue) if tile.queued => queue,
            _ => self.batch,
        }
    }
}

fn view(buffer: &Tensor, tile: &Tile) -> Tensor {
    let (rows, columns) = (tile.rows.len() as i64, tile.columns.len() as i64);
    buffer.narrow(0, 0, rows * columns).view([rows, columns])
}

fn narrow(tensor: &Tensor, range: &Range<usize>) -> Tensor {
    tensor.narrow(0, range.start as i64, range.len() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tile_is_the_largest_power_of_two_that_fits() {
        for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
            for budget in [0, 1, 15, 60, 1 << 20, 100_000_000, u64::MAX] {
                for rows in [0, 1, 5, 512, 4000, 1 << 20] {
                    let tile = tile_for_memory(budget, rows, kind);
                    assert!(tile.is_power_of_two() && tile < 2 * rows.max(1));
                    assert!(tile == 1 || tile_bytes(tile, kind) <= budget);
                    assert!(tile >= rows || tile_bytes(2 * tile, kind) > budget, "{budget} {rows}");
                }
            }
        }
        assert_eq!(default_tile(Device::Cpu, 100_000), 512);
        assert_eq!(default_tile(Device::Cuda(0), 1000), 1024);
        assert_eq!(default_tile(Device::Cuda(0), 100_000), 4096);
    }

    #[test]
    fn tiles_cover_every_pair_once() {
        for (own, rows, queued, edge) in
            [(0..7, 7, 0, 3), (2..6, 9, 5, 2), (4..4, 4, 3, 2), (0..5, 12, 1, 100)]
        {
            let mut seen = vec![vec![0; rows + queued]; rows];
            visit(own.clone(), rows, queued, edge, |tile| {
                for i in tile.rows.clone() {
                    for j in tile.columns.clone() {
                        seen[i][if tile.queued { rows + j } else { j }] += 1;
                        if tile.mirrored {
                            seen[j][i] += 1;
                        }
                    }
                }
            });
            for (i, row) in seen.iter().enumerate() {
                assert!(row.iter().all(|&n| n == i32::from(own.contains(&i))), "row {i} of {own:?}: {row:?}");
            }
        }
    }
}
