//! Whole recordings from one sample rate to another.

use std::ops::Range;

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::decode::{DecodeProblem, MAX_FRAMES};

/// Shortest block of the filter, in frames at the lower of the two rates. Longer blocks filter more steeply: with
/// this one everything up to 0.97 of the lower Nyquist frequency passes.
const MIN_BLOCK_FRAMES: usize = 1024;

/// The smallest stretches that are of whole frames at both rates.
struct Steps {
    /// Frames of a step before resampling.
    of_input: usize,
    /// Frames of a step after it.
    of_output: usize,
    /// Steps of a block of the filter.
    in_block: usize,
}

impl Steps {
    fn new(from: u32, to: u32) -> Self {
        let gcd = greatest_common_divisor(from, to).max(1);
        let (of_input, of_output) = ((from / gcd) as usize, (to / gcd) as usize);
        // An even number of steps makes both blocks even: the filter's centre, half a block in, is then a whole
        // number of frames at both rates, and taking off the delay leaves none behind.
        let in_block = MIN_BLOCK_FRAMES.div_ceil(of_input.min(of_output).max(1)).next_multiple_of(2);
        Self { of_input, of_output, in_block }
    }
}

/// Frames around a part of a recording that the filter has to hear, so that the part sounds as it does within the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The part and what is around it, before resampling.
    pub frames: Range<u64>,
    /// The part, after it.
    pub part: Range<usize>,
}

impl Surroundings {
    /// Of `part` of a recording of `num_frames`.
    pub fn new(part: &Range<u64>, num_frames: u64, from: u32, to: u32) -> Self {
        if from == to {
            return Self { frames: part.clone(), part: 0..(part.end - part.start) as usize };
        }
        let Steps { of_input, of_output, in_block } = Steps::new(from, to);
        let steps_before = (part.start / of_input.max(1) as u64).min(in_block as u64);
        let first = (steps_before as usize) * of_output;
        let after = num_frames.saturating_sub(part.end).min((in_block * of_input) as u64);
        let len = resampled_len(part.end - part.start, from, to) as usize;
        Self {
            frames: part.start - steps_before * of_input as u64..part.end + after,
            part: first..first + len,
        }
    }
}

