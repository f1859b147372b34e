//! Area under the ROC curve of scores that should be higher for anomalies, whole and for few false alarms.
//!
//! Two definitions are in use for the partial area. scikit-learn's `roc_auc_score(max_fpr=p)`, which the DCASE 2020 baseline
//! reports, standardizes it (McClish 1989) so that chance is 0.5 and the best 1. The task's page counts, among the floor(p n)
//! normal samples of the highest scores, the pairs in which the anomaly has the higher one: chance is p / 2 = 0.05 there.

/// False-positive rate up to which the partial area goes.
pub const MAX_FPR: f64 = 0.1;

/// What the scores of normal samples and of anomalies give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Areas {
    /// Share of pairs in which the anomaly has the higher score; those of equal scores count half.
    pub auc: f64,
    /// scikit-learn's `roc_auc_score(max_fpr=0.1)`.
    pub pauc: f64,
    /// The task's formula, with pairs of equal scores as wrong ones; `None` of fewer than 10 normal samples, of which a tenth is none.
    pub pauc_of_task: Option<f64>,
    /// Half the width of the 95 % interval of `auc` (Hanley & McNeil 1982, formula 1).
    pub margin: f64,
}

impl Areas {
    /// `None` without a sample of either kind, or with a score that is no number.
    pub fn of(normal: &[f64], anomalous: &[f64]) -> Option<Self> {
        if normal.is_empty() || anomalous.is_empty() || normal.iter().chain(anomalous).any(|s| s.is_nan()) {
            return None;
        }
        let auc = partial(normal, anomalous, 1.0);
        let area = partial(normal, anomalous, MAX_FPR);
        let (least, most) = (0.5 * MAX_FPR * MAX_FPR, MAX_FPR);
        let pauc = 0.5 * (1.0 + (area - least) / (most - least));
        let pauc_of_task = of_task(normal, anomalous);
        Some(Self { auc, pauc, pauc_of_task, margin: margin(auc, normal.len(), anomalous.len()) })
    }
}

/// Area under the curve from a false-positive rate of 0 to `max_fpr`, by trapezoids; between two points of the curve the end is
/// interpolated.
fn partial(normal: &[f64], anomalous: &[f64], max_fpr: f64) -> f64 {
    let of = |scores: &[f64], is_anomaly: bool| scores.iter().map(|&s| (s, is_anomaly)).collect::<Vec<_>>();
    let mut all = [of(normal, false), of(anomalous, true)].concat();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (num_normal, num_anomalous) = (normal.len() as f64, anomalous.len() as f64);
    let (mut area, mut fpr, mut tpr) = (0.0, 0.0, 0.0);
    for ties in all.chunk_by(|a, b| a.0 == b.0) {
        let hits = ties.iter().filter(|(_, is_anomaly)| *is_anomaly).count() as f64;
        let next_fpr = fpr + (ties.len() as f64 - hits) / num_normal;
        let next_tpr = tpr + hits / num_anomalous;
        if next_fpr > max_fpr {
            let share = (max_fpr - fpr) / (next_fpr - fpr);
            let end = tpr + share * (next_tpr - tpr);
            return area + (max_fpr - fpr) * (tpr + end) / 2.0;
        }
        area += (next_fpr - fpr) * (tpr + next_tpr) / 2.0;
        (fpr, tpr) = (next_fpr, next_tpr);
    }
    area + (max_fpr - fpr).max(0.0) * tpr
}

fn of_task(normal: &[f64], anomalous: &[f64]) -> Option<f64> {
    let mut highest = normal.to_vec();
    highest.sort_by(|a, b| b.total_cmp(a));
    highest.truncate((MAX_FPR * normal.len() as f64).floor() as usize);
    let pairs = highest.len() * anomalous.len();
    let right = highest
        .iter()
        .map(|score| anomalous.iter().filter(|anomaly| *anomaly > score).count())
        .sum::<usize>();
    (pairs > 0).then(|| right as f64 / pairs as f64)
}

