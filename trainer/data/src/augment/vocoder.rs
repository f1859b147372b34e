//! A phase vocoder: the same sound, longer or shorter, at the same pitch.
//!
//! Flanagan and Golden 1966; phases are locked to those of the nearest peak (Laroche and Dolson 1999, "Improved phase vocoder
//! time-scale modification of audio"). The advance of a phase is measured between two transforms of the sound that lie one step of the
//! output apart, as Bonada 2000 does, so that no phase has to be unwrapped and no angle to be computed: all is multiplication
//! by numbers of length 1.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Samples of a window.
const WINDOW: usize = 1024;
/// Samples of the output from one window to the next.
const HOP: usize = WINDOW / 4;
/// Sum of the squares of Hann windows that lie a quarter apart.
const OVERLAP: f32 = 1.5;

/// Windows and transforms, shared by threads.
#[derive(Clone)]
pub struct Vocoder {
    window: Vec<f32>,
    forward: Arc<dyn RealToComplex<f32>>,
    inverse: Arc<dyn ComplexToReal<f32>>,
}

impl std::fmt::Debug for Vocoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vocoder").finish_non_exhaustive()
    }
}

impl Default for Vocoder {
    fn default() -> Self {
        let angle = std::f64::consts::TAU / WINDOW as f64;
        let mut planner = RealFftPlanner::new();
        Self {
            window: (0..WINDOW).map(|i| (0.5 - 0.5 * (angle * i as f64).cos()) as f32).collect(),
            forward: planner.plan_fft_forward(WINDOW),
            inverse: planner.plan_fft_inverse(WINDOW),
        }
    }
}

impl Vocoder {
    /// `num_samples` samples that sound as `source` does, whatever its length; silence lies around it.
    pub fn stretch(&self, source: &[f32], num_samples: usize) -> Vec<f32> {
        let step_back = source.len() as f64 / num_samples.max(1) as f64;
        let lead = WINDOW - HOP;
        let mut output = vec![0.0; lead + num_samples + WINDOW];
        let mut spectra = Spectra::new(self);
        for begin in (0..lead + num_samples).step_by(HOP) {
            // The centre of the window, in the output and in the source.
            let centre = begin as f64 + (WINDOW / 2) as f64 - lead as f64;
            let at = (centre * step_back).round() as i64 - (WINDOW / 2) as i64;
            spectra.read(self, source, at);
            spectra.advance();
            let Some(place) = output.get_mut(begin..begin + WINDOW) else { break };
            spectra.write(self, place);
        }
        output.drain(..lead);
        output.truncate(num_samples);
        output
    }
}

/// Spectra of one place.
struct Spectra {
    frame: Vec<f32>,
    /// One step of the output before `now`.
    before: Vec<Complex<f32>>,
    now: Vec<Complex<f32>>,
    /// What was put out last.
    last: Vec<Complex<f32>>,
    next: Vec<Complex<f32>>,
    power: Vec<f32>,
    scratch: Vec<Complex<f32>>,
    is_first: bool,
}

impl Spectra {
    fn new(vocoder: &Vocoder) -> Self {
        let bins = || vocoder.forward.make_output_vec();
        let scratch_len = vocoder.forward.get_scratch_len().max(vocoder.inverse.get_scratch_len());
        Self {
            frame: vocoder.forward.make_input_vec(),
            before: bins(),
            now: bins(),
            last: bins(),
            next: bins(),
            power: vec![0.0; WINDOW / 2 + 1],
            scratch: vec![Complex::default(); scratch_len],
            is_first: true,
        }
    }

    /// Transforms the window of the source that begins at `at`, and the one before.
    fn read(&mut self, vocoder: &Vocoder, source: &[f32], at: i64) {
        for (begin, spectrum) in [(at - HOP as i64, &mut self.before), (at, &mut self.now)] {
            for (offset, (x, weight)) in self.frame.iter_mut().zip(&vocoder.window).enumerate() {
                let sample = usize::try_from(begin + offset as i64).ok().and_then(|index| source.get(index));
                *x = sample.copied().unwrap_or(0.0) * weight;
            }
            // Lengths are those of the plan, and a failure would leave silence.
            let _ = vocoder.forward.process_with_scratch(&mut self.frame, spectrum, &mut self.scratch);
        }
    }

