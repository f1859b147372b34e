//! Pitch shift and time stretch: a bird that is larger, or sings faster.
//!
//! Both are one change. A stretch of the recording as long as the clip times the rate is made as long as the clip times the
//! factor of the pitch, by a phase vocoder, and then read faster by that factor.

use dtrain_configs::schema::AugmentConfig;

use super::crop;
use super::vocoder::Vocoder;
use crate::rng::{Purpose, ViewKey};

/// Widest pitch shift, in semitones.
pub const MAX_SEMITONES: f64 = 24.0;
/// Fastest rate of a time stretch, and one by the slowest.
pub const MAX_RATE: f64 = 4.0;

/// Zero crossings of the interpolating sine on each side.
const CROSSINGS: f64 = 16.0;
/// Places between two samples for which the interpolating sine is computed.
const PHASES: usize = 256;

/// See the module.
#[derive(Debug, Clone)]
pub struct PitchTime {
    pitch_probability: f64,
    semitones: [f64; 2],
    stretch_probability: f64,
    rate: [f64; 2],
    vocoder: Vocoder,
}

impl PitchTime {
    /// By the settings; nothing where they are off.
    pub fn new(config: &AugmentConfig) -> Option<Self> {
        (config.pitch_probability > 0.0 || config.stretch_probability > 0.0).then(|| Self {
            pitch_probability: config.pitch_probability,
            semitones: config.pitch_semitones,
            stretch_probability: config.stretch_probability,
            rate: config.stretch_speed,
            vocoder: Vocoder::default(),
        })
    }

    /// Fills `clip` from a recording that is cropped, or placed, by `place`, where `key` has a change; false where not.
    pub fn apply(&self, key: &ViewKey, recording: &[f32], clip: &mut [f32], random_crop: bool) -> bool {
        let mut stream = key.stream(Purpose::PitchTime);
        // Always four numbers, so that one setting leaves the draws of the other.
        let (shifts, semitones) =
            (stream.uniform() < self.pitch_probability, stream.uniform_in(self.semitones));
        let (stretches, rate) = (stream.uniform() < self.stretch_probability, stream.uniform());
        // As often slower as faster.
        let [slow, fast] = self.rate.map(f64::ln);
        let rate = if stretches { (slow + (fast - slow) * rate).exp() } else { 1.0 };
        let factor = if shifts { 2f64.powf(semitones / 12.0) } else { 1.0 };
        if !shifts && !stretches {
            return false;
        }
        let mut source = vec![0.0; (clip.len() as f64 * rate).round() as usize];
        match random_crop {
            true => crop::random(&mut key.stream(Purpose::Crop), recording, &mut source),
            false => crop::centred(recording, &mut source),
        }
        let stretched = self.vocoder.stretch(&source, (clip.len() as f64 * factor).round() as usize);
        read_faster(&stretched, factor, clip);
        true
    }
}

/// Every `factor`-th sample of `source`, also between its samples, without what would be above half the rate.
fn read_faster(source: &[f32], factor: f64, out: &mut [f32]) {
    let cutoff = (1.0 / factor).min(1.0);
    let reach = CROSSINGS / cutoff;
    let num_taps = 2 * reach.ceil() as usize;
    // Rows of taps for places from one sample to the next, both included.
    let kernel: Vec<f32> = (0..=PHASES)
        .flat_map(|phase| {
            let place = phase as f64 / PHASES as f64 + reach.ceil() - 1.0;
            (0..num_taps).map(move |tap| windowed_sine(tap as f64 - place, cutoff, reach) as f32)
        })
        .collect();
    for (number, y) in out.iter_mut().enumerate() {
        let at = number as f64 * factor;
        let whole = at.floor();
        let phase = (at - whole) * PHASES as f64;
        let row = phase as usize;
        let share = (phase - row as f64) as f32;
        let rows = |row: usize| kernel.get(row * num_taps..(row + 1) * num_taps).unwrap_or_default();
        let first = whole as i64 - reach.ceil() as i64 + 1;
        let taps = rows(row).iter().zip(rows(row + 1));
        *y = taps
            .enumerate()
            .map(|(tap, (a, b))| {
                let sample = usize::try_from(first + tap as i64).ok().and_then(|index| source.get(index));
                sample.copied().unwrap_or(0.0) * (a + (b - a) * share)
            })
            .sum();
    }
}

/// The ideal low-pass at a distance in samples, within a Hann window.
fn windowed_sine(distance: f64, cutoff: f64, reach: f64) -> f64 {
    if distance.abs() >= reach {
        return 0.0;
    }
    let angle = std::f64::consts::PI * distance * cutoff;
    let sine = if angle == 0.0 { 1.0 } else { angle.sin() / angle };
    let window = 0.5 + 0.5 * (std::f64::consts::PI * distance / reach).cos();
    cutoff * sine * window
}

#[cfg(test)]
mod tests {
    use realfft::RealFftPlanner;

    use super::*;

    const RATE: f64 = 16_000.0;
    const LEN: usize = 16_384;

