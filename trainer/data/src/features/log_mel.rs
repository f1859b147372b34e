//! From samples to a log-mel spectrogram, with the conventions of `torchaudio.transforms.MelSpectrogram`: frames
//! centred on multiples of the hop, borders reflected, a periodic Hann window as long as the transform, power 2.

use std::sync::Arc;

use dtrain_configs::schema::{FeatureConfig, LogScale};
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::mel::FilterBank;
use crate::simd::{dispatch_simd, ln};

/// Frames that go through the filter bank together: the power of a tile stays in the first-level cache, and the
/// accumulators of one filter in registers.
const TILE: usize = 32;

/// Settings that make no spectrogram, or buffers that do not fit one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FeatureError {
    /// A setting is out of range.
    #[error("`data.features.{key}` is {value}: expected {expected}")]
    Setting {
        /// The setting, below `data.features`.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        expected: String,
    },
    /// A buffer has the wrong length.
    #[error("{what} has {found} values: expected {expected}")]
    Length {
        /// Which buffer.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The right length.
        expected: usize,
    },
    /// The Fourier transform refused.
    #[error("the Fourier transform failed: {0}")]
    Transform(String),
}

/// Computes log-mel spectrograms of clips of one length.
#[derive(Clone)]
pub struct LogMel {
    n_fft: usize,
    hop_length: usize,
    clip_samples: usize,
    num_frames: usize,
    window: Vec<f32>,
    bank: FilterBank,
    log_offset: f32,
    fft: Arc<dyn RealToComplex<f32>>,
}

impl std::fmt::Debug for LogMel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogMel")
            .field("n_fft", &self.n_fft)
            .field("hop_length", &self.hop_length)
            .field("shape", &[self.n_mels(), self.num_frames])
            .finish_non_exhaustive()
    }
}

/// Buffers of one thread; nothing is allocated per view.
#[derive(Debug, Clone)]
pub struct FeatureWorkspace {
    padded: Vec<f32>,
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    /// Power of a tile, bin by bin.
    power: Vec<[f32; TILE]>,
}

impl LogMel {
    /// Spectrograms of clips of `clip_samples` samples at `sample_rate` Hz.
    ///
    /// # Errors
    /// [`FeatureError::Setting`] where a setting is out of range, among them a clip too short for its borders to be
    /// reflected (at most `n_fft / 2` samples).
    pub fn new(config: &FeatureConfig, sample_rate: u32, clip_samples: usize) -> Result<Self, FeatureError> {
        let f_max = check(config, sample_rate, clip_samples)?;
        let n_fft = config.n_fft;
        let bank = FilterBank::new(
            config.n_mels,
            n_fft,
            sample_rate,
            [config.f_min, f_max],
            config.mel_scale,
            config.mel_norm,
        );
        let angle = std::f64::consts::TAU / n_fft as f64;
        Ok(Self {
            n_fft,
            hop_length: config.hop_length,
            clip_samples,
            // Equal to clip_samples / hop_length + 1 for an even n_fft.
            num_frames: (clip_samples + 2 * (n_fft / 2) - n_fft) / config.hop_length + 1,
            window: (0..n_fft).map(|i| (0.5 - 0.5 * (angle * i as f64).cos()) as f32).collect(),
            bank,
            // ln(1 + x) by the same operations: what of x is lost beside 1 is lost in a float of 1 + x.
            log_offset: match config.log {
                LogScale::Offset => config.log_offset as f32,
                LogScale::Log1p => 1.0,
            },
            fft: RealFftPlanner::new().plan_fft_forward(n_fft),
        })
    }

    /// Mel bands.
    pub fn n_mels(&self) -> usize {
        self.bank.filters().len()
    }

    /// Frames of a spectrogram.
    pub fn num_frames(&self) -> usize {
        self.num_frames
    }