/// A resampler for one pair of rates: band-limited, zero phase, without delay.
pub struct Resampler {
    from: u32,
    to: u32,
    fft: Fft<f32>,
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Resampler {
    /// A resampler from `from` to `to` Hz.
    ///
    /// # Errors
    /// [`DecodeProblem::Resample`] where a rate is 0.
    pub fn new(from: u32, to: u32) -> Result<Self, DecodeProblem> {
        let refused = |reason: String| DecodeProblem::Resample { from, to, reason };
        if from == 0 || to == 0 {
            return Err(refused("a rate is 0".into()));
        }
        let Steps { of_input, in_block, .. } = Steps::new(from, to);
        let fft = Fft::new_custom(
            from as usize,
            to as usize,
            in_block * of_input,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|e| refused(e.to_string()))?;
        Ok(Self { from, to, fft })
    }

    /// Rate of the input, in Hz.
    pub fn from(&self) -> u32 {
        self.from
    }

    /// Resamples a recording of `n` frames to `ceil(n * to / from)` frames; frame 0 stays where it is.
    ///
    /// # Errors
    /// [`DecodeProblem::TooLong`] beyond [`MAX_FRAMES`], before anything is allocated.
    pub fn resample(&mut self, samples: &[f32]) -> Result<Vec<f32>, DecodeProblem> {
        let num_frames = resampled_len(samples.len() as u64, self.from, self.to);
        if num_frames > MAX_FRAMES {
            return Err(DecodeProblem::TooLong { num_frames, sample_rate: self.to });
        }
        let (from, to) = (self.from, self.to);
        let refused = |reason: String| DecodeProblem::Resample { from, to, reason };
        let input = SequentialSlice::new(samples, 1, samples.len()).map_err(|e| refused(e.to_string()))?;
        let output = self.fft.process_all(&input, samples.len(), None).map_err(|e| refused(e.to_string()))?;
        let mut output = output.take_data();
        // rubato rounds the length in floating point, which may be one off.
        output.resize(num_frames as usize, 0.0);
        Ok(output)
    }
}

/// `ceil(num_frames * to / from)`.
pub fn resampled_len(num_frames: u64, from: u32, to: u32) -> u64 {
    let exact = (u128::from(num_frames) * u128::from(to)).div_ceil(u128::from(from.max(1)));
    u64::try_from(exact).unwrap_or(u64::MAX)
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    const RATES: [(u32, u32); 8] = [
        (44_100, 16_000),
        (48_000, 16_000),
        (8_000, 16_000),
        (22_050, 8_000),
        (16_000, 8_000),
        (11_025, 32_000),
        (44_101, 16_000),
        (96_000, 8_000),
    ];

    fn sine(rate: u32, hertz: f64, num_frames: usize) -> Vec<f32> {
        (0..num_frames).map(|i| (0.3 + TAU * hertz * i as f64 / f64::from(rate)).sin() as f32).collect()
    }

    #[test]
    fn sines_keep_amplitude_and_phase() {
        for (from, to) in RATES {
            let nyquist = f64::from(from.min(to)) / 2.0;
            let mut resampler = Resampler::new(from, to).unwrap();
            for hertz in [0.0, 0.01, 0.3, 0.7, 0.9, 0.97].map(|share| share * nyquist) {
                let output = resampler.resample(&sine(from, hertz, from as usize)).unwrap();
                assert_eq!(output.len(), to as usize);
                let expected = sine(to, hertz, to as usize);
                let margin = to as usize / 4;
                for i in margin..to as usize - margin {
                    let error = (output[i] - expected[i]).abs();
                    assert!(error < 1e-3, "{from} to {to} Hz, {hertz} Hz, frame {i}: off by {error}");
                }
            }
        }
    }

    #[test]
    fn what_lies_above_the_new_nyquist_frequency_is_removed() {
        for (from, to) in RATES.into_iter().filter(|(from, to)| from > to) {
            let mut resampler = Resampler::new(from, to).unwrap();
            let nyquist = f64::from(to) / 2.0;
            for hertz in [1.01 * nyquist, (1.5 * nyquist).min(0.49 * f64::from(from)), 0.49 * f64::from(from)]
            {
                let output = resampler.resample(&sine(from, hertz, from as usize)).unwrap();
                let middle = &output[to as usize / 4..3 * to as usize / 4];
                let peak = middle.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
                assert!(peak < 1e-3, "{from} to {to} Hz: {hertz} Hz leaks {peak}");
            }
        }
    }

    #[test]
    fn the_length_is_exact_for_any_length() {
        for (from, to) in RATES {
            let mut resampler = Resampler::new(from, to).unwrap();
            for len in [1usize, 2, 3, 440, 441, 442, 1023, 4410, 12_345] {
                let output = resampler.resample(&vec![0.25; len]).unwrap();
                assert_eq!(output.len(), (len * to as usize).div_ceil(from as usize));
                assert!(output.iter().all(|x| x.is_finite()));
            }
        }
    }

    #[test]
    fn a_reused_resampler_forgets_the_recording_before() {
        let mut resampler = Resampler::new(44_100, 16_000).unwrap();
        let recording = sine(44_100, 500.0, 5000);
        let first = resampler.resample(&recording).unwrap();
        resampler.resample(&sine(44_100, 3000.0, 9999)).unwrap();
        assert_eq!(resampler.resample(&recording).unwrap(), first);
    }

    /// Where the part begins between two frames of the whole at the new rate, it is a shifted one.
    #[test]
    fn a_part_sounds_as_within_the_whole() {
        for (from, to) in RATES {
            let whole = sine(from, 0.2 * f64::from(from.min(to)), 3 * from as usize);
            let mut resampler = Resampler::new(from, to).unwrap();
            for (begin_secs, end_secs) in [(0.0, 1.0), (0.01, 0.7), (1.0, 2.0), (2.5, 3.0), (0.0, 3.0)] {
                let at = |secs: f64| (secs * f64::from(from)) as u64;
                let part = at(begin_secs)..at(end_secs);
                let around = Surroundings::new(&part, whole.len() as u64, from, to);
                let heard = &whole[around.frames.start as usize..around.frames.end as usize];
                let resampled = resampler.resample(heard).unwrap();
                let ours = &resampled[around.part.clone()];
                assert_eq!(ours.len() as u64, resampled_len(part.end - part.start, from, to));
                let all = resampler.resample(&whole).unwrap();
                let first = part.start as f64 * f64::from(to) / f64::from(from);
                if first.fract() == 0.0 {
                    for (a, b) in ours.iter().zip(&all[first as usize..]) {
                        assert!((a - b).abs() < 1e-5, "{from} to {to} Hz, {begin_secs} s: {a} and {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_rate_of_zero_is_an_error() {
        assert!(Resampler::new(0, 16_000).is_err());
        assert!(Resampler::new(16_000, 0).is_err());
    }
}
