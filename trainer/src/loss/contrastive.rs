//! NT-Xent (Chen et al. 2020, arXiv 2002.05709) and SupCon (Khosla et al. 2020, arXiv 2004.11362, eq. 2, "out") over
//! the whole global batch, exactly, in O(tile^2) memory beside the embeddings.
//!
//! With s_ij = z_i.z_j / tau, j != i, and P(i) the other rows of i's group,
//!
//! ```text
//! loss     = 1/M sum_{i: P(i) not empty} ( lse_i - 1/|P(i)| sum_{p in P(i)} s_ip ),   lse_i = log sum_j exp(s_ij)
//! dL/dz_i  = 1/(M tau) sum_j (G_ij + G_ji) z_j,   G_ij = w_i (exp(s_ij - lse_i) - [j in P(i)]/|P(i)|)
//! ```
//!
//! where w_i is 1 if row i has a positive and 0 otherwise, and M = sum w_i over the whole batch. Each rank owns a range
//! of rows: [`row_statistics`] gives their lse, the ranks gather those, and [`gradient`] gives the rows' part of dL/dz.
//! No gradient crosses ranks and nothing of size N x N exists. The gradient goes back through the encoder as
//! `z.backward(dz)`, so the derivative of the normalization is autograd's.
//!
//! Departures from published code, all on purpose:
//! - A row without a positive leaves the mean (M counts the others) but stays a negative for every other row.
//!   SupContrast's `SupConLoss` gives NaN there (0/0), or, in later copies that replace the zero count by one, adds 0
//!   and still divides by all rows.
//! - The logarithm has no `+ 1e-9`. SupContrast adds it after subtracting the row maximum that includes the row's
//!   similarity with itself, which changes the loss noticeably below a temperature of about 0.07.
//! - There is no factor tau / base_temperature; SupContrast's default is 1.

use std::ops::Range;

use tch::{Kind, Tensor};

use self::tiles::{Normalizer, Tiles, visit};

mod groups;
mod tiles;

pub use self::groups::Groups;

/// Edge of a tile where none is chosen: two fp32 buffers of 1 MiB, which stay in a core's cache. Larger tiles gain nothing
/// on a CPU; a GPU wants 4096.
pub const DEFAULT_TILE: usize = 512;

/// What pass 1 knows about a rank's own rows.
#[derive(Debug)]
pub struct RowStatistics {
    /// log sum_{j != i} exp(s_ij), `[n_own]`, f64; -inf in a batch of one row.
    pub lse: Tensor,
    /// Mean of s_ip over the positives, 0 for a row without any, `[n_own]`, f64.
    pub positive_similarity: Tensor,
    /// |P(i)|, `[n_own]`, i64.
    pub num_positives: Tensor,
}

