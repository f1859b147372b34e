//! Means with intervals.

/// Quantile 0.975 of Student's distribution for 1 to 30 degrees of freedom.
const QUANTILES: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The mean of values.
pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation of a sample; `None` of fewer than two values.
pub(super) fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() as f64 - 1.0)).sqrt())
}

/// Half the width of the 95 % interval of a mean; `None` of fewer than two values.
pub(super) fn half_width(values: &[f64]) -> Option<f64> {
    let freedom = values.len().checked_sub(1)?;
    let far = || {
        // Cornish and Fisher's expansion around the normal quantile.
        let (z, n) = (1.959_964_f64, freedom as f64);
        z + (z.powi(3) + z) / (4.0 * n) + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * n * n)
    };
    let quantile = QUANTILES.get(freedom.checked_sub(1)?).copied().unwrap_or_else(far);
    Some(quantile * deviation(values)? / (values.len() as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_students() {
        assert_eq!(half_width(&[1.0]), None);
        // Differences 1, 2, 3: 2 +- 4.303 / sqrt(3).
        assert!((half_width(&[1.0, 2.0, 3.0]).unwrap() - 4.303 / 3.0_f64.sqrt()).abs() < 1e-9);
        let many: Vec<f64> = (0..61).map(f64::from).collect();
        // Quantile of 60 degrees of freedom: 2.0003.
        let expected = 2.0003 * deviation(&many).unwrap() / 61.0_f64.sqrt();
        assert!((half_width(&many).unwrap() / expected - 1.0).abs() < 1e-4);
    }
}
