//! Effective rank of the embeddings, RankMe: with the singular values s_k of the matrix Z of embeddings, as they are and not centred,
//! and `p_k = s_k / sum(s) + 1e-7`, it is `exp(-sum(p_k ln p_k))`. Garrido et al., "RankMe: Assessing the Downstream Performance
//! of Pretrained Self-Supervised Representations by Their Rank" (2023), equation 1; by Roy & Vetterli 2007. At most 25,600
//! samples, as in the paper. Departure: of the evaluated part, since the training part has been learned by heart.
//!
//! Singular values are the roots of the eigenvalues of Z^T Z, which is a sum over samples and so over ranks: no rank holds
//! the rows of others. In double precision a singular value of zero becomes one of 1e-8 of the largest at most, far below what the
//! entropy resolves.

use dtrain_comm::{Collective, CollectiveExt};
use tch::Tensor;

use super::rows::spread_rows;
use super::{Embeddings, room};
use crate::error::TrainError;

/// Samples of the paper.
const MAX_ROWS: usize = 25_600;
/// Of the paper, so that no logarithm is infinite.
const EPSILON: f64 = 1e-7;

/// RankMe; NaN without rows, of rows that are all zero and of rows that are not finite.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(super) fn effective_rank(collective: &dyn Collective, part: &Embeddings) -> Result<f64, TrainError> {
    of_at_most(collective, part, MAX_ROWS)
}

/// The same of at most `most` rows of all ranks.
fn of_at_most(collective: &dyn Collective, part: &Embeddings, most: usize) -> Result<f64, TrainError> {
    let rows = spread_rows(collective, part, most)?;
    let width = rows.embeddings.size().get(1).copied().unwrap_or(0);
    let gram = rows.embeddings.tr().f_matmul(&rows.embeddings).map_err(room)?;
    let mut sums = Vec::<f64>::try_from(gram.flatten(0, 1))?;
    sums.push(rows.ids.len() as f64);
    collective.sum_f64(&mut sums)?;
    let count = sums.pop().unwrap_or(0.0) as usize;
    // The solver refuses what is not finite.
    if count == 0 || sums.iter().any(|value| !value.is_finite()) {
        return Ok(f64::NAN);
    }
    let gram = Tensor::from_slice(&sums).f_view([width, width])?;
    let ascending = Vec::<f64>::try_from(gram.f_linalg_eigvalsh("L").map_err(room)?)?;
    let singular: Vec<f64> =
        ascending.iter().rev().take(count).map(|eigenvalue| eigenvalue.max(0.0).sqrt()).collect();
    Ok(rank_of(&singular))
}

/// The exponential of the entropy of the singular values.
fn rank_of(singular: &[f64]) -> f64 {
    let sum: f64 = singular.iter().sum();
    if sum == 0.0 {
        return f64::NAN;
    }
    let shares = singular.iter().map(|value| value / sum + EPSILON);
    (-shares.map(|share| share * share.ln()).sum::<f64>()).exp()
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::super::rows::testing::{embeddings, on_ranks, plain};
    use super::*;

    /// Singular values by one-sided Jacobi rotations of the columns (Hestenes 1958).
    fn singular_values(mut columns: Vec<Vec<f64>>) -> Vec<f64> {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        for _ in 0..40 {
            for i in 0..columns.len() {
                for j in i + 1..columns.len() {
                    let (a, b) = (dot(&columns[i], &columns[i]), dot(&columns[j], &columns[j]));
                    let c = dot(&columns[i], &columns[j]);
                    if c.abs() < 1e-15 {
                        continue;
                    }
                    let zeta = (b - a) / (2.0 * c);
                    let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                    let cosine = 1.0 / (1.0 + t * t).sqrt();
                    let sine = cosine * t;
                    for row in 0..columns[i].len() {
                        let (x, y) = (columns[i][row], columns[j][row]);
                        columns[i][row] = cosine * x - sine * y;
                        columns[j][row] = sine * x + cosine * y;
                    }
                }
            }
        }
        let mut values: Vec<f64> = columns.iter().map(|column| dot(column, column).sqrt()).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values
    }

    fn by_definition(all: &Embeddings) -> f64 {
        let rows = plain(all);
        let columns: Vec<Vec<f64>> =
            (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).collect()).collect();
        let mut singular = singular_values(columns);
        singular.truncate(rows.len());
        let sum: f64 = singular.iter().sum();
        let entropy: f64 = singular
            .iter()
            .map(|value| {
                let share = value / sum + 1e-7;
                -share * share.ln()
            })
            .sum();
        entropy.exp()
    }

    #[test]
    fn equals_the_definition_on_any_number_of_ranks() {
        // More rows than columns, and fewer.
        for (n, shares) in
            [(40, vec![vec![40], vec![15, 25], vec![39, 0, 1]]), (4, vec![vec![4], vec![1, 3]])]
        {
            let all = embeddings(n, 6, 2);
            let expected = by_definition(&all);
            for shares in shares {
                for found in on_ranks(&all, &shares, |ranks, part| of_at_most(ranks, part, 100).unwrap()) {
                    assert!((found - expected).abs() < 1e-6, "{n} {shares:?}: {found} and {expected}");
                }
            }
        }
    }

    #[test]
    fn it_counts_the_dimensions_that_are_used() {
        let of = |rows: Tensor| {
            let ids = (0..rows.size()[0] as u32).collect::<Vec<u32>>();
            let share = ids.len();
            let part = Embeddings { embeddings: rows, ids, left_out: Vec::new() };
            on_ranks(&part, &[share], |ranks, part| effective_rank(ranks, part).unwrap())[0]
        };
        let options = (Kind::Float, tch::Device::Cpu);
        let point = of(Tensor::ones([50, 16], options));
        assert!((point - 1.0).abs() < 1e-3, "{point}");
        let axes = of(Tensor::eye(16, options));
        assert!((axes - 16.0).abs() < 1e-3, "{axes}");
        let plane = of(Tensor::eye(16, options).narrow(0, 0, 2).repeat([20, 1]));
        assert!((plane - 2.0).abs() < 1e-3, "{plane}");
        for odd in [
            Tensor::zeros([0, 4], options),
            Tensor::zeros([3, 4], options),
            Tensor::full([3, 4], f64::NAN, options),
        ] {
            assert!(of(odd).is_nan());
        }
    }

    #[test]
    fn no_more_rows_than_asked_for_take_part() {
        let all = embeddings(60, 5, 4);
        let chosen: Vec<i64> = (0..12).map(|index| index * 5).collect();
        let few = Embeddings {
            embeddings: all.embeddings.index_select(0, &Tensor::from_slice(&chosen)),
            ids: chosen.iter().map(|&id| id as u32).collect(),
            left_out: Vec::new(),
        };
        let found = on_ranks(&all, &[31, 29], |ranks, part| of_at_most(ranks, part, 12).unwrap());
        assert!((found[0] - by_definition(&few)).abs() < 1e-6);
    }
}
