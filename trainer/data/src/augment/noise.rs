//! White Gaussian noise at a random signal-to-noise ratio.

use super::Augmentation;
use crate::rng::{Purpose, Stream, ViewKey};
use crate::simd::dispatch_simd;

/// See [`add_noise`].
#[derive(Debug, Clone)]
pub struct Noise {
    /// How often it is added.
    pub probability: f64,
    /// Lowest and highest ratio of signal to noise, in dB.
    pub snr_db: [f64; 2],
}

impl Augmentation<[f32]> for Noise {
    fn apply(&self, key: &ViewKey, clip: &mut [f32], _: &mut i64) {
        let mut level = key.stream(Purpose::NoiseLevel);
        if level.uniform() < self.probability {
            add_noise(&mut level, &mut key.stream(Purpose::Noise), self.snr_db, clip);
        }
    }
}

/// Adds noise whose power lies a uniform number of dB below the clip's own. A silent clip stays silent.
///
/// The clip's power is the mean over all of it, zeros of the padding included. `level` decides the ratio, `noise`
/// gives the samples.
pub fn add_noise(level: &mut Stream, noise: &mut Stream, snr_range_db: [f64; 2], clip: &mut [f32]) {
    let snr_db = level.uniform_in(snr_range_db);
    let scale = (mean_power(clip) * 10f64.powf(-snr_db / 10.0)).sqrt() as f32;
    if scale > 0.0 {
        noise.add_gaussian(scale, clip);
    }
}

dispatch_simd! {
    /// Mean square, 0 for no samples. Floats within short stretches, doubles over them.
    fn mean_power(clip: &[f32]) -> f64 {
        let mut total = 0.0;
        for stretch in clip.chunks(1024) {
            let mut lanes = [0.0f32; 16];
            let mut chunks = stretch.chunks_exact(16);
            for chunk in &mut chunks {
                for (lane, x) in lanes.iter_mut().zip(chunk) {
                    *lane += x * x;
                }
            }
            for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
                *lane += x * x;
            }
            total += lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        }
        total / clip.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, ViewKey};

    fn noisy(key: ViewKey, snr_range_db: [f64; 2], clip: &mut [f32]) {
        add_noise(&mut key.stream(Purpose::NoiseLevel), &mut key.stream(Purpose::Noise), snr_range_db, clip);
    }

    #[test]
    fn the_signal_to_noise_ratio_is_what_was_asked_for() {
        let signal: Vec<f32> = (0..100_000).map(|i| 0.01 * (i as f32 * 0.05).sin()).collect();
        for snr_db in [-10.0, 0.0, 20.0] {
            let mut clip = signal.clone();
            noisy(ViewKey { seed: 0, epoch: 0, sample_id: 5, view: 1 }, [snr_db, snr_db], &mut clip);
            let noise: Vec<f32> = clip.iter().zip(&signal).map(|(a, b)| a - b).collect();
            let measured = 10.0 * (mean_power(&signal) / mean_power(&noise)).log10();
            assert!((measured - snr_db).abs() < 0.1, "{measured}");
        }
    }

    #[test]
    fn ratios_spread_over_the_range() {
        let ratios: Vec<f64> = (0..2000)
            .map(|sample_id| {
                let mut clip = vec![1.0; 4096];
                noisy(ViewKey { seed: 0, epoch: 0, sample_id, view: 0 }, [10.0, 40.0], &mut clip);
                let power = clip.iter().map(|x| f64::from(x - 1.0).powi(2)).sum::<f64>() / 4096.0;
                -10.0 * power.log10()
            })
            .collect();
        let mean = ratios.iter().sum::<f64>() / 2000.0;
        assert!((mean - 25.0).abs() < 1.0, "{mean}");
        assert!(ratios.iter().all(|r| (9.5..40.5).contains(r)));
    }

    #[test]
    fn silence_stays_silent() {
        let mut clip = vec![0.0; 1000];
        noisy(ViewKey { seed: 0, epoch: 0, sample_id: 0, view: 0 }, [0.0, 0.0], &mut clip);
        assert!(clip.iter().all(|&x| x == 0.0));
        noisy(ViewKey { seed: 0, epoch: 0, sample_id: 0, view: 0 }, [0.0, 0.0], &mut []);
    }
}
