//! The few signal-processing parts that the generators share.

use std::f64::consts::{PI, TAU};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Random numbers of a generator, a pure function of the words they are keyed by.
#[derive(Debug)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    /// ChaCha8 keyed by (seed, purpose, item, part).
    pub fn new(seed: u64, purpose: u64, item: u64, part: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose, item, part]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `[range[0], range[1])`.
    pub fn within(&mut self, range: [f64; 2]) -> f64 {
        range[0] + (range[1] - range[0]) * self.unit()
    }

    /// Uniform on a logarithmic scale.
    pub fn within_log(&mut self, range: [f64; 2]) -> f64 {
        self.within(range.map(f64::ln)).exp()
    }

    /// Uniform in `0..bound`, 0 for a bound of 0.
    pub fn index(&mut self, bound: usize) -> usize {
        ((self.unit() * bound as f64) as usize).min(bound.saturating_sub(1))
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Mean 0, standard deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// A factor around 1 whose logarithm has this standard deviation, within three of them.
    pub fn factor(&mut self, log_std: f64) -> f64 {
        (log_std * self.normal().clamp(-3.0, 3.0)).exp()
    }
}

/// A factor of amplitude.
pub(super) fn from_db(db: f64) -> f64 {
    10f64.powf(db / 20.0)
}

/// Root of the mean square; 0 for nothing.
pub(super) fn rms(samples: &[f64]) -> f64 {
    (samples.iter().map(|x| x * x).sum::<f64>() / samples.len().max(1) as f64).sqrt()
}

/// Adds `gain * addend` from `start` on; what reaches beyond the end is cut off.
pub(super) fn mix(target: &mut [f64], start: usize, addend: &[f64], gain: f64) {
    for (sum, x) in target.iter_mut().skip(start).zip(addend) {
        *sum += gain * x;
    }
}

/// A second-order filter, transposed direct form II.
#[derive(Debug, Clone, Copy)]
pub(super) struct Biquad {
    b: [f64; 3],
    a: [f64; 2],
    state: [f64; 2],
}

impl Biquad {
    fn new(b: [f64; 3], a: [f64; 3]) -> Self {
        Self { b: b.map(|x| x / a[0]), a: [a[1] / a[0], a[2] / a[0]], state: [0.0; 2] }
    }

    /// Gain of `gain_db` at `hz`, none far from it (Audio EQ Cookbook, Bristow-Johnson).
    pub fn peak(hz: f64, q: f64, gain_db: f64, sample_rate: f64) -> Self {
        let amplitude = from_db(gain_db / 2.0);
        let (sin, cos) = (TAU * hz / sample_rate).sin_cos();
        let alpha = sin / (2.0 * q);
        Self::new(
            [1.0 + alpha * amplitude, -2.0 * cos, 1.0 - alpha * amplitude],
            [1.0 + alpha / amplitude, -2.0 * cos, 1.0 - alpha / amplitude],
        )
    }

    /// Gain of `gain_db` above `hz` with a slope of 1 (Audio EQ Cookbook).
    pub fn high_shelf(hz: f64, gain_db: f64, sample_rate: f64) -> Self {
        let amplitude = from_db(gain_db / 2.0);
        let (sin, cos) = (TAU * hz / sample_rate).sin_cos();
        let root = 2.0 * amplitude.sqrt() * sin / std::f64::consts::SQRT_2;
        let (up, down) = (amplitude + 1.0, amplitude - 1.0);
        Self::new(
            [
                amplitude * (up + down * cos + root),
                -2.0 * amplitude * (down + up * cos),
                amplitude * (up + down * cos - root),
            ],
            [up - down * cos + root, 2.0 * (down - up * cos), up - down * cos - root],
        )
    }

    /// A resonance at `hz` with gain 1 there (Audio EQ Cookbook, band pass, its width exact also at high frequencies).
    /// `hz` is kept below half the rate.
    pub fn resonance(hz: f64, bandwidth_hz: f64, sample_rate: f64) -> Self {
        let cos = (TAU * hz.min(0.49 * sample_rate) / sample_rate).cos();
        let alpha = (PI * bandwidth_hz / sample_rate).tan();
        Self::new([alpha, 0.0, -alpha], [1.0 + alpha, -2.0 * cos, 1.0 - alpha])
    }

    /// Takes over the coefficients of `other` and keeps the state.
    pub fn retune(&mut self, other: Self) {
        (self.a, self.b) = (other.a, other.b);
    }

    /// Filters one sample.
    pub fn next(&mut self, x: f64) -> f64 {
        let [b0, b1, b2] = self.b;
        let [a1, a2] = self.a;
        let y = b0 * x + self.state[0];
        self.state = [b1 * x - a1 * y + self.state[1], b2 * x - a2 * y];
        y
    }

    /// Filters in place.
    pub fn run(&mut self, samples: &mut [f64]) {
        for x in samples {
            *x = self.next(*x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gain of a filter at `hz`, in dB, measured with a tone.
    fn gain_db(mut filter: Biquad, hz: f64) -> f64 {
        let tone: Vec<f64> = (0..16_000).map(|i| (TAU * hz * f64::from(i) / 16_000.0).sin()).collect();
        let mut filtered = tone.clone();
        filter.run(&mut filtered);
        20.0 * (rms(&filtered[8000..]) / rms(&tone[8000..])).log10()
    }

    #[test]
    fn filters_have_the_gain_that_they_are_named_for() {
        let peak = Biquad::peak(2000.0, 2.0, 9.0, 16_000.0);
        assert!((gain_db(peak, 2000.0) - 9.0).abs() < 0.01);
        assert!(gain_db(peak, 60.0).abs() < 0.1);
        let shelf = Biquad::high_shelf(1000.0, -12.0, 16_000.0);
        assert!((gain_db(shelf, 7500.0) + 12.0).abs() < 0.5);
        assert!(gain_db(shelf, 40.0).abs() < 0.5);
        let resonance = Biquad::resonance(3000.0, 100.0, 16_000.0);
        assert!(gain_db(resonance, 3000.0).abs() < 0.01);
        assert!((gain_db(resonance, 3050.0) + 3.0).abs() < 0.15);
        assert!(gain_db(Biquad::resonance(99_999.0, 100.0, 16_000.0), 3000.0).is_finite());
    }

    #[test]
    fn random_numbers_have_their_moments_and_ranges() {
        let mut random = Random::new(1, 2, 3, 4);
        let normal: Vec<f64> = (0..20_000).map(|_| random.normal()).collect();
        assert!((rms(&normal) - 1.0).abs() < 0.02);
        assert!((normal.iter().sum::<f64>() / 20_000.0).abs() < 0.03);
        assert!((0..1000).all(|_| (5.0..6.0).contains(&random.within([5.0, 6.0]))));
        assert!((0..1000).all(|_| random.index(3) < 3));
        assert_eq!(random.index(0), 0);
        assert_ne!(Random::new(1, 2, 3, 4).unit(), Random::new(1, 2, 3, 5).unit());
    }
}
