//! Some rows of a part's embeddings, the same whatever the number of ranks that hold them.

use dtrain_comm::{Collective, CollectiveExt};
use tch::{Kind, Tensor};

use super::{Embeddings, room};
use crate::error::TrainError;

/// Rows of one rank.
pub(super) struct Rows {
    /// `[n, D]` in double precision on the CPU.
    pub(super) embeddings: Tensor,
    /// Sample of each row.
    pub(super) ids: Vec<u32>,
}

/// This rank's rows among at most `most` that are evenly spread over those of all ranks, in the order of ranks.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(super) fn spread_rows(
    collective: &dyn Collective,
    part: &Embeddings,
    most: usize,
) -> Result<Rows, TrainError> {
    let per_rank = collective.all_gather_usize(part.ids.len())?;
    let total: usize = per_rank.iter().sum();
    let first: usize = per_rank.iter().take(collective.world().rank).sum();
    let own = first..first + part.ids.len();
    if total <= most {
        let embeddings = part.embeddings.f_to_kind(Kind::Double).map_err(room)?;
        return Ok(Rows { embeddings, ids: part.ids.clone() });
    }
    let chosen = (0..most).map(|index| index * total / most);
    let places: Vec<i64> =
        chosen.filter(|place| own.contains(place)).map(|place| (place - first) as i64).collect();
    let ids = places.iter().filter_map(|&place| part.ids.get(place as usize).copied()).collect();
    let rows = part.embeddings.f_index_select(0, &Tensor::from_slice(&places)).map_err(room)?;
    Ok(Rows { embeddings: rows.f_to_kind(Kind::Double).map_err(room)?, ids })
}

/// Unit rows: z / max(|z|, eps), as `torch.nn.functional.normalize`.
///
/// # Errors
/// When memory runs out.
pub(super) fn unit_rows(z: &Tensor) -> Result<Tensor, TrainError> {
    z.f_div(&z.norm_scalaropt_dim(2, [1], true).clamp_min(1e-12)).map_err(room)
}

/// What tests of figures over rows share.
#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;

    use dtrain_comm::local_world;
    use tch::Device;

    use super::*;

    /// Embeddings `[n, dim]` of samples 0 to n - 1 that are nowhere near centred.
    pub(in super::super) fn embeddings(n: i64, dim: i64, seed: i64) -> Embeddings {
        tch::manual_seed(seed);
        let rows = Tensor::randn([n, dim], (Kind::Float, Device::Cpu)).abs() + 0.3;
        Embeddings { embeddings: rows, ids: (0..n as u32).collect(), left_out: Vec::new() }
    }

    /// The rows as plain numbers.
    pub(in super::super) fn plain(embeddings: &Embeddings) -> Vec<Vec<f64>> {
        Vec::<Vec<f64>>::try_from(embeddings.embeddings.to_kind(Kind::Double)).unwrap()
    }

    /// Unit rows as plain numbers.
    pub(in super::super) fn plain_unit(embeddings: &Embeddings) -> Vec<Vec<f64>> {
        let mut rows = plain(embeddings);
        for row in &mut rows {
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
        rows
    }

    /// What each of the ranks finds that hold `shares` of the rows.
    pub(in super::super) fn on_ranks<T: Send>(
        embeddings: &Embeddings,
        shares: &[usize],
        find: impl Fn(&dyn Collective, &Embeddings) -> T + Sync,
    ) -> Vec<T> {
        let mut first = 0;
        let mut parts = Vec::new();
        for &share in shares {
            let rows = embeddings.embeddings.narrow(0, first as i64, share as i64);
            let ids = embeddings.ids[first..first + share].to_vec();
            parts.push(Embeddings { embeddings: rows, ids, left_out: Vec::new() });
            first += share;
        }
        let find = &find;
        std::thread::scope(|scope| {
            let ranks: Vec<_> = local_world(shares.len())
                .into_iter()
                .zip(parts)
                .map(|(ranks, part): (Arc<dyn Collective>, _)| scope.spawn(move || find(&*ranks, &part)))
                .collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{embeddings, on_ranks};
    use super::*;

    #[test]
    fn the_same_rows_are_chosen_on_any_number_of_ranks() {
        let all = embeddings(23, 3, 1);
        for (most, expected) in [(23, (0..23).collect::<Vec<u32>>()), (5, vec![0, 4, 9, 13, 18])] {
            for shares in [vec![23], vec![11, 12], vec![3, 0, 20]] {
                let found = on_ranks(&all, &shares, |ranks, part| {
                    let rows = spread_rows(ranks, part, most).unwrap();
                    assert_eq!(rows.embeddings.size(), [rows.ids.len() as i64, 3]);
                    (rows.ids, Vec::<f64>::try_from(rows.embeddings.select(1, 0)).unwrap())
                });
                let (ids, values): (Vec<_>, Vec<_>) = found.into_iter().unzip();
                assert_eq!(ids.concat(), expected, "{shares:?}");
                let first = |&id: &u32| all.embeddings.double_value(&[i64::from(id), 0]);
                assert_eq!(values.concat(), expected.iter().map(first).collect::<Vec<f64>>());
            }
        }
    }
}