fn margin(auc: f64, num_normal: usize, num_anomalous: usize) -> f64 {
    let (n, m) = (num_anomalous as f64, num_normal as f64);
    let (q1, q2) = (auc / (2.0 - auc), 2.0 * auc * auc / (1.0 + auc));
    let variance =
        (auc * (1.0 - auc) + (n - 1.0) * (q1 - auc * auc) + (m - 1.0) * (q2 - auc * auc)) / (n * m);
    1.96 * variance.max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(normal: &[f64], anomalous: &[f64]) -> f64 {
        let won = |a: f64, n: f64| {
            if a > n {
                1.0
            } else if a == n {
                0.5
            } else {
                0.0
            }
        };
        let sum: f64 = anomalous.iter().flat_map(|&a| normal.iter().map(move |&n| won(a, n))).sum();
        sum / (normal.len() * anomalous.len()) as f64
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
    }

    /// Against the definition by pairs, ties among the scores.
    #[test]
    fn the_area_is_the_share_of_pairs() {
        for shift in [0.0, 1.0, 3.0, -2.0] {
            let normal: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11)).collect();
            let anomalous: Vec<f64> = (0..25).map(|i| f64::from(i * 5 % 13) + shift).collect();
            close(Areas::of(&normal, &anomalous).unwrap().auc, pairs(&normal, &anomalous));
        }
    }

    /// `sklearn.metrics.roc_auc_score(y, s, max_fpr=0.1)` of version 1.5 by its own steps: the curve up to a rate of 0.1, the end
    /// interpolated, standardized.
    #[test]
    fn the_partial_area_is_that_of_scikit_learn() {
        // A perfect score, chance by one tie of all, and the worst.
        let normal: Vec<f64> = (0..20).map(f64::from).collect();
        let above: Vec<f64> = (0..5).map(|i| 100.0 + f64::from(i)).collect();
        let below: Vec<f64> = above.iter().map(|score| -score).collect();
        close(Areas::of(&normal, &above).unwrap().pauc, 1.0);
        close(Areas::of(&[1.0; 20], &[1.0; 5]).unwrap().pauc, 0.5);
        // Area 0: 0.5 (1 - 0.005 / 0.095).
        close(Areas::of(&normal, &below).unwrap().pauc, 0.5 * (1.0 - 0.005 / 0.095));
        // Ten normal samples, of which one lies above half of the anomalies: the curve rises to 0.5, goes to a rate of 0.1 there.
        let normal: Vec<f64> = (0..9).map(f64::from).chain([50.0]).collect();
        let found = Areas::of(&normal, &[40.0, 41.0, 60.0, 61.0]).unwrap();
        close(found.pauc, 0.5 * (1.0 + (0.05 - 0.005) / 0.095));
        // One normal sample is a tenth: half of the anomalies are above it.
        close(found.pauc_of_task.unwrap(), 0.5);
    }

    #[test]
    fn chance_by_the_tasks_formula_is_a_twentieth() {
        // All pairs of the highest tenth of 1000 normal scores, anomalies alike.
        let normal: Vec<f64> = (0..1000).map(f64::from).collect();
        let anomalous: Vec<f64> = normal.iter().map(|score| score + 0.5).collect();
        let found = Areas::of(&normal, &anomalous).unwrap().pauc_of_task.unwrap();
        assert!((found - 0.05).abs() < 0.001, "{found}");
    }

    #[test]
    fn without_either_kind_there_is_no_area_and_few_samples_have_a_wide_interval() {
        assert_eq!(Areas::of(&[], &[1.0]), None);
        assert_eq!(Areas::of(&[1.0], &[]), None);
        assert_eq!(Areas::of(&[1.0, f64::NAN], &[1.0]), None);
        let few = Areas::of(&[1.0, 2.0, 3.0], &[2.5, 3.5, 0.5]).unwrap();
        let many: Vec<f64> = (0..300).map(|i| f64::from(i % 3)).collect();
        let more: Vec<f64> = (0..300).map(|i| f64::from(i % 4)).collect();
        assert!(few.margin > 0.4 && Areas::of(&many, &more).unwrap().margin < 0.06);
    }
}
