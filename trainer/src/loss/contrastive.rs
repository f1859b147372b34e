//! NT-Xent (Chen et al. 2020, arXiv 2002.05709) and SupCon (Khosla et al. 2020, arXiv 2004.11362, eq. 2, "out") over
//! the whole global batch and, by choice, a memory queue, exactly, in O(tile^2) memory beside the embeddings.
//!
//! Rows i of the batch are compared with columns j: the N rows of the batch and the Q rows of the queue. [`PairKeys`] say
//! which pairs take part, A_ij in {0, 1} with A_ii = 0, and which of those are positives, P(i). With s_ij = z_i.z_j / tau,
//!
//! ```text
//! loss     = 1/M sum_{i: P(i) not empty} ( lse_i - 1/|P(i)| sum_{p in P(i)} s_ip )
//! lse_i    = log sum_j A_ij exp(s_ij)
//! G_ij     = w_i (A_ij exp(s_ij - lse_i) - [j in P(i)]/|P(i)|)
//! dL/dz_i  = 1/(M tau) ( sum_{j in batch} (G_ij + G_ji) z_j + sum_{q in queue} G_iq z_q )
//! ```
//!
//! where w_i is 1 if row i has a positive and 0 otherwise, and M = sum w_i over the whole batch. A pair that is left out
//! has A_ij = A_ji = 0 and is no positive, so that it appears in neither sum: it is missing from |P| and from lse as well.
//! Queued rows are constants and no anchors. Both A and P are symmetric within the batch.
//!
//! Each rank owns a range of rows: [`PairProblem::row_statistics`] gives their lse, the ranks gather those, and
//! [`PairProblem::gradient`] gives the rows' part of dL/dz. No gradient crosses ranks and nothing of size N x N exists.
//! The gradient goes back through the encoder as `z.backward(dz)`, so the derivative of the normalization is autograd's.
//!
//! Arithmetic is in fp32, in fp64 for fp64 rows; callers switch autocast and TF32 products off. What needs the host is
//! settled by [`PairProblem::new`]; on a GPU nothing here waits for the device.
//!
//! Departures from published code, all on purpose:
//! - A row without a positive leaves the mean (M counts the others) but stays a negative for every other row.
//!   SupContrast's `SupConLoss` gives NaN there (0/0), or, in later copies that replace the zero count by one, adds 0
//!   and still divides by all rows.
//! - The logarithm has no `+ 1e-9`. SupContrast adds it after subtracting the row maximum that includes the row's
//!   similarity with itself, which changes the loss noticeably below a temperature of about 0.07.
//! - There is no factor tau / base_temperature; SupContrast's default is 1.

use std::marker::PhantomData;
use std::ops::Range;

use tch::kind::Element;
use tch::{Device, Kind, Tensor};

use self::left_out::LeftOut;
use self::positives::Positives;
use self::tiles::{Columns, Normalizer, Tiles, plain_exp, visit};

mod keys;
mod left_out;
mod positives;
mod queue;
mod queue_rules;
mod tiles;

pub use self::keys::{Nearness, PairKeys};
pub use self::queue::Queue;
pub use self::queue_rules::QueueRules;
pub use self::tiles::{DEFAULT_TILE, default_tile, tile_bytes, tile_for_memory};

/// Settings of the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairLoss {
    /// Softmax temperature of the cosine similarities.
    pub temperature: f64,
    /// Rows of a tile; `None` = [`default_tile`].
    pub tile: Option<usize>,
}

/// What pass 1 knows about a rank's own rows.
#[derive(Debug)]
pub struct RowStatistics {
    /// log sum_j A_ij exp(s_ij), `[n_own]`, f64; -inf for a row that is compared with nothing.
    pub lse: Tensor,
    /// Mean of s_ip over the positives, 0 for a row without any, `[n_own]`, f64.
    pub positive_similarity: Tensor,
    /// |P(i)|, `[n_own]`, i64.
    pub num_positives: Tensor,
}

impl RowStatistics {
    /// Sum of the losses of the own rows that have a positive: a 0-dimensional f64 tensor on the rows' device. The sum
    /// over ranks divided by [`PairProblem::num_anchors`] is the loss.
    pub fn loss_sum(&self) -> Tensor {
        let losses = &self.lse - &self.positive_similarity;
        losses.where_self(&self.num_positives.gt(0), &losses.zeros_like()).sum(Kind::Double)
    }
}

/// Loss and gradient of a whole batch held by one process.
#[derive(Debug)]
pub struct Contrastive {
    /// The loss, 0-dimensional, f64; 0 when no row has a positive.
    pub loss: Tensor,
    /// dL/dz, `[N, D]`, in the kind of z.
    pub gradient: Tensor,
    /// M, the rows that the loss is a mean over.
    pub num_anchors: usize,
}

