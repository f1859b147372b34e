//! Weighted k-nearest-neighbour classification on normalized embeddings. Wu et al., "Unsupervised Feature Learning via
//! Non-Parametric Instance Discrimination" (2018), section 3.4; facebookresearch/dino `eval_knn.py`. Departure: a query
//! may stand in the bank itself (leave-one-out); it is then no neighbour of its own.

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_configs::schema::KnnVariant;
use dtrain_data::progress::Work;
use tch::{Kind, Tensor};

use super::answers::Answers;
use super::{Labelled, room};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;

/// Queries compared with the bank at once.
const TILE: i64 = 256;

/// Classifies the queries of all ranks against the bank of all ranks, once for each of `variants`; every query counts once.
///
/// # Shapes
/// As [`predict`].
///
/// # Errors
/// As [`predict`].
pub(crate) fn classify(
    collective: &dyn Collective,
    bank: &Labelled,
    queries: &Labelled,
    num_classes: usize,
    variants: &[KnnVariant],
) -> Result<Vec<Answers>, TrainError> {
    let predicted = predict(collective, bank, queries, num_classes, variants)?;
    let answers = |predicted: Vec<i64>| {
        let mut answers = Answers::none(num_classes);
        answers.add(&predicted, &queries.classes);
        answers
    };
    let mut answers: Vec<Answers> = predicted.into_iter().map(answers).collect();
    Answers::over_ranks(collective, &mut answers)?;
    Ok(answers)
}

/// The class of each of this rank's queries, as the bank of all ranks has it, for each of `variants`; -1 where nobody answers.
///
/// # Shapes
/// `bank.embeddings` and `queries.embeddings` are `[n, D]` with this rank's rows. Rows without a label are left out.
///
/// # Errors
/// When memory runs out or the ranks cannot talk.
pub(super) fn predict(
    collective: &dyn Collective,
    bank: &Labelled,
    queries: &Labelled,
    num_classes: usize,
    variants: &[KnnVariant],
) -> Result<Vec<Vec<i64>>, TrainError> {
    let per_rank = collective.all_gather_usize(bank.classes.len())?;
    let all = gather_rows(collective, &unit_rows(&bank.embeddings)?, &per_rank)?;
    let classes = gather_i64(collective, &bank.classes, &per_rank)?;
    let ids = gather_i64(collective, &bank.ids, &per_rank)?;
    vote(&Bank { embeddings: &all, classes: &classes, ids: &ids }, queries, num_classes, variants)
}

struct Bank<'a> {
    embeddings: &'a Tensor,
    classes: &'a [i64],
    ids: &'a [i64],
}

fn vote(
    bank: &Bank<'_>,
    queries: &Labelled,
    num_classes: usize,
    variants: &[KnnVariant],
) -> Result<Vec<Vec<i64>>, TrainError> {
    let mut predicted = vec![Vec::with_capacity(queries.classes.len()); variants.len()];
    let size = bank.classes.len() as i64;
    let most = variants.iter().map(|variant| variant.k).max().unwrap_or(0);
    let nearest = (most as i64).min(size);
    if nearest == 0 || queries.classes.is_empty() {
        // Nobody answers, and that is not right.
        predicted.iter_mut().for_each(|of_all| of_all.resize(queries.classes.len(), -1));
        return Ok(predicted);
    }
    let units = unit_rows(&queries.embeddings)?;
    let position: std::collections::HashMap<i64, i64> = bank.ids.iter().copied().zip(0i64..).collect();
    let bank_classes = Tensor::from_slice(bank.classes);
    let transposed = bank.embeddings.transpose(0, 1);
    let work = Work::begin("finding nearest neighbours", "samples", queries.classes.len() as u64);
    let mut begin = 0;
    for ids in queries.ids.chunks(TILE as usize) {
        let len = ids.len() as i64;
        let mut similarity = units.narrow(0, begin, len).f_matmul(&transposed).map_err(room)?;
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
        let (similarity, index) = similarity.topk(nearest, 1, true, true);
        let neighbours = bank_classes.index_select(0, &index.flatten(0, 1)).view([len, nearest]);
        for (variant, predicted) in variants.iter().zip(&mut predicted) {
            // They come in falling order.
            let k = (variant.k as i64).min(nearest);
            let (similarity, neighbours) = (similarity.narrow(1, 0, k), neighbours.narrow(1, 0, k));
            let weights = ((similarity - 1.0) / variant.temperature).exp().to_kind(Kind::Double);
            let zeros = Tensor::zeros([len, num_classes as i64], (Kind::Double, weights.device()));
            let votes = zeros.scatter_add(1, &neighbours, &weights);
            predicted.extend(Vec::<i64>::try_from(votes.argmax(1, false))?);
        }
        work.add(len as u64);
    }
    Ok(predicted)
}

fn unit_rows(z: &Tensor) -> Result<Tensor, TrainError> {
    z.f_div(&z.norm_scalaropt_dim(2, [1], true).clamp_min(1e-12)).map_err(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Hits;
    use dtrain_comm::Single;
    use dtrain_configs::schema::KnnConfig;

    /// The definition, one pair at a time.
    fn naive(bank: &Labelled, queries: &Labelled, num_classes: usize, config: KnnVariant) -> Hits {
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

    fn variants(k: &[usize], temperature: &[f64]) -> Vec<KnnVariant> {
        KnnConfig { k: k.to_vec().into(), temperature: temperature.to_vec().into() }.variants()
    }

    fn hits(bank: &Labelled, queries: &Labelled, variants: &[KnnVariant]) -> Vec<Hits> {
        classify(&Single::new(), bank, queries, 3, variants).unwrap().iter().map(Answers::hits).collect()
    }

    #[test]
    fn each_of_several_equals_the_definition() {
        let variants = variants(&[5, 1, 40], &[0.2, 0.01]);
        let (bank, queries) = (labelled(80, 0, 1), labelled(300, 1000, 2));
        let expected: Vec<Hits> =
            variants.iter().map(|variant| naive(&bank, &queries, 3, *variant)).collect();
        assert_eq!(hits(&bank, &queries, &variants), expected);
        for (variant, expected) in variants.iter().zip(expected) {
            assert_eq!(hits(&bank, &queries, &[*variant]), [expected], "alone");
        }
    }

    #[test]
    fn a_query_is_not_its_own_neighbour() {
        let variants = variants(&[5], &[0.2]);
        let bank = labelled(90, 0, 3);
        let hits = hits(&bank, &bank, &variants)[0];
        assert_eq!(hits, naive(&bank, &bank, 3, variants[0]));
        // With its own row as a neighbour at temperature 0.2, nearly every query would win.
        assert!(hits.accuracy() < 0.7, "{hits:?}");
    }

    #[test]
    fn more_neighbours_than_rows_is_no_error() {
        let (bank, queries) = (labelled(4, 0, 1), labelled(6, 10, 2));
        assert_eq!(hits(&bank, &queries, &variants(&[20], &[0.07]))[0].total, 6);
        let nobody = hits(&labelled(0, 0, 1), &queries, &variants(&[20], &[0.07]))[0];
        assert_eq!(nobody, Hits { correct: 0, total: 6 });
    }
}