    /// The filters.
    pub fn filter_bank(&self) -> &FilterBank {
        &self.bank
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> FeatureWorkspace {
        FeatureWorkspace {
            padded: vec![0.0; self.clip_samples + 2 * (self.n_fft / 2)],
            frame: self.fft.make_input_vec(),
            spectrum: self.fft.make_output_vec(),
            scratch: self.fft.make_scratch_vec(),
            power: vec![[0.0; TILE]; self.fft.complex_len()],
        }
    }

    /// Writes `ln(mel power + log_offset)` to `out`, where the offset of `log: log1p` is 1.
    ///
    /// # Shapes
    /// `clip`: `[clip_samples]`; `out`: `[n_mels, num_frames]`, row-major.
    ///
    /// # Errors
    /// [`FeatureError::Length`] where they are not.
    pub fn compute(
        &self,
        workspace: &mut FeatureWorkspace,
        clip: &[f32],
        out: &mut [f32],
    ) -> Result<(), FeatureError> {
        check_len("the clip", clip.len(), self.clip_samples)?;
        check_len("the spectrogram", out.len(), self.n_mels() * self.num_frames)?;
        let FeatureWorkspace { padded, frame, spectrum, scratch, power } = workspace;
        reflect(clip, self.n_fft / 2, padded);

        for first_frame in (0..self.num_frames).step_by(TILE) {
            let frames_in_tile = TILE.min(self.num_frames - first_frame);
            for column in 0..frames_in_tile {
                let start = (first_frame + column) * self.hop_length;
                let samples = padded.iter().skip(start);
                for ((x, sample), w) in frame.iter_mut().zip(samples).zip(&self.window) {
                    *x = sample * w;
                }
                self.fft
                    .process_with_scratch(frame, spectrum, scratch)
                    .map_err(|e| FeatureError::Transform(e.to_string()))?;
                store_power(spectrum, column, power);
            }
            filter_tile(&self.bank, power, self.log_offset, first_frame, self.num_frames, out);
        }
        Ok(())
    }
}

fn check(config: &FeatureConfig, sample_rate: u32, clip_samples: usize) -> Result<f64, FeatureError> {
    let nyquist = f64::from(sample_rate) / 2.0;
    let f_max = config.f_max.unwrap_or(nyquist);
    let require = |holds: bool, key, value: &dyn ToString, expected: &str| match holds {
        true => Ok(()),
        false => Err(FeatureError::Setting { key, value: value.to_string(), expected: expected.into() }),
    };
    require((2..=1 << 20).contains(&config.n_fft), "n_fft", &config.n_fft, "2 to 1048576")?;
    require(config.hop_length >= 1, "hop_length", &config.hop_length, "at least 1")?;
    require((1..=4096).contains(&config.n_mels), "n_mels", &config.n_mels, "1 to 4096")?;
    require(
        config.f_min >= 0.0 && config.f_min < f_max,
        "f_min",
        &config.f_min,
        "at least 0 and below `f_max`",
    )?;
    require(f_max <= nyquist, "f_max", &f_max, &format!("at most {nyquist}, half the sample rate"))?;
    let normal = config.log_offset >= f64::from(f32::MIN_POSITIVE) && config.log_offset <= 1e30;
    require(normal, "log_offset", &config.log_offset, "a positive number, at least 1.2e-38")?;
    let clip = format!("less than twice the clip's {clip_samples} samples");
    require(config.n_fft / 2 < clip_samples, "n_fft", &config.n_fft, &clip)?;
    Ok(f_max)
}

fn check_len(what: &'static str, found: usize, expected: usize) -> Result<(), FeatureError> {
    if found == expected { Ok(()) } else { Err(FeatureError::Length { what, found, expected }) }
}

/// Copies `clip` with `margin` samples mirrored at either end; the outermost sample is not repeated.
fn reflect(clip: &[f32], margin: usize, padded: &mut [f32]) {
    let (left, rest) = padded.split_at_mut(margin);
    let (middle, right) = rest.split_at_mut(clip.len());
    middle.copy_from_slice(clip);
    for (x, mirrored) in left.iter_mut().rev().zip(clip.iter().skip(1)) {
        *x = *mirrored;
    }
    for (x, mirrored) in right.iter_mut().zip(clip.iter().rev().skip(1)) {
        *x = *mirrored;
    }
}

dispatch_simd! {
    fn store_power(spectrum: &[Complex<f32>], column: usize, power: &mut [[f32; TILE]]) {
        for (row, bin) in power.iter_mut().zip(spectrum) {
            if let Some(cell) = row.get_mut(column) {
                *cell = bin.re * bin.re + bin.im * bin.im;
            }
        }
    }
}

dispatch_simd! {
    fn filter_tile(
        bank: &FilterBank,
        power: &[[f32; TILE]],
        log_offset: f32,
        first_frame: usize,
        num_frames: usize,
        out: &mut [f32],
    ) {
        for (filter, row) in bank.filters().iter().zip(out.chunks_exact_mut(num_frames)) {
            let mut sums = [0.0f32; TILE];
            for (weight, bin) in filter.weights.iter().zip(power.iter().skip(filter.first_bin)) {
                for (sum, p) in sums.iter_mut().zip(bin) {
                    *sum += weight * p;
                }
            }
            for sum in &mut sums {
                *sum = ln(*sum + log_offset);
            }
            for (cell, sum) in row.iter_mut().skip(first_frame).zip(sums) {
                *cell = sum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use dtrain_configs::schema::{MelNorm, MelScale};

    use super::*;

    /// The definition, in double precision: a sum over samples for every bin of every frame.
    fn oracle(config: &FeatureConfig, log_mel: &LogMel, clip: &[f32]) -> Vec<f64> {
        let n = config.n_fft;
        let sample = |i: isize| {
            let last = clip.len() as isize - 1;
            let mirrored = if i < 0 {
                -i
            } else if i > last {
                2 * last - i
            } else {
                i
            };
            f64::from(clip[mirrored as usize])
        };
        let mut out = vec![0.0; log_mel.n_mels() * log_mel.num_frames()];
        for t in 0..log_mel.num_frames() {
            let start = (t * config.hop_length) as isize - (n / 2) as isize;
            let power: Vec<f64> = (0..=n / 2)
                .map(|bin| {
                    let (mut re, mut im) = (0.0, 0.0);
                    for i in 0..n {
                        let window = 0.5 - 0.5 * (TAU * i as f64 / n as f64).cos();
                        let x = window * sample(start + i as isize);
                        let angle = TAU * (bin * i) as f64 / n as f64;
                        re += x * angle.cos();
                        im -= x * angle.sin();
                    }
                    re * re + im * im
                })
                .collect();
            for (band, filter) in log_mel.filter_bank().filters().iter().enumerate() {
                let bins = &power[filter.first_bin..];
                let mel: f64 = filter.weights.iter().zip(bins).map(|(&w, p)| f64::from(w) * p).sum();
                out[band * log_mel.num_frames() + t] = (mel + config.log_offset).ln();
            }
        }
        out
    }

    #[test]
    fn spectrograms_equal_the_definition() {
        for (n_fft, hop_length, n_mels, clip_samples) in [
            (256, 80, 20, 3000),
            (64, 16, 10, 33),
            (100, 7, 8, 400),
            (63, 10, 6, 500),
            (2, 1, 1, 2),
            (30, 500, 4, 90),
        ] {
            let config = FeatureConfig {
                n_fft,
                hop_length,
                n_mels,
                mel_scale: MelScale::Slaney,
                mel_norm: MelNorm::Slaney,
                ..FeatureConfig::default()
            };
            let log_mel = LogMel::new(&config, 8000, clip_samples).unwrap();
            if n_fft % 2 == 0 {
                assert_eq!(log_mel.num_frames(), clip_samples / hop_length + 1);
            }
            let clip: Vec<f32> = (0..clip_samples)
                .map(|i| (i as f32 * 0.3).sin() * 0.5 + (i * i % 17) as f32 * 0.01)
                .collect();
            let mut workspace = log_mel.workspace();
            let mut out = vec![0.0; n_mels * log_mel.num_frames()];
            // Twice: what the first run leaves in the workspace must not matter.
            for _ in 0..2 {
                log_mel.compute(&mut workspace, &clip, &mut out).unwrap();
                for (i, (found, exact)) in out.iter().zip(oracle(&config, &log_mel, &clip)).enumerate() {
                    assert!(
                        (f64::from(*found) - exact).abs() < 1e-4,
                        "n_fft {n_fft}, cell {i}: {found} {exact}"
                    );
                }
            }
        }
    }

    #[test]
    fn settings_and_buffers_that_do_not_fit_are_named() {
        let good = FeatureConfig::default();
        for (config, key) in [
            (FeatureConfig { n_fft: 0, ..good.clone() }, "n_fft"),
            (FeatureConfig { n_fft: 2000, ..good.clone() }, "n_fft"),
            (FeatureConfig { hop_length: 0, ..good.clone() }, "hop_length"),
            (FeatureConfig { n_mels: 0, ..good.clone() }, "n_mels"),
            (FeatureConfig { f_min: f64::NAN, ..good.clone() }, "f_min"),
            (FeatureConfig { f_min: 9000.0, ..good.clone() }, "f_min"),
            (FeatureConfig { f_max: Some(8001.0), ..good.clone() }, "f_max"),
            (FeatureConfig { log_offset: 0.0, ..good.clone() }, "log_offset"),
        ] {
            match LogMel::new(&config, 16_000, 1000) {
                Err(FeatureError::Setting { key: named, .. }) => assert_eq!(named, key),
                other => panic!("{key}: {other:?}"),
            }
        }
        let log_mel = LogMel::new(&good, 16_000, 1000).unwrap();
        let mut out = vec![0.0; 64 * 7];
        log_mel.compute(&mut log_mel.workspace(), &[0.0; 1000], &mut out).unwrap();
        assert!(out.iter().all(|x| (x - 1e-6f32.ln()).abs() < 1e-5));
        assert!(log_mel.compute(&mut log_mel.workspace(), &[0.0; 999], &mut out).is_err());
        assert!(log_mel.compute(&mut log_mel.workspace(), &[0.0; 1000], &mut out[1..]).is_err());
    }
}