    /// Turns `now` so that each peak goes on from what was put out last.
    fn advance(&mut self) {
        for (power, bin) in self.power.iter_mut().zip(&self.now) {
            *power = bin.norm_sqr();
        }
        if std::mem::take(&mut self.is_first) {
            self.next.copy_from_slice(&self.now);
        } else {
            let peaks: Vec<usize> = (0..self.power.len()).filter(|&bin| is_peak(&self.power, bin)).collect();
            let mut begin = 0;
            for (number, &peak) in peaks.iter().enumerate() {
                // A region ends half way to the next peak.
                let end = peaks.get(number + 1).map_or(self.now.len(), |next| (peak + next).div_ceil(2));
                let turn = self.turn_of(peak);
                let region = self.next.iter_mut().zip(&self.now).take(end).skip(begin);
                region.for_each(|(next, now)| *next = now * turn);
                begin = end;
            }
            if peaks.is_empty() {
                self.next.copy_from_slice(&self.now);
            }
        }
        std::mem::swap(&mut self.last, &mut self.next);
    }

    fn turn_of(&self, bin: usize) -> Complex<f32> {
        let unit = |spectrum: &[Complex<f32>]| {
            let value = spectrum.get(bin).copied().unwrap_or_default();
            let norm = value.norm();
            if norm > 1e-12 { value / norm } else { Complex::new(1.0, 0.0) }
        };
        unit(&self.last) * unit(&self.before).conj()
    }

    /// Adds the window that was put out last.
    fn write(&mut self, vocoder: &Vocoder, output: &mut [f32]) {
        self.next.copy_from_slice(&self.last);
        // The transform takes both ends for real numbers.
        for end in [0, WINDOW / 2] {
            if let Some(bin) = self.next.get_mut(end) {
                bin.im = 0.0;
            }
        }
        let _ = vocoder.inverse.process_with_scratch(&mut self.next, &mut self.frame, &mut self.scratch);
        let scale = 1.0 / (WINDOW as f32 * OVERLAP);
        for ((y, x), weight) in output.iter_mut().zip(&self.frame).zip(&vocoder.window) {
            *y += x * weight * scale;
        }
    }
}

/// Larger than two neighbours on each side.
fn is_peak(power: &[f32], bin: usize) -> bool {
    let Some(&own) = power.get(bin) else { return false };
    let below = power.get(bin.saturating_sub(2)..bin).unwrap_or_default();
    let above = power.get(bin + 1..(bin + 3).min(power.len())).unwrap_or_default();
    own > 0.0 && below.iter().all(|&other| other < own) && above.iter().all(|&other| other <= own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(len: usize, step: f64) -> Vec<f32> {
        (0..len).map(|i| (i as f64 * step).sin() as f32).collect()
    }

    #[test]
    fn the_same_length_gives_the_same_sound() {
        let source: Vec<f32> =
            (0..8000).map(|i| ((i * i % 997) as f32 / 997.0 - 0.5) * (i as f32 * 0.001).sin()).collect();
        let same = Vocoder::default().stretch(&source, source.len());
        let worst = same.iter().zip(&source).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{worst}");
    }

    #[test]
    fn a_tone_stays_at_its_pitch_and_its_level() {
        let vocoder = Vocoder::default();
        for factor in [0.5, 0.8, 1.1, 1.7] {
            let source = tone(16_000, 0.41);
            let stretched = vocoder.stretch(&source, (16_000.0 * factor) as usize);
            assert_eq!(stretched.len(), (16_000.0 * factor) as usize);
            // In the middle it is a sine of that step: x[t+1] + x[t-1] = 2 cos(step) x[t].
            let middle = &stretched[2048..stretched.len() - 2048];
            let twice = 2.0 * 0.41_f32.cos();
            let error: f32 = middle.windows(3).map(|w| (w[2] + w[0] - twice * w[1]).powi(2)).sum();
            let power: f32 = middle.iter().map(|x| x * x).sum();
            assert!((error / power).sqrt() < 0.01, "{factor}: {}", (error / power).sqrt());
            let level = (2.0 * power / middle.len() as f32).sqrt();
            assert!((level - 1.0).abs() < 0.02, "{factor}: {level}");
        }
    }

    #[test]
    fn nothing_and_silence_give_silence() {
        let vocoder = Vocoder::default();
        assert_eq!(vocoder.stretch(&[], 100), vec![0.0; 100]);
        assert_eq!(vocoder.stretch(&[0.0; 500], 100), vec![0.0; 100]);
        assert_eq!(vocoder.stretch(&[1.0; 500], 0), Vec::<f32>::new());
    }
}