/// The loss of one global batch: rows, what their pairs are, and the queue as it is now.
#[derive(Debug)]
pub struct PairProblem<'a> {
    /// The rows, in the arithmetic of the loss.
    batch: Columns,
    queue: Option<Columns>,
    positives: Positives,
    /// Sums of rows that the sums over positives are made of.
    positive_sums: Vec<Tensor>,
    temperature: f64,
    tile: usize,
    plain: bool,
    /// Kind of the rows as they came.
    kind: Kind,
    /// The queue must not move while its rows are in use.
    unmoved: PhantomData<&'a Queue>,
}

impl<'a> PairProblem<'a> {
    /// Prepares both passes. Grouping and counting happen here, on the host, from the keys alone.
    ///
    /// # Shapes
    /// `z_all` is `[N, D]`, the embeddings of all ranks in rank order, L2-normalized by the caller (on a GPU this is taken
    /// for granted); `keys` has N rows, and the rules of the queue.
    pub fn new(z_all: &Tensor, keys: &PairKeys, queue: Option<&'a Queue>, settings: &PairLoss) -> Self {
        let device = z_all.device();
        let queued = queue.map(Queue::queued).filter(|queued| queued.keys.num_rows() > 0);
        let queue_keys = queued.as_ref().map(|queued| &queued.keys);
        let positives = Positives::new(keys, queue_keys, device);
        let left_out = LeftOut::new(keys, keys, device);
        let left_out_of_queue = queue_keys.and_then(|queued| LeftOut::new(keys, queued, device));
        tch::no_grad(|| {
            let kind = if z_all.kind() == Kind::Double { Kind::Double } else { Kind::Float };
            let batch = Columns { z: z_all.detach().to_kind(kind).contiguous(), left_out };
            let queue =
                queued.map(|queued| Columns { z: queued.rows.to_kind(kind), left_out: left_out_of_queue });
            let positive_sums = positives.sums(&batch.z, queue.as_ref().map(|queue| &queue.z));
            let parts = [&batch].into_iter().chain(&queue).map(|columns| &columns.z);
            Self {
                plain: plain_exp(parts, settings.temperature),
                tile: settings.tile.unwrap_or_else(|| default_tile(device, keys.num_rows())).max(1),
                temperature: settings.temperature,
                kind: z_all.kind(),
                batch,
                queue,
                positives,
                positive_sums,
                unmoved: PhantomData,
            }
        })
    }

    /// N, the rows of the global batch.
    pub fn num_rows(&self) -> usize {
        self.batch.len()
    }

    /// M, the rows with at least one positive. With 0 the loss and its gradient are 0, which deserves a warning.
    pub fn num_anchors(&self) -> usize {
        self.positives.num_anchors()
    }

    /// Pass 1: log-sum-exp and mean positive similarity of this rank's rows of the global batch.
    pub fn row_statistics(&self, own: Range<usize>) -> RowStatistics {
        tch::no_grad(|| {
            let (first, len) = (own.start as i64, own.len() as i64);
            let lse = self.log_sum_exp(own);
            let positive_similarity = Tensor::zeros([len], (Kind::Double, self.batch.z.device()));
            for rows in self.row_blocks(first, len) {
                let block = rows.end - rows.start;
                let z_rows = self.batch.z.narrow(0, rows.start, block);
                let sums = self.positives.of_rows(&self.positive_sums, &z_rows, &rows);
                let inverse = self.positives.inverse_counts().narrow(0, rows.start, block);
                let mean =
                    (sums * z_rows).sum_dim_intlist(1, false, Kind::Double) * inverse / self.temperature;
                positive_similarity.narrow(0, rows.start - first, block).copy_(&mean);
            }
            let num_positives = self.positives.counts().narrow(0, first, len);
            RowStatistics { lse, positive_similarity, num_positives }
        })
    }

    fn log_sum_exp(&self, own: Range<usize>) -> Tensor {
        let (first, len) = (own.start as i64, own.len() as i64);
        let tiles = self.tiles();
        let start = if self.plain { 0.0 } else { f64::NEG_INFINITY };
        let mut totals = Tensor::full([len], start, (Kind::Double, self.batch.z.device()));
        visit(own, self.num_rows(), self.num_queued(), self.tile, |tile| {
            let (rows, columns) = (&tile.rows, &tile.columns);
            let mut own_rows = totals.narrow(0, rows.start as i64 - first, rows.len() as i64);
            let mut own_columns =
                tile.mirrored.then(|| totals.narrow(0, columns.start as i64 - first, columns.len() as i64));
            if self.plain {
                let exponentials = tiles.exponentials(&tile);
                let _ = own_rows.g_add_(&exponentials.sum_dim_intlist(1, false, None::<Kind>));
                if let Some(own_columns) = &mut own_columns {
                    let _ = own_columns.g_add_(&exponentials.sum_dim_intlist(0, false, None::<Kind>));
                }
            } else {
                let similarities = tiles.similarities(&tile);
                own_rows.copy_(&own_rows.logaddexp(&similarities.logsumexp(1, false).to_kind(Kind::Double)));
                if let Some(own_columns) = &mut own_columns {
                    let part = similarities.logsumexp(0, false).to_kind(Kind::Double);
                    own_columns.copy_(&own_columns.logaddexp(&part));
                }
            }
        });
        if self.plain { totals.log_() } else { totals }
    }