    fn tone(hertz: f64, len: usize) -> Vec<f32> {
        (0..len).map(|i| 0.5 * (i as f64 * hertz / RATE * std::f64::consts::TAU).sin() as f32).collect()
    }

    fn config(semitones: f64, rate: f64) -> AugmentConfig {
        AugmentConfig {
            pitch_probability: if semitones == 0.0 { 0.0 } else { 1.0 },
            pitch_semitones: [semitones; 2],
            stretch_probability: if rate == 1.0 { 0.0 } else { 1.0 },
            stretch_speed: [rate; 2],
            ..AugmentConfig::default()
        }
    }

    fn changed(config: &AugmentConfig, recording: &[f32], sample_id: u32) -> Option<Vec<f32>> {
        let mut clip = vec![0.0; LEN];
        let key = ViewKey { seed: 1, epoch: 2, sample_id, view: 0 };
        PitchTime::new(config)?.apply(&key, recording, &mut clip, true).then_some(clip)
    }

    /// Power at each bin in dB below the largest one, within a Blackman-Harris window.
    fn spectrum(clip: &[f32]) -> (usize, Vec<f32>) {
        let forward = RealFftPlanner::<f32>::new().plan_fft_forward(LEN);
        let window = |i: usize| {
            let angle = i as f64 / LEN as f64 * std::f64::consts::TAU;
            0.35875 - 0.48829 * angle.cos() + 0.14128 * (2.0 * angle).cos() - 0.01168 * (3.0 * angle).cos()
        };
        let mut input: Vec<f32> = clip.iter().enumerate().map(|(i, x)| x * window(i) as f32).collect();
        let mut output = forward.make_output_vec();
        forward.process(&mut input, &mut output).unwrap();
        let power: Vec<f32> = output.iter().map(|bin| bin.norm_sqr()).collect();
        let peak = (0..power.len()).max_by(|&a, &b| power[a].total_cmp(&power[b])).unwrap();
        (peak, power.iter().map(|x| 10.0 * (x / power[peak] + 1e-20).log10()).collect())
    }

    #[test]
    fn a_tone_is_shifted_by_semitones_and_little_else_is_heard() {
        for (semitones, hertz) in [(2.0, 1122.462), (-5.0, 749.154), (12.0, 2000.0), (0.5, 1029.302)] {
            let clip = changed(&config(semitones, 1.0), &tone(1000.0, 60_000), 3).unwrap();
            let (peak, decibels) = spectrum(&clip);
            let expected = hertz / RATE * LEN as f64;
            assert!((peak as f64 - expected).abs() <= 1.0, "{semitones}: bin {peak}, not {expected}");
            let beside = |bin: usize| bin.abs_diff(peak) > 24;
            let loudest = (0..decibels.len())
                .filter(|&bin| beside(bin))
                .map(|bin| decibels[bin])
                .fold(-200.0, f32::max);
            assert!(loudest < -40.0, "{semitones}: {loudest} dB");
        }
    }

    #[test]
    fn a_stretch_keeps_the_pitch_and_moves_what_happens() {
        let clip = changed(&config(0.0, 1.25), &tone(1000.0, 60_000), 3).unwrap();
        let (peak, _) = spectrum(&clip);
        assert!((peak as f64 - 1000.0 / RATE * LEN as f64).abs() <= 1.0, "{peak}");
        // A recording as long as the stretch reads: a tone that ends in its middle ends in the middle of the clip.
        let mut recording = tone(1000.0, (LEN as f64 * 1.25) as usize);
        let half = recording.len() / 2;
        recording[half..].fill(0.0);
        let clip = changed(&config(0.0, 1.25), &recording, 3).unwrap();
        let energy = |part: &[f32]| part.iter().map(|x| x * x).sum::<f32>();
        assert!(energy(&clip[LEN / 2 + 600..]) < 1e-3 * energy(&clip[..LEN / 2 - 600]));
        assert!(energy(&clip[LEN / 2 - 1200..LEN / 2 - 600]) > 0.5 * 0.125 * 600.0);
    }

    #[test]
    fn a_view_is_a_function_of_its_name_and_off_means_nothing() {
        let recording = tone(700.0, 40_000);
        let config = AugmentConfig {
            pitch_probability: 0.5,
            pitch_semitones: [-2.0, 2.0],
            stretch_probability: 0.5,
            stretch_speed: [0.8, 1.25],
            ..AugmentConfig::default()
        };
        let views: Vec<_> = (0..40).map(|id| changed(&config, &recording, id)).collect();
        assert_eq!(views, (0..40).map(|id| changed(&config, &recording, id)).collect::<Vec<_>>());
        let unchanged = views.iter().filter(|view| view.is_none()).count();
        assert!((3..=19).contains(&unchanged), "{unchanged}");
        assert!(PitchTime::new(&AugmentConfig::default()).is_none());
    }

    #[test]
    fn short_and_empty_recordings_are_placed_among_silence() {
        for len in [0, 1, 100] {
            let clip = changed(&config(2.0, 0.8), &tone(1000.0, len), 0).unwrap();
            assert!(clip.iter().all(|x| x.is_finite()));
        }
    }
}
