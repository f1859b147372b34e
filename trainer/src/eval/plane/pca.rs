//! The two principal components of embeddings: the directions in which they vary most, from the singular value decomposition of
//! the centred rows.

use tch::{Kind, Tensor};

use crate::error::TrainError;
use crate::eval::room;

/// Places along the first two components, and the shares of the variance there. A component has two directions, of which the one is
/// taken in which its largest number is positive.
///
/// # Shapes
/// `rows`: `[n, D]`, with n of at least 1.
///
/// # Errors
/// When memory runs out.
pub(super) fn principal_components(rows: &Tensor) -> Result<(Vec<[f64; 2]>, [f64; 2]), TrainError> {
    let rows = rows.f_to_kind(Kind::Double).map_err(room)?;
    let mean = rows.f_mean_dim([0i64].as_slice(), true, Kind::Double).map_err(room)?;
    let centred = rows.f_sub(&mean).map_err(room)?;
    let (_, values, directions) = centred.f_svd(true, true).map_err(room)?;
    let variances: Vec<f64> = Vec::<f64>::try_from(values.square())?;
    let total: f64 = variances.iter().sum();
    let mut places = vec![[0.0; 2]; rows.size().first().map_or(0, |&n| n as usize)];
    let mut explained = [0.0; 2];
    for (axis, (share, variance)) in explained.iter_mut().zip(&variances).enumerate() {
        let direction = directions.f_select(1, axis as i64)?;
        let numbers = Vec::<f64>::try_from(&direction)?;
        let largest =
            numbers.iter().copied().fold(0.0, |most: f64, n| if n.abs() > most.abs() { n } else { most });
        let along =
            Vec::<f64>::try_from(centred.f_matmul(&direction)? * if largest < 0.0 { -1.0 } else { 1.0 })?;
        for (place, along) in places.iter_mut().zip(along) {
            if let Some(coordinate) = place.get_mut(axis) {
                *coordinate = along;
            }
        }
        *share = if total > 0.0 { variance / total } else { 0.0 };
    }
    Ok((places, explained))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows that vary by 3 along one direction, by 1 along another and nowhere else.
    fn rows(sign: f64) -> Tensor {
        let along: [f64; 5] = [0.6, 0.0, -0.8, 0.0, 0.0].map(|n| sign * n);
        let across: [f64; 5] = [0.0, 1.0, 0.0, 0.0, 0.0];
        let row = |i: usize| -> Vec<f64> {
            let (a, b) = ([3.0, -3.0, 0.0, 0.0][i % 4], [0.0, 0.0, 1.0, -1.0][i % 4]);
            (0..5).map(|d| 7.0 + a * along[d] + b * across[d]).collect()
        };
        Tensor::from_slice(&(0..8).flat_map(row).collect::<Vec<f64>>()).view([8, 5])
    }

    #[test]
    fn places_are_the_distances_along_the_directions_of_most_variance() {
        for sign in [1.0, -1.0] {
            let (places, [first, second]) = principal_components(&rows(sign)).unwrap();
            assert!((first - 0.9).abs() < 1e-12 && (second - 0.1).abs() < 1e-12, "{first} {second}");
            // The direction's largest number is -0.8, which is turned to be positive, whatever the sign of the rows.
            let expected = [[-3.0 * sign, 0.0], [3.0 * sign, 0.0], [0.0, 1.0], [0.0, -1.0]];
            for (place, expected) in places.iter().zip(expected.iter().cycle()) {
                let off = (place[0] - expected[0]).abs().max((place[1] - expected[1]).abs());
                assert!(off < 1e-9, "{place:?} {expected:?}");
            }
        }
    }

    #[test]
    fn one_row_equal_rows_and_one_channel_have_places_too() {
        for (n, width) in [(1, 4), (3, 4), (3, 1)] {
            let rows = Tensor::ones([n, width], (Kind::Float, tch::Device::Cpu));
            let (places, explained) = principal_components(&rows).unwrap();
            assert_eq!(places.len(), n as usize);
            assert!(places.iter().flatten().all(|place| place.abs() < 1e-12));
            assert_eq!(explained, [0.0, 0.0]);
        }
    }
}
