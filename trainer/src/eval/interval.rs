//! How far an accuracy on a finite part may be from that on all there is: the score interval of Wilson 1927, "Probable
//! inference, the law of succession, and statistical inference", which unlike the normal approximation stays within 0 and 1
//! and does not shrink to a point at 0 % and 100 %. It takes the samples as drawn independently: clips of few recordings say
//! less than their number, and the interval is then too narrow.

use serde::Serialize;

/// 0.975 quantile of the standard normal distribution: 2.5 % on each side.
pub(super) const Z: f64 = 1.959_963_984_540_054;

/// A two-sided interval at 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of a share of right answers among `total`; `None` where nothing was asked.
    pub fn of_accuracy(accuracy: f64, total: u64) -> Option<Self> {
        if total == 0 || !accuracy.is_finite() {
            return None;
        }
        let n = total as f64;
        let z2 = Z * Z;
        let centre = (accuracy + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let spread = accuracy * (1.0 - accuracy) / n + z2 / (4.0 * n * n);
        let half = Z / (1.0 + z2 / n) * spread.max(0.0).sqrt();
        Some(Self { low: (centre - half).max(0.0), high: (centre + half).min(1.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
    #[test]
    fn ends_are_the_published_ones() {
        for (right, total, low, high) in [
            (81u32, 263u64, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = Interval::of_accuracy(f64::from(right) / total as f64, total).unwrap();
            let off = (interval.low - low).abs().max((interval.high - high).abs());
            assert!(off < 5.1e-5, "{right} of {total}: {interval:?}");
        }
        assert_eq!(Interval::of_accuracy(f64::NAN, 0), None);
        let all_right = Interval::of_accuracy(1.0, 10).unwrap();
        assert!(all_right.low < 0.73 && all_right.high > 0.999_999 && all_right.high <= 1.0);
    }

    /// Each end is the share from which the observed one is 1.96 standard errors away: the definition.
    #[test]
    fn the_ends_solve_the_score_equation() {
        for (accuracy, total) in [(0.3, 50), (0.999, 7), (0.5, 100_000)] {
            let Interval { low, high } = Interval::of_accuracy(accuracy, total).unwrap();
            for end in [low, high] {
                let standard_error = (end * (1.0 - end) / total as f64).sqrt();
                assert!(((accuracy - end).abs() / standard_error - Z).abs() < 1e-6, "{accuracy} of {total}");
            }
        }
    }
}
