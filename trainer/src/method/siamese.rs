//! What the tests of methods that predict one view from the other share.

use tch::{Device, Kind, Tensor};

use super::{LocalBatch, Objective, Targets, Term};

/// The only term of an objective.
pub(super) fn direct_loss(objective: &Objective) -> Tensor {
    match objective.terms.as_slice() {
        [Term::Direct(term)] => term.loss.shallow_clone(),
        other => panic!("{other:?}"),
    }
}

/// Two views of five samples.
pub(super) fn case() -> LocalBatch {
    let inputs =
        (Tensor::arange(10 * 20 * 20, (Kind::Double, Device::Cpu)) * 0.731).sin().view([10, 1, 20, 20]);
    let targets = Targets::new((0..5).collect(), 5).unwrap().with_classes(vec![0; 5]).unwrap();
    LocalBatch::new(2, inputs, targets)
}

/// Squared distance of the unit vectors of each row of `a` and of the other view's row of `b`, summed over all rows, row by
/// row in plain arithmetic.
pub(super) fn squared_distances(a: &Tensor, b: &Tensor) -> f64 {
    let unit = |rows: &Tensor, row: i64| -> Vec<f64> {
        let row: Vec<f64> = Vec::try_from(rows.get(row).contiguous()).unwrap();
        let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        row.into_iter().map(|x| x / length).collect()
    };
    let rows = a.size()[0];
    let distance = |row: i64| -> f64 {
        let other = (row + rows / 2) % rows;
        unit(a, row).iter().zip(unit(b, other)).map(|(x, y)| (x - y).powi(2)).sum()
    };
    (0..rows).map(distance).sum()
}