impl RowStatistics {
    /// Sum of the losses of the own rows that have a positive: a 0-dimensional f64 tensor on the rows' device. The sum
    /// over ranks divided by [`Groups::num_anchors`] is the loss.
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

/// Loss and gradient in one process: [`row_statistics`] and [`gradient`] with all rows as own rows.
///
/// # Shapes
/// `z` is `[N, D]`, L2-normalized by the caller; `groups` has N rows.
pub fn contrastive(z: &Tensor, groups: &Groups, temperature: f64, tile: usize) -> Contrastive {
    let all = 0..groups.num_rows();
    let statistics = row_statistics(z, groups, all.clone(), temperature, tile);
    let num_anchors = groups.num_anchors();
    Contrastive {
        loss: statistics.loss_sum() / num_anchors.max(1) as f64,
        gradient: gradient(z, groups, all, &statistics.lse, temperature, tile),
        num_anchors,
    }
}

/// Pass 1: log-sum-exp and mean positive similarity of the own rows.
///
/// # Shapes
/// `z_all` is `[N, D]`, the L2-normalized embeddings of all ranks in rank order; `own` are this rank's rows in it. `tile`
/// is the edge of the square tiles that are held at a time.
pub fn row_statistics(
    z_all: &Tensor,
    groups: &Groups,
    own: Range<usize>,
    temperature: f64,
    tile: usize,
) -> RowStatistics {
    tch::no_grad(|| {
        let z = working_copy(z_all);
        let (first, len) = (own.start as i64, own.len() as i64);
        let mut tiles = Tiles::new(&z, temperature, tile);
        let plain = tiles.plain_exp();
        let start = if plain { 0.0 } else { f64::NEG_INFINITY };
        let mut totals = Tensor::full([len], start, (Kind::Double, z.device()));
        visit(own, groups.num_rows(), tile, |rows, columns, mirrored| {
            let mut own_rows = totals.narrow(0, rows.start as i64 - first, rows.len() as i64);
            let mut own_columns =
                mirrored.then(|| totals.narrow(0, columns.start as i64 - first, columns.len() as i64));
            if plain {
                let exponentials = tiles.exponentials(&rows, &columns);
                let _ = own_rows.g_add_(&exponentials.sum_dim_intlist(1, false, None::<Kind>));
                if let Some(own_columns) = &mut own_columns {
                    let _ = own_columns.g_add_(&exponentials.sum_dim_intlist(0, false, None::<Kind>));
                }
            } else {
                let similarities = tiles.similarities(&rows, &columns);
                own_rows.copy_(&own_rows.logaddexp(&similarities.logsumexp(1, false).to_kind(Kind::Double)));
                if let Some(own_columns) = &mut own_columns {
                    let part = similarities.logsumexp(0, false).to_kind(Kind::Double);
                    own_columns.copy_(&own_columns.logaddexp(&part));
                }
            }
        });
        let lse = if plain { totals.log_() } else { totals };
        let num_positives = groups.num_positives(first, len);
        let sums = groups.sums(&z);
        let positive_similarity = Tensor::zeros([len], (Kind::Double, z.device()));
        for rows in row_blocks(first, len, tile) {
            let z_rows = z.narrow(0, rows.start, rows.end - rows.start);
            let others = groups.positive_sums(&sums, &z_rows, rows.start);
            let count = num_positives
                .narrow(0, rows.start - first, rows.end - rows.start)
                .clamp_min(1)
                .to_kind(Kind::Double);
            let mean = (others * z_rows).sum_dim_intlist(1, false, Kind::Double) / (count * temperature);
            positive_similarity.narrow(0, rows.start - first, rows.end - rows.start).copy_(&mean);
        }
        RowStatistics { lse, positive_similarity, num_positives }
    })
}

/// Pass 2: dL/dz of the own rows, `[n_own, D]` in the kind of `z_all`, where L is the loss of the whole batch. Ranks
/// that sum (not average) their parameter gradients get the exact gradient.
///
/// # Shapes
/// As [`row_statistics`]; `lse_all` is `[N]`, every rank's [`RowStatistics::lse`] in rank order.
pub fn gradient(
    z_all: &Tensor,
    groups: &Groups,
    own: Range<usize>,
    lse_all: &Tensor,
    temperature: f64,
    tile: usize,
) -> Tensor {
    tch::no_grad(|| {
        let z = working_copy(z_all);
        let (first, len) = (own.start as i64, own.len() as i64);
        let dz = Tensor::zeros([len, z.size2().map_or(0, |(_, d)| d)], (z.kind(), z.device()));
        if groups.num_anchors() == 0 {
            return dz.to_kind(z_all.kind());
        }
        let mut tiles = Tiles::new(&z, temperature, tile);
        let normalizer = Normalizer::new(lse_all, groups, tiles.plain_exp(), z.kind());
        visit(own, groups.num_rows(), tile, |rows, columns, mirrored| {
            let weights = tiles.weights(&rows, &columns, &normalizer);
            let (i, j) = (rows.start as i64, columns.start as i64);
            let z_rows = z.narrow(0, i, rows.len() as i64);
            let z_columns = z.narrow(0, j, columns.len() as i64);
            let _ = dz.narrow(0, i - first, rows.len() as i64).addmm_(&weights, &z_columns);
            if mirrored {
                let _ = dz.narrow(0, j - first, columns.len() as i64).addmm_(&weights.tr(), &z_rows);
            }
        });
        let sums = groups.sums(&z);
        let scale = 1.0 / (groups.num_anchors() as f64 * temperature);
        for rows in row_blocks(first, len, tile) {
            let block = rows.end - rows.start;
            let others = groups.positive_sums(&sums, &z.narrow(0, rows.start, block), rows.start);
            // Positives share the group, hence |P| and w: Y_ij + Y_ji = 2/|P(i)|. Without a positive `others` is 0.
            let count = groups.num_positives(rows.start, block).clamp_min(1).to_kind(z.kind()).unsqueeze(1);
            let mut dz_rows = dz.narrow(0, rows.start - first, block);
            let _ = dz_rows.g_sub_(&(others * 2.0 / count));
            let _ = dz_rows.g_mul_scalar_(scale);
        }
        dz.to_kind(z_all.kind())
    })
}

/// fp32 or fp64 without graph; half precisions are widened.
fn working_copy(z: &Tensor) -> Tensor {
    let kind = if z.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    z.detach().to_kind(kind).contiguous()
}

/// `first..first + len` in blocks of `tile` rows.
fn row_blocks(first: i64, len: i64, tile: usize) -> impl Iterator<Item = Range<i64>> {
    let tile = tile.max(1);
    (first..first + len).step_by(tile).map(move |start| start..(start + tile as i64).min(first + len))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tch::Device;

    use super::*;

    fn unit_rows(n: usize, d: i64, kind: Kind, seed: i64) -> Tensor {
        tch::manual_seed(seed);
        let z = Tensor::randn([n as i64, d], (Kind::Double, Device::Cpu));
        (&z / z.norm_scalaropt_dim(2.0, [1], true)).to_kind(kind)
    }

    fn labels(pattern: usize, n: usize) -> Vec<i64> {
        let n = n as i64;
        (0..n)
            .map(|i| match pattern {
                0 => i / 2, // pairs, one row left over when n is odd
                1 => i % 3, // three classes
                2 => 7,     // one class
                3 => i,     // nobody has a positive
                4 => {
                    if i == n / 2 {
                        -1
                    } else {
                        i % 2
                    }
                } // a class with one row
                _ => {
                    if i < n / 2 {
                        0
                    } else {
                        i
                    }
                } // one class among unlabelled rows
            })
            .collect()
    }

    /// The definition, with an N x N mask and autograd.
    fn naive(z: &Tensor, labels: &[i64], temperature: f64) -> (f64, Tensor) {
        let z = z.detach().set_requires_grad(true);
        let n = labels.len() as i64;
        let label = Tensor::from_slice(labels);
        let eye = Tensor::eye(n, (Kind::Bool, Device::Cpu));
        let positives = label.unsqueeze(0).eq_tensor(&label.unsqueeze(1)).logical_and(&eye.logical_not());
        let similarities = z.mm(&z.tr()) / temperature;
        let lse = similarities.masked_fill(&eye, f64::NEG_INFINITY).logsumexp(1, false);
        let count = positives.sum_dim_intlist(1, false, Kind::Double);
        let mean = (similarities * positives.to_kind(Kind::Double)).sum_dim_intlist(1, false, Kind::Double)
            / count.clamp_min(1.0);
        let anchors = count.gt(0.0);
        let num_anchors = anchors.sum(Kind::Double).double_value(&[]).max(1.0);
        let loss = (lse - mean).masked_select(&anchors).sum(Kind::Double) / num_anchors;
        loss.backward();
        (loss.double_value(&[]), z.grad())
    }

    /// Both phases on `ranks` ranks with uneven shares, as the engine runs them.
    fn distributed(
        z: &Tensor,
        groups: &Groups,
        temperature: f64,
        tile: usize,
        ranks: usize,
    ) -> (f64, Tensor) {
        let n = groups.num_rows();
        let cut = |rank: usize| if rank == ranks { n } else { n * rank * (rank + 1) / (ranks * (ranks + 1)) };
        let shares: Vec<Range<usize>> = (0..ranks).map(|rank| cut(rank)..cut(rank + 1)).collect();
        let statistics: Vec<RowStatistics> =
            shares.iter().map(|own| row_statistics(z, groups, own.clone(), temperature, tile)).collect();
        let loss: f64 = statistics.iter().map(|s| s.loss_sum().double_value(&[])).sum();
        let lse = Tensor::cat(&statistics.iter().map(|s| &s.lse).collect::<Vec<_>>(), 0);
        let parts: Vec<Tensor> =
            shares.iter().map(|own| gradient(z, groups, own.clone(), &lse, temperature, tile)).collect();
        (loss / groups.num_anchors().max(1) as f64, Tensor::cat(&parts, 0))
    }

    fn largest(t: &Tensor) -> f64 {
        t.abs().max().double_value(&[])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn equals_the_naive_formula_for_any_ranks_and_tiles(
            n in 2_usize..70,
            temperature in prop::sample::select(vec![0.01, 0.05, 0.1, 0.5, 1.0]),
            tile in 1_usize..70,
            pattern in 0_usize..6,
            ranks in 1_usize..=4,
            seed in 0_i64..1000,
        ) {
            let z = unit_rows(n, 5, Kind::Double, seed);
            let labels = labels(pattern, n);
            let groups = Groups::new(&labels, Device::Cpu);
            let (expected_loss, expected) = naive(&z, &labels, temperature);
            let one = contrastive(&z, &groups, temperature, tile);
            for (loss, dz) in [
                (one.loss.double_value(&[]), one.gradient),
                distributed(&z, &groups, temperature, tile, ranks),
            ] {
                prop_assert!((loss - expected_loss).abs() < 1e-11, "{} against {}", loss, expected_loss);
                let difference = largest(&(dz - &expected));
                prop_assert!(difference < 1e-10, "{}", difference);
            }
        }
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let (n, d, step) = (9, 4, 1e-6);
        let z = unit_rows(n, d, Kind::Double, 3);
        for pattern in 0..6 {
            let groups = Groups::new(&labels(pattern, n), Device::Cpu);
            let dz = contrastive(&z, &groups, 0.2, 4).gradient;
            for k in 0..n as i64 * d {
                let moved = |by: f64| {
                    let z = z.copy();
                    let _ = z.view(-1).narrow(0, k, 1).g_add_scalar_(by);
                    contrastive(&z, &groups, 0.2, 4).loss.double_value(&[])
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                assert!(
                    (slope - dz.view(-1).double_value(&[k])).abs() < 1e-7,
                    "pattern {pattern}, element {k}"
                );
            }
        }
    }

    /// HobbitLong/SupContrast `SupConLoss` with temperature = base_temperature. `repaired` is the variant that replaces
    /// the number of positives 0 by 1.
    fn sup_contrast(z: &Tensor, labels: &[i64], temperature: f64, repaired: bool) -> f64 {
        let n = labels.len() as i64;
        let label = Tensor::from_slice(labels);
        let logits_mask = 1.0 - Tensor::eye(n, (Kind::Double, Device::Cpu));
        let mask = label.unsqueeze(0).eq_tensor(&label.unsqueeze(1)).to_kind(Kind::Double) * &logits_mask;
        let logits = z.mm(&z.tr()) / temperature;
        let logits = &logits - logits.amax(1, true);
        let exp_sum = (logits.exp() * logits_mask).sum_dim_intlist(1, true, Kind::Double);
        let log_prob = logits - (exp_sum + 1e-9).log();
        let count = mask.sum_dim_intlist(1, false, Kind::Double);
        let count = if repaired { count.clamp_min(1.0) } else { count };
        let mean = (mask * log_prob).sum_dim_intlist(1, false, Kind::Double) / count;
        -mean.mean(Kind::Double).double_value(&[])
    }

    #[test]
    fn departs_from_supcontrast_only_as_documented() {
        let (n, tile) = (12, 5);
        let z = unit_rows(n, 16, Kind::Double, 5);
        let ours = |labels: &[i64], temperature: f64| {
            let c = contrastive(&z, &Groups::new(labels, Device::Cpu), temperature, tile);
            (c.loss.double_value(&[]), c.num_anchors)
        };
        // Everybody has a positive: the same value.
        let pairs = labels(0, n);
        assert!((ours(&pairs, 0.5).0 - sup_contrast(&z, &pairs, 0.5, false)).abs() < 1e-7);
        // One class has one row: NaN, or a mean over rows that add nothing; ours is the mean over the 11 others.
        let single = labels(4, n);
        let (loss, num_anchors) = ours(&single, 0.5);
        assert_eq!(num_anchors, 11);
        assert!(sup_contrast(&z, &single, 0.5, false).is_nan());
        let repaired = sup_contrast(&z, &single, 0.5, true);
        assert!((repaired - loss * 11.0 / 12.0).abs() < 1e-7);
        assert!((repaired - loss).abs() > 0.1, "{repaired} and {loss} should differ");
        // Small temperature: 1e-9 is not small beside a sum in which every term is far below the diagonal's 1.
        let exact = naive(&z, &pairs, 0.03).0;
        assert!((ours(&pairs, 0.03).0 - exact).abs() < 1e-11);
        assert!((sup_contrast(&z, &pairs, 0.03, false) - exact).abs() > 1e-2);
    }

    /// A rectangle of similarities 1 and 0 has a loss that can be written down: two pairs of identical unit vectors,
    /// pairs orthogonal to each other, give log(e^(1/tau) + 2) - 1/tau.
    #[test]
    fn nt_xent_of_two_orthogonal_pairs() {
        let z = Tensor::from_slice2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]);
        for temperature in [0.01, 0.1, 1.0_f64] {
            let loss = contrastive(&z, &Groups::new(&[0, 1, 0, 1], Device::Cpu), temperature, 3).loss;
            let expected = (2.0 * (-1.0 / temperature).exp()).ln_1p();
            assert!((loss.double_value(&[]) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn single_precision_stays_close_and_finite_at_small_temperatures() {
        for (temperature, tolerance) in [(0.5, 1e-6), (0.07, 1e-5), (0.01, 1e-4), (0.002, 1e-3)] {
            for pattern in 0..6 {
                let z = unit_rows(64, 8, Kind::Float, 11);
                let labels = labels(pattern, 64);
                let (loss, dz) = naive(&z.to_kind(Kind::Double), &labels, temperature);
                let ours = contrastive(&z, &Groups::new(&labels, Device::Cpu), temperature, 24);
                assert_eq!(ours.gradient.kind(), Kind::Float);
                assert!((ours.loss.double_value(&[]) - loss).abs() <= tolerance * (1.0 + loss));
                let difference = largest(&(ours.gradient.to_kind(Kind::Double) - &dz));
                assert!(difference <= tolerance / temperature, "tau {temperature}: {difference}");
            }
        }
    }

    #[test]
    fn without_any_positive_loss_and_gradient_are_zero() {
        for n in [0, 1, 5] {
            let z = unit_rows(n, 3, Kind::Float, 2);
            let c = contrastive(&z, &Groups::new(&labels(3, n), Device::Cpu), 0.1, 2);
            assert_eq!((c.loss.double_value(&[]), c.num_anchors), (0.0, 0));
            assert_eq!(c.gradient.size(), z.size());
            assert_eq!(c.gradient.abs().sum(Kind::Double).double_value(&[]), 0.0);
        }
    }

    #[test]
    fn embeddings_with_a_graph_and_in_half_precision_are_accepted() {
        let z = unit_rows(6, 4, Kind::Double, 8).to_kind(Kind::BFloat16).set_requires_grad(true);
        let c = contrastive(&z, &Groups::new(&labels(0, 6), Device::Cpu), 0.1, 4);
        assert_eq!(c.gradient.kind(), Kind::BFloat16);
        assert!(!c.gradient.requires_grad());
    }

    #[test]
    fn a_row_that_is_not_a_number_is_seen_in_the_loss() {
        let z = unit_rows(6, 4, Kind::Float, 8);
        let _ = z.narrow(0, 2, 1).fill_(f64::NAN);
        let c = contrastive(&z, &Groups::new(&labels(0, 6), Device::Cpu), 0.1, 4);
        assert!(c.loss.double_value(&[]).is_nan());
    }
}
