//! Mean 0 and standard deviation 1 of one view.

use crate::simd::dispatch_simd;

/// Added to the standard deviation, so that a constant view becomes zeros.
pub const STD_EPSILON: f32 = 1e-5;

/// Partial sums that are kept side by side; fixes the order of summation, hence the bits.
const LANES: usize = 16;

dispatch_simd! {
    /// Mean of `values`; 0 for none.
    pub fn mean(values: &[f32]) -> f32 {
        shifted_mean(values)
    }
}

dispatch_simd! {
    /// `(x - mean) / (std + STD_EPSILON)` with the population's standard deviation.
    pub fn normalize(values: &mut [f32]) {
        let count = values.len().max(1) as f64;
        let mean = shifted_mean(values);
        let variance = lane_sum(values, |x| (x - mean) * (x - mean)) / count;
        let scale = 1.0 / (variance.sqrt() as f32 + STD_EPSILON);
        for x in values {
            *x = (*x - mean) * scale;
        }
    }
}

/// The mean, summed over differences from the first value: exact where all are equal, so that what is left of a
/// constant view is zeros rather than rounding errors divided by [`STD_EPSILON`].
#[inline(always)]
fn shifted_mean(values: &[f32]) -> f32 {
    let first = values.first().copied().unwrap_or(0.0);
    first + (lane_sum(values, |x| x - first) / values.len().max(1) as f64) as f32
}

/// Sum of `f` over `values`: floats within short stretches, doubles over the stretches.
#[inline(always)]
fn lane_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let mut total = 0.0;
    for stretch in values.chunks(64 * LANES) {
        let mut lanes = [0.0f32; LANES];
        let mut chunks = stretch.chunks_exact(LANES);
        for chunk in &mut chunks {
            for (lane, &x) in lanes.iter_mut().zip(chunk) {
                *lane += f(x);
            }
        }
        for (lane, &x) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane += f(x);
        }
        total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_values_have_mean_0_and_standard_deviation_1() {
        for len in [2usize, 15, 16, 17, 6464, 70_001] {
            let mut values: Vec<f32> =
                (0..len).map(|i| -13.8 + 3.0 * ((i * i) as f32 * 0.37).sin()).collect();
            normalize(&mut values);
            let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / len as f64;
            let power = values.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / len as f64;
            assert!(mean.abs() < 1e-5, "{len}: mean {mean}");
            assert!((power.sqrt() - 1.0).abs() < 1e-4, "{len}: standard deviation {}", power.sqrt());
        }
    }

    #[test]
    fn a_constant_view_becomes_zeros() {
        for value in [0.0f32, -13.815_51, 1e-30] {
            let mut values = vec![value; 1000];
            normalize(&mut values);
            assert!(values.iter().all(|&x| x == 0.0), "{value}: {:?}", &values[..3]);
        }
        normalize(&mut []);
        assert_eq!(mean(&[]), 0.0);
    }
}