    /// Pass 2: dL/dz of this rank's rows, `[n_own, D]` in the kind of `z_all`, where L is the loss of the whole batch.
    /// Ranks that sum (not average) their parameter gradients get the exact gradient.
    ///
    /// # Shapes
    /// `lse_all` is `[N]`, every rank's [`RowStatistics::lse`] in rank order.
    pub fn gradient(&self, own: Range<usize>, lse_all: &Tensor) -> Tensor {
        tch::no_grad(|| {
            let z = &self.batch.z;
            let (first, len) = (own.start as i64, own.len() as i64);
            let mut dz = Tensor::zeros([len, z.size2().map_or(0, |(_, d)| d)], (z.kind(), z.device()));
            if self.num_anchors() == 0 {
                return dz.to_kind(self.kind);
            }
            let tiles = self.tiles();
            let normalizer = Normalizer::new(lse_all, &self.positives, self.plain, z.kind());
            visit(own, self.num_rows(), self.num_queued(), self.tile, |tile| {
                let weights = tiles.weights(&tile, &normalizer);
                let (rows, columns) = (&tile.rows, &tile.columns);
                let (i, j) = (rows.start as i64, columns.start as i64);
                let _ = dz.narrow(0, i - first, rows.len() as i64).addmm_(&weights, &tiles.columns(&tile));
                if tile.mirrored {
                    let z_rows = z.narrow(0, i, rows.len() as i64);
                    let _ = dz.narrow(0, j - first, columns.len() as i64).addmm_(&weights.tr(), &z_rows);
                }
            });
            self.subtract_positives(&dz, first, len);
            let scale = 1.0 / (self.num_anchors() as f64 * self.temperature);
            dz.g_mul_scalar_(scale).to_kind(self.kind)
        })
    }

    /// Subtracts sum_j (Y_ij + Y_ji) z_j, Y_ij = [j in P(i)]/|P(i)|, from the own rows. By the symmetry of P this is the
    /// sum of z_j over P(i), divided by |P(i)|, and the sum of z_j/|P(j)| over the part of P(i) in the batch.
    fn subtract_positives(&self, dz: &Tensor, first: i64, len: i64) {
        let z = &self.batch.z;
        let inverse = self.positives.inverse_counts().to_kind(z.kind()).unsqueeze(1);
        // Both parts are the same where the counts are.
        let shares = (!self.positives.are_even()).then(|| {
            let shares = z * &inverse;
            let sums = self.positives.sums(&shares, None);
            (shares, sums)
        });
        for rows in self.row_blocks(first, len) {
            let block = rows.end - rows.start;
            let part = |tensor: &Tensor| tensor.narrow(0, rows.start, block);
            let own = self.positives.of_rows(&self.positive_sums, &part(z), &rows);
            let both = match &shares {
                None => own * (part(&inverse) * 2.0),
                Some((shares, sums)) => {
                    let others = self.positives.of_rows(sums, &part(shares), &rows);
                    // Differences of sums leave rounding where there is no positive.
                    own * part(&inverse) + others * part(&inverse).gt(0.0)
                }
            };
            let mut dz_rows = dz.narrow(0, rows.start - first, block);
            let _ = dz_rows.g_sub_(&both);
        }
    }

    /// Loss and gradient in one process: both passes with all rows as own rows.
    pub fn whole(&self) -> Contrastive {
        let all = 0..self.num_rows();
        let statistics = self.row_statistics(all.clone());
        Contrastive {
            loss: statistics.loss_sum() / self.num_anchors().max(1) as f64,
            gradient: self.gradient(all, &statistics.lse),
            num_anchors: self.num_anchors(),
        }
    }

    fn num_queued(&self) -> usize {
        self.queue.as_ref().map_or(0, Columns::len)
    }

    fn tiles(&self) -> Tiles<'_> {
        Tiles::new(&self.batch, self.queue.as_ref(), self.temperature, self.plain, self.tile)
    }

    /// `first..first + len` in blocks of a tile's rows.
    fn row_blocks(&self, first: i64, len: i64) -> impl Iterator<Item = Range<i64>> + use<> {
        let tile = self.tile;
        (first..first + len).step_by(tile).map(move |start| start..(start + tile as i64).min(first + len))
    }
}

/// Host values as a tensor. A GPU gets them by way of pinned memory, in the order of its stream: a plain copy would wait
/// for everything that the stream has to do before.
fn upload<T: Element>(values: &[T], device: Device) -> Tensor {
    let host = Tensor::from_slice(values);
    match device {
        Device::Cpu => host,
        device => host.pin_memory(device).to_device_(device, T::KIND, true, false),
    }
}

#[cfg(test)]
mod tests;
