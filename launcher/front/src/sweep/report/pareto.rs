//! What nothing else beats in both of two metrics.

use dtrain_configs::schema::MonitorMode;

/// Indices of the points that no other point equals or beats in both metrics and beats in one, in the order of the first
/// metric. Points with a value that is no number are left out.
pub(crate) fn pareto(points: &[(f64, f64)], modes: (MonitorMode, MonitorMode)) -> Vec<usize> {
    let is_number = |(a, b): (f64, f64)| !a.is_nan() && !b.is_nan();
    let beats = |one: (f64, f64), other: (f64, f64)| {
        let worse = modes.0.is_better(other.0, one.0) || modes.1.is_better(other.1, one.1);
        !worse && (modes.0.is_better(one.0, other.0) || modes.1.is_better(one.1, other.1))
    };
    let mut front: Vec<usize> = (0..points.len())
        .filter(|index| {
            let point = points.get(*index).copied().unwrap_or((f64::NAN, f64::NAN));
            is_number(point) && !points.iter().any(|other| is_number(*other) && beats(*other, point))
        })
        .collect();
    front.sort_by(|a, b| {
        let first = |index: &usize| points.get(*index).map(|point| point.0);
        super::super::table::order(modes.0, first(a), first(b))
    });
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_beaten_in_both_is_left_out() {
        let points = [(0.9, 100.0), (0.8, 50.0), (0.7, 60.0), (f64::NAN, 1.0), (0.5, 10.0), (0.5, 10.0)];
        assert_eq!(pareto(&points, (MonitorMode::Max, MonitorMode::Min)), [0, 1, 4, 5]);
    }
}
