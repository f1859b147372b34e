//! t-SNE: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE", by the tree of van der Maaten 2014 (the `bhtsne` crate).
//! Distances are those of rows of length 1, so that its neighbours are those of the nearest-neighbour probe. It begins with the
//! principal components, which keeps what is far apart roughly in place (Kobak & Berens 2019, "The art of using t-SNE for
//! single-cell transcriptomics"); nothing is drawn at random, and one thread adds up, so that the same embeddings give the same
//! picture.

use bhtsne::{Neighbor, tSNE};
use rayon::ThreadPoolBuilder;
use tch::{Kind, Tensor};

use crate::error::TrainError;
use crate::eval::room;
use crate::eval::rows::unit_rows;

/// Effective number of neighbours of a sample; a sixth of the samples where they are few.
const PERPLEXITY: f64 = 30.0;
/// Neighbours that are looked at, for each of the perplexity.
const NEIGHBOURS_EACH: f64 = 3.0;
/// Fewer samples than that have no neighbourhoods.
const LEAST_SAMPLES: usize = 12;
/// Angle of the tree's cells that are taken for a point.
const THETA: f32 = 0.5;
/// Standard deviation of the first principal component to begin with.
const BEGINNING: f64 = 1e-4;

/// Places of the rows; `None` for very few, and for rows that hardly differ.
///
/// # Shapes
/// `rows`: `[n, D]` on the CPU.
///
/// # Errors
/// When memory runs out, or no thread can be started.
pub(super) fn neighbour_embedding(
    rows: &Tensor,
    principal: &[[f64; 2]],
) -> Result<Option<Vec<[f64; 2]>>, TrainError> {
    let count = principal.len();
    let deviation = (principal.iter().map(|[x, _]| x * x).sum::<f64>() / count.max(1) as f64).sqrt();
    if count < LEAST_SAMPLES || deviation == 0.0 {
        return Ok(None);
    }
    let perplexity = PERPLEXITY.min(count as f64 / 6.0);
    let nearest = ((NEIGHBOURS_EACH * perplexity) as usize).min(count - 1);
    let neighbours = nearest_neighbours(rows, nearest)?;
    let scale = BEGINNING / deviation;
    let beginning: Vec<f32> = principal.iter().flatten().map(|place| (place * scale) as f32).collect();
    let pool = ThreadPoolBuilder::new().num_threads(1).build();
    let pool = pool.map_err(|error| TrainError::environment(error, "allow the process another thread"))?;
    let places = pool.install(|| {
        // Neighbours are known: of the samples themselves only their number counts.
        let samples = vec![(); count];
        let mut tsne: tSNE<'_, f32, ()> = tSNE::new(&samples);
        tsne.perplexity(perplexity as f32).initial_embedding(beginning);
        tsne.barnes_hut_with_neighbors(THETA, &neighbours);
        tsne.embedding()
    });
    let (places, _) = places.as_chunks::<2>();
    let places: Vec<[f64; 2]> = places.iter().map(|place| place.map(f64::from)).collect();
    Ok(Some(places).filter(|places| places.iter().flatten().all(|place| place.is_finite())))
}

/// Of each row those of the smallest Euclidean distance, nearest first, without itself.
fn nearest_neighbours(rows: &Tensor, nearest: usize) -> Result<Vec<Vec<Neighbor<f32>>>, TrainError> {
    let units = unit_rows(&rows.f_to_kind(Kind::Double).map_err(room)?)?;
    let mut similarity = units.f_matmul(&units.transpose(0, 1)).map_err(room)?;
    let _ = similarity.f_fill_diagonal_(f64::NEG_INFINITY, false)?;
    let (similarity, index) = similarity.f_topk(nearest as i64, 1, true, true).map_err(room)?;
    let distances = Vec::<Vec<f64>>::try_from((similarity * -2.0 + 2.0).clamp_min(0.0).sqrt())?;
    let index = Vec::<Vec<i64>>::try_from(index)?;
    let of_row = |(distances, index): (Vec<f64>, Vec<i64>)| {
        let neighbour =
            |(distance, index): (f64, i64)| Neighbor { index: index as usize, distance: distance as f32 };
        distances.into_iter().zip(index).map(neighbour).collect()
    };
    Ok(distances.into_iter().zip(index).map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use super::super::pca::principal_components;
    use super::*;

    /// Three groups of rows in their own directions.
    fn groups(per_group: i64) -> Tensor {
        tch::manual_seed(4);
        let centres = Tensor::eye(3, (Kind::Double, tch::Device::Cpu)).repeat([per_group, 1]);
        centres + 0.1 * Tensor::randn([3 * per_group, 3], (Kind::Double, tch::Device::Cpu))
    }

    fn places(rows: &Tensor) -> Option<Vec<[f64; 2]>> {
        neighbour_embedding(rows, &principal_components(rows).unwrap().0).unwrap()
    }

    #[test]
    fn groups_stay_together_and_the_same_rows_give_the_same_places() {
        let rows = groups(30);
        let found = places(&rows).unwrap();
        assert_eq!(found.len(), 90);
        let distance = |a: [f64; 2], b: [f64; 2]| (a[0] - b[0]).hypot(a[1] - b[1]);
        for (i, &place) in found.iter().enumerate() {
            let nearest = (0..90)
                .filter(|&j| j != i)
                .min_by(|&a, &b| distance(found[a], place).total_cmp(&distance(found[b], place)));
            assert_eq!(nearest.unwrap() % 3, i % 3, "{i}");
        }
        assert_eq!(places(&rows).unwrap(), found);
    }

    #[test]
    fn few_rows_and_equal_ones_have_no_neighbourhoods() {
        assert_eq!(places(&groups(3)), None);
        let equal = Tensor::ones([20, 4], (Kind::Double, tch::Device::Cpu));
        assert_eq!(places(&equal), None);
    }

    #[test]
    fn neighbours_are_those_of_the_definition() {
        let rows = groups(5);
        let units = Vec::<Vec<f64>>::try_from(unit_rows(&rows).unwrap()).unwrap();
        for (i, neighbours) in nearest_neighbours(&rows, 4).unwrap().iter().enumerate() {
            let distance =
                |j: usize| units[i].iter().zip(&units[j]).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let mut expected: Vec<usize> = (0..15).filter(|&j| j != i).collect();
            expected.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            assert_eq!(neighbours.iter().map(|n| n.index).collect::<Vec<_>>(), expected[..4]);
            assert!(neighbours.iter().all(|n| (f64::from(n.distance) - distance(n.index)).abs() < 1e-6));
        }
    }
}
