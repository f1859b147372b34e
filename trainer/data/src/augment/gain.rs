//! Gain: how loud and how near.

use super::Augmentation;
use crate::rng::{Purpose, Stream, ViewKey};

/// See [`gain`].
#[derive(Debug, Clone)]
pub struct Gain {
    /// Lowest and highest, in dB.
    pub range_db: [f64; 2],
}

impl Augmentation<[f32]> for Gain {
    fn apply(&self, key: &ViewKey, clip: &mut [f32], _: &mut i64) {
        gain(&mut key.stream(Purpose::Gain), self.range_db, clip);
    }
}

/// Multiplies by a gain that is uniform in dB.
pub fn gain(stream: &mut Stream, range_db: [f64; 2], clip: &mut [f32]) {
    let factor = 10f64.powf(stream.uniform_in(range_db) / 20.0) as f32;
    for x in clip {
        *x *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, stream};

    #[test]
    fn gains_are_uniform_in_decibels() {
        let n = 20_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for sample in 0..n {
            let mut clip = [0.5];
            gain(&mut stream(0, 0, sample, 0, Purpose::Gain), [-6.0, 12.0], &mut clip);
            let db = 20.0 * f64::from(clip[0] / 0.5).log10();
            assert!((-6.001..12.001).contains(&db));
            sum += db;
            squares += db * db;
        }
        let (mean, square) = (sum / f64::from(n), squares / f64::from(n));
        assert!((mean - 3.0).abs() < 0.2);
        assert!((square - mean * mean - 27.0).abs() < 1.0);
    }
}
