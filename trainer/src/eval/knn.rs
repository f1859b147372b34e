//! Weighted k-nearest-neighbour classification on normalized embeddings. Wu et al., "Unsupervised Feature Learning via
//! Non-Parametric Instance Discrimination" (2018), section 3.4; facebookresearch/dino `eval_knn.py`. Departure: a query
//! may stand in the bank itself (leave-one-out); it is then no neighbour of its own.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::schema::KnnConfig;
use dtrain_data::progress::Work;
use tch::{Kind, Tensor};

use super::{Labelled, room};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;

/// Queries compared with the bank at once.
const TILE: i64 = 256;

/// Correct answers and questions over all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hits {
    /// Queries whose class won the vote.
    pub correct: u64,
    /// Queries with a label.
    pub total: u64,
}

impl Hits {
    /// Share of correct answers; NaN without questions.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }
}

/// Classifies this rank's share of the queries against the bank of all ranks; every query counts once.
///
/// # Shapes
/// `bank.embeddings` and `queries.embeddings` are `[n, D]` with this rank's rows. Rows without a label are left out.
pub fn classify(
    collective: &dyn Collective,
    bank: &Labelled,
    queries: &Labelled,
    num_classes: usize,
    config: &KnnConfig,
) -> Result<Hits, TrainError> {
    let per_rank = collective.all_gather_usize(bank.classes.len())?;
    let all = gather_rows(collective, &unit_rows(&bank.embeddings)?, &per_rank)?;
    let classes = gather_i64(collective, &bank.classes, &per_rank)?;
    let ids = gather_i64(collective, &bank.ids, &per_rank)?;
    let local = vote(
        &Bank { embeddings: &all, classes: &classes, ids: &ids },
        &unit_rows(&queries.embeddings)?,
        &queries.classes,
        &queries.ids,
        num_classes,
        config,
    )?;
    let mut sums = [local.correct as f64, local.total as f64];
    collective.sum_f64(&mut sums)?;
    Ok(Hits { correct: sums[0] as u64, total: sums[1] as u64 })
}

struct Bank<'a> {
    embeddings: &'a Tensor,
    classes: &'a [i64],
    ids: &'a [i64],
}

fn vote(
    bank: &Bank<'_>,
    queries: &Tensor,
    classes: &[i64],
    ids: &[i64],
    num_classes: usize,
    config: &KnnConfig,
) -> Result<Hits, TrainError> {
    let mut hits = Hits { correct: 0, total: classes.len() as u64 };
    let size = bank.classes.len();
    if size == 0 || classes.is_empty() {
        return Ok(hits);
    }
    let position: std::collections::HashMap<i64, i64> = bank.ids.iter().copied().zip(0i64..).collect();
    let bank_classes = Tensor::from_slice(bank.classes);
    let k = (config.k as i64).min(size as i64);
    let transposed = bank.embeddings.transpose(0, 1);
    let work = Work::begin("finding nearest neighbours", "samples", classes.len() as u64);
    let mut begin = 0;
    for (classes, ids) in classes.chunks(TILE as usize).zip(ids.chunks(TILE as usize)) {
        let len = classes.len() as i64;
        let mut similarity = queries.narrow(0, begin, len).f_matmul(&transposed).map_err(room)?;
        begin += len;
        let (rows, columns): (Vec<i64>, Vec<i64>) =
            (0i64..).zip(ids).filter_map(|(row, id)| position.get(id).map(|&column| (row, column))).unzip();
        if !rows.is_empty() {
            let at = [Some(Tensor::from_slice(&rows)), Some(Tensor::from_slice(&columns))];
            let never = Tensor::full(
                [rows.len() as i64],
                f64::NEG_INFINITY,
                (similarity.kind(), similarity.device()),
            );
            let _ = similarity.index_put_(&at, &never, false);
        }
        let (similarity, index) = similarity.topk(k, 1, true, true);
        let weights = ((similarity - 1.0) / config.temperature).exp().to_kind(Kind::Double);
        let neighbours = bank_classes.index_select(0, &index.flatten(0, 1)).view([len, k]);
        let votes = Tensor::zeros([len, num_classes as i64], (Kind::Double, weights.device())).scatter_add(
            1,
            &neighbours,
            &weights,
        );
        let winner = Vec::<i64>::try_from(votes.argmax(1, false))?;
        hits.correct += winner.iter().zip(classes).filter(|(a, b)| a == b).count() as u64;
        work.add(len as u64);
    }
    Ok(hits)
}

fn unit_rows(z: &Tensor) -> Result<Tensor, TrainError> {
    z.f_div(&z.norm_scalaropt_dim(2, [1], true).clamp_min(1e-12)).map_err(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dtrain_comm::Single;

    /// The definition, one pair at a time.
    fn naive(bank: &Labelled, queries: &Labelled, num_classes: usize, config: &KnnConfig) -> Hits {
        let rows = |l: &Labelled| -> Vec<Vec<f64>> {
            Vec::<Vec<f64>>::try_from(l.embeddings.to_kind(Kind::Double)).unwrap()
        };
        let cosine = |a: &[f64], b: &[f64]| {
            let dot: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
            let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
            dot / norm(a) / norm(b)
        };
        let (b, q) = (rows(bank), rows(queries));
        let mut hits = Hits { correct: 0, total: q.len() as u64 };
        for (i, query) in q.iter().enumerate() {
            let mut near: Vec<(f64, i64)> = (0..b.len())
                .filter(|&j| bank.ids[j] != queries.ids[i])
                .map(|j| (cosine(query, &b[j]), bank.classes[j]))
                .collect();
            near.sort_by(|x, y| y.0.total_cmp(&x.0));
            let mut votes = vec![0.0; num_classes];
            for (s, class) in near.iter().take(config.k) {
                votes[*class as usize] += (s / config.temperature).exp();
            }
            let winner = (0..num_classes).max_by(|&x, &y| votes[x].total_cmp(&votes[y])).unwrap();
            hits.correct += u64::from(winner as i64 == queries.classes[i]);
        }
        hits
    }

    fn labelled(n: i64, offset: i64, seed: i64) -> Labelled {
        tch::manual_seed(seed);
        Labelled {
            embeddings: Tensor::randn([n, 5], (Kind::Float, tch::Device::Cpu)),
            classes: (0..n).map(|i| (i * 7 + seed) % 3).collect(),
            ids: (offset..offset + n).collect(),
        }
    }

    #[test]
    fn equals_the_definition() {
        let config = KnnConfig { k: 5, temperature: 0.2 };
        let (bank, queries) = (labelled(80, 0, 1), labelled(300, 1000, 2));
        assert_eq!(
            classify(&Single::new(), &bank, &queries, 3, &config).unwrap(),
            naive(&bank, &queries, 3, &config)
        );
    }

    #[test]
    fn a_query_is_not_its_own_neighbour() {
        let config = KnnConfig { k: 5, temperature: 0.2 };
        let bank = labelled(90, 0, 3);
        let hits = classify(&Single::new(), &bank, &bank, 3, &config).unwrap();
        assert_eq!(hits, naive(&bank, &bank, 3, &config));
        // With its own row as a neighbour at temperature 0.2, nearly every query would win.
        assert!(hits.accuracy() < 0.7, "{hits:?}");
    }

    #[test]
    fn more_neighbours_than_rows_is_no_error() {
        let config = KnnConfig { k: 20, temperature: 0.07 };
        let (bank, queries) = (labelled(4, 0, 1), labelled(6, 10, 2));
        assert_eq!(classify(&Single::new(), &bank, &queries, 3, &config).unwrap().total, 6);
    }
}
