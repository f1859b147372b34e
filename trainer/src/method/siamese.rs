//! What the tests of methods that predict one view from the other share.

use tch::{Device, Kind, Tensor};

use super::{LocalBatch, Objective, Targets, Term, ViewGroup};

/// The only term of an objective.
pub(super) fn direct_loss(objective: &Objective) -> Tensor {
    match objective.terms.as_slice() {
        [Term::Direct(term)] => term.loss.shallow_clone(),
        other => panic!("{other:?}"),
    }
}

/// Mean over all pairs of a view and another, large one of `of_pair(view, large)`, summed over samples: `views` views of which
/// the first two are large.
pub(super) fn mean_over_pairs(views: usize, mut of_pair: impl FnMut(usize, usize) -> f64) -> f64 {
    let mut values = Vec::new();
    for view in 0..views {
        for large in [0, 1] {
            if view != large {
                values.push(of_pair(view, large));
            }
        }
    }
    values.iter().sum::<f64>() / values.len() as f64
}

/// The same five samples with three small views besides.
pub(super) fn case_of_two_shapes() -> LocalBatch {
    let small =
        (Tensor::arange(15 * 17 * 18, (Kind::Double, Device::Cpu)) * 0.377).cos().view([15, 1, 17, 18]);
    case().with(ViewGroup::new(3, small))
}

/// What `network` makes of each view, in plain numbers: by view, by sample.
pub(super) fn by_view(part: &LocalBatch, network: impl Fn(&Tensor) -> Tensor) -> Vec<Vec<Vec<f64>>> {
    let n = part.num_samples() as i64;
    let rows = Tensor::cat(&part.groups().iter().map(|group| network(&group.rows)).collect::<Vec<_>>(), 0);
    let row = |row: i64| Vec::<f64>::try_from(rows.get(row).contiguous().to_kind(Kind::Double)).unwrap();
    (0..rows.size()[0] / n).map(|view| (0..n).map(|sample| row(view * n + sample)).collect()).collect()
}

/// Cosine of the angle between two rows.
pub(super) fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
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
