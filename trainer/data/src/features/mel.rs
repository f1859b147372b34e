//! The mel filter bank: triangles over frequency whose centres are spaced evenly on the mel scale.
//!
//! The formulas are those of `torchaudio.functional.melscale_fbanks`, in double precision.

use dtrain_configs::schema::{MelNorm, MelScale};

/// A filter bank, stored as the non-zero part of each filter.
#[derive(Debug, Clone, PartialEq)]
pub struct FilterBank {
    filters: Vec<MelFilter>,
}

/// One triangle.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MelFilter {
    /// Bin of the first weight.
    pub first_bin: usize,
    /// Weights of the bins from there; empty where the triangle falls between two bins.
    pub weights: Vec<f32>,
}

impl FilterBank {
    /// Filters for the `n_fft / 2 + 1` bins of a power spectrum.
    ///
    /// `f_min` and `f_max` in Hz. Filters narrower than the spacing of the bins may come out empty, as they do in
    /// torchaudio; see [`FilterBank::num_empty`].
    pub fn new(
        n_mels: usize,
        n_fft: usize,
        sample_rate: u32,
        [f_min, f_max]: [f64; 2],
        scale: MelScale,
        norm: MelNorm,
    ) -> Self {
        let num_bins = n_fft / 2 + 1;
        // torchaudio spaces the bins evenly from 0 to the integer part of half the rate. For an odd rate or an odd
        // n_fft this is not where they truly lie; kept, so that its filters and these are the same.
        let bin_width = f64::from(sample_rate / 2) / (num_bins - 1).max(1) as f64;
        let (low, high) = (hertz_to_mel(f_min, scale), hertz_to_mel(f_max, scale));
        let edge = |i: usize| mel_to_hertz(low + (high - low) * i as f64 / (n_mels + 1) as f64, scale);

        let filters = (0..n_mels).map(|band| {
            let [left, centre, right] = [edge(band), edge(band + 1), edge(band + 2)];
            let height = match norm {
                MelNorm::None => 1.0,
                MelNorm::Slaney => 2.0 / (right - left),
            };
            let weights: Vec<f64> = (0..num_bins)
                .map(|bin| {
                    let hertz = bin as f64 * bin_width;
                    let rise = (hertz - left) / (centre - left);
                    let fall = (right - hertz) / (right - centre);
                    height * rise.min(fall).max(0.0)
                })
                .collect();
            let first_bin = weights.iter().position(|&w| w > 0.0).unwrap_or(0);
            let end = weights.iter().rposition(|&w| w > 0.0).map_or(first_bin, |last| last + 1);
            let weights = weights.iter().take(end).skip(first_bin).map(|&w| w as f32).collect();
            MelFilter { first_bin, weights }
        });
        Self { filters: filters.collect() }
    }

    /// The filters, lowest first.
    pub fn filters(&self) -> &[MelFilter] {
        &self.filters
    }

    /// Filters that fall between two bins and therefore give nothing but the offset of the logarithm.
    pub fn num_empty(&self) -> usize {
        self.filters.iter().filter(|filter| filter.weights.is_empty()).count()
    }
}

/// Slope of Slaney's scale below its corner, in Hz per mel.
const SLANEY_LINEAR_STEP: f64 = 200.0 / 3.0;
/// Corner of Slaney's scale, in Hz.
const SLANEY_CORNER: f64 = 1000.0;

/// Step of Slaney's scale above its corner: 27 mels for a factor of 6.4.
fn slaney_log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn hertz_to_mel(hertz: f64, scale: MelScale) -> f64 {
    match scale {
        MelScale::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
        MelScale::Slaney if hertz >= SLANEY_CORNER => {
            SLANEY_CORNER / SLANEY_LINEAR_STEP + (hertz / SLANEY_CORNER).ln() / slaney_log_step()
        }
        MelScale::Slaney => hertz / SLANEY_LINEAR_STEP,
    }
}

fn mel_to_hertz(mel: f64, scale: MelScale) -> f64 {
    let corner = SLANEY_CORNER / SLANEY_LINEAR_STEP;
    match scale {
        MelScale::Htk => 700.0 * (10f64.powf(mel / 2595.0) - 1.0),
        MelScale::Slaney if mel >= corner => SLANEY_CORNER * (slaney_log_step() * (mel - corner)).exp(),
        MelScale::Slaney => SLANEY_LINEAR_STEP * mel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_invert_each_other_and_meet_known_points() {
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hertz in [0.0, 20.0, 440.0, 999.9, 1000.0, 1000.1, 8000.0, 24_000.0] {
                assert!((mel_to_hertz(hertz_to_mel(hertz, scale), scale) - hertz).abs() < 1e-8);
            }
        }
        assert!((hertz_to_mel(1000.0, MelScale::Htk) - 999.9855).abs() < 1e-3);
        assert!((hertz_to_mel(1000.0, MelScale::Slaney) - 15.0).abs() < 1e-12);
        assert!((hertz_to_mel(6400.0, MelScale::Slaney) - 42.0).abs() < 1e-12);
    }

    #[test]
    fn plain_filters_sum_to_one_between_the_outer_centres() {
        let bank = FilterBank::new(40, 1024, 16_000, [0.0, 8000.0], MelScale::Htk, MelNorm::None);
        let mut sums = vec![0.0f32; 513];
        for filter in bank.filters() {
            for (i, w) in filter.weights.iter().enumerate() {
                sums[filter.first_bin + i] += w;
            }
        }
        assert!(sums[4..460].iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    }

    #[test]
    fn narrow_filters_are_counted_as_empty() {
        let bank = FilterBank::new(128, 256, 16_000, [0.0, 8000.0], MelScale::Htk, MelNorm::None);
        assert!(bank.num_empty() > 0);
        assert_eq!(bank.filters().len(), 128);
    }
}
