//! Struck resonators as VIMH: each sound is a note, struck at a velocity, that dies away; its image is a spectrogram of
//! 32 bands by 32 moments. Images are scaled to their own loudest and softest value, as the format's writers do, so the
//! velocity cannot be told from loudness alone: a harder stroke is also brighter, as it is on real instruments, and
//! stands out further from the noise.

use std::f64::consts::TAU;
use std::path::Path;

use rayon::prelude::*;
use realfft::RealFftPlanner;
use serde_json::{Map, Value, json};

use super::dsp::{Random, from_db};
use super::{drawing, scaled};
use crate::error::DataError;
use crate::images::vimh::{self as format, Mapping, Parameter, Samples, SetMeta, write_set};
use crate::images::{FormatError, ImageShape};

const SAMPLE_RATE: u32 = 8_000;
const RATE: f64 = SAMPLE_RATE as f64;
const DURATION_SECS: f64 = 1.0;
const NUM_FRAMES: usize = 8_000;
const NAME: &str = "resonator";
/// Samples of both parts at scale 1; four fifths are for training.
const NUM_SAMPLES: usize = 4_096;
const MIN_SAMPLES: usize = 40;

/// Bands and moments of an image.
const SIDE: usize = 32;
const SHAPE: ImageShape = ImageShape { channels: 1, height: SIDE, width: SIDE };
const FFT: usize = 512;
const HOP: usize = NUM_FRAMES / SIDE;
/// Edges of the bands, evenly spaced in pitch.
const BANDS_HZ: [f64; 2] = [100.0, 3_900.0];
/// Softer than that is not in an image, in dB below full scale.
const FLOOR_DB: f64 = -90.0;

/// Overtones of a struck bar of string-like stiffness: frequency ratios stretch a little.
const NUM_PARTIALS: i32 = 8;
const STIFFNESS: f64 = 0.0004;
/// Level of the noise, in dB below full scale.
const NOISE_DB: f64 = -66.0;

/// A parameter on its grid of values.
#[derive(Debug, Clone, Copy)]
struct Grid {
    name: &'static str,
    min: f64,
    max: f64,
    step: f64,
    description: &'static str,
}

const GRIDS: [Grid; 3] = [
    Grid { name: "note_number", min: 48.0, max: 72.0, step: 2.0, description: "MIDI note number" },
    Grid { name: "note_velocity", min: 15.0, max: 127.0, step: 16.0, description: "MIDI velocity" },
    Grid {
        name: "log10_decay_time",
        min: -1.0,
        max: 0.4,
        step: 0.2,
        description: "logarithm of the time in seconds in which the sound falls by 60 dB",
    },
];

impl Grid {
    fn num_classes(&self) -> usize {
        ((self.max - self.min) / self.step).round() as usize + 1
    }

    fn value(&self, class: usize) -> f64 {
        self.min + class as f64 * self.step
    }

    /// As the format's writers have it: truncated.
    fn byte(&self, value: f64) -> u8 {
        // The sum of min and steps may fall short of max by its rounding.
        (255.0 * (value - self.min) / (self.max - self.min) + 1e-6).clamp(0.0, 255.0) as u8
    }

    fn parameter(&self) -> Parameter {
        let mapping = Mapping {
            min: Some(self.min),
            max: Some(self.max),
            step: Some(self.step),
            scale: Some("linear".into()),
            description: Some(self.description.into()),
            ..Mapping::default()
        };
        Parameter { name: self.name.into(), mapping }
    }
}

/// An image with its labels and the dB of its darkest and brightest value.
struct Sound {
    pixels: Vec<u8>,
    labels: [u8; 3],
    scale: [f32; 2],
}

struct Part<'a>(&'a [Sound]);

impl Samples for Part<'_> {
    fn num_samples(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError> {
        if let Some(sound) = self.0.get(index) {
            pixels.copy_from_slice(&sound.pixels);
            labels.copy_from_slice(&sound.labels);
        }
        Ok(())
    }

    fn scale(&self, index: usize) -> [f32; 2] {
        self.0.get(index).map_or([0.0; 2], |sound| sound.scale)
    }
}

/// The official name of the folder of a set.
pub(super) fn folder_name(scale: f64) -> String {
    let num_samples = num_samples(scale);
    format::folder_name([SIDE, SIDE, 1], SAMPLE_RATE, DURATION_SECS, num_samples, NAME, GRIDS.len())
}

fn num_samples(scale: f64) -> usize {
    scaled(NUM_SAMPLES, scale, MIN_SAMPLES)
}

/// Writes a set into `folder`.
///
/// # Errors
/// No space, no permission.
pub(super) fn write(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    let sounds = sounds(seed, num_samples(scale));
    let (train, test) = sounds.split_at(sounds.len() * 4 / 5);
    let meta = SetMeta {
        shape: SHAPE,
        heads: GRIDS.iter().map(Grid::parameter).collect(),
        fixed: Vec::new(),
        further: further(),
    };
    write_set(folder, &folder_name(scale), &meta, &Part(train), &Part(test))?;
    Ok([train.len(), test.len()])
}

fn further() -> Map<String, Value> {
    let keys = json!({
        "sample_rate": SAMPLE_RATE,
        "duration": DURATION_SECS,
        "synth_type": NAME,
        "channel_labels": ["Gray"],
        "spectrogram_config": {
            "type": "log_bands",
            "sample_rate": SAMPLE_RATE,
            "n_fft": FFT,
            "hop_length": HOP,
            "window_type": "hann",
            "n_bins": SIDE,
            "freq_min": BANDS_HZ[0],
            "freq_max": BANDS_HZ[1],
        },
    });
    match keys {
        Value::Object(keys) => keys,
        _ => Map::new(),
    }
}

fn sounds(seed: u64, num: usize) -> Vec<Sound> {
    let spectrogram = Spectrogram::new();
    let work = drawing(num);
    (0..num as u64)
        .into_par_iter()
        .map(|sample| {
            let mut random = Random::new(seed, 2, sample, 0);
            let values = GRIDS.map(|grid| grid.value(random.index(grid.num_classes())));
            let mut labels = [0; 3];
            for ((label, grid), value) in labels.iter_mut().zip(&GRIDS).zip(values) {
                *label = grid.byte(value);
            }
            let decibels = spectrogram.decibels(&strike(values, &mut random));
            let (min, max) =
                decibels.iter().fold((f64::MAX, f64::MIN), |(min, max), &db| (min.min(db), max.max(db)));
            let span = (max - min).max(1e-9);
            let pixels = decibels.iter().map(|db| (255.0 * (db - min) / span).round() as u8).collect();
            work.add(1);
            Sound { pixels, labels, scale: [min as f32, max as f32] }
        })
        .collect()
}

/// The sound of a note, struck at time 0, within (-1, 1).
fn strike([note, velocity, log_decay]: [f64; 3], random: &mut Random) -> Vec<f64> {
    let detune = random.within([-0.1, 0.1]);
    let fundamental = 440.0 * 2f64.powf((note + detune - 69.0) / 12.0);
    let force = velocity / 127.0;
    // Each overtone is softer than the one below by 3 dB at full velocity and 15 dB at none.
    let slope_db = -3.0 - 12.0 * (1.0 - force);
    let noise = from_db(NOISE_DB);
    let mut sound: Vec<f64> = (0..NUM_FRAMES).map(|_| noise * random.normal()).collect();
    for partial in 1..=NUM_PARTIALS {
        let ratio = f64::from(partial) * (1.0 + STIFFNESS * f64::from(partial * partial)).sqrt();
        let hz = fundamental * ratio;
        if hz >= 0.48 * RATE {
            break;
        }
        let level = 0.25 * force * from_db(slope_db * f64::from(partial - 1) + random.within([-0.5, 0.5]));
        // Higher overtones die sooner. A fall by 60 dB is a factor of 1000.
        let decay_secs = 10f64.powf(log_decay) / f64::from(partial).sqrt();
        let decay = 1000f64.powf(-1.0 / (decay_secs * RATE));
        let (sin, cos) = (TAU * hz / RATE).sin_cos();
        let (mut y, mut x) = random.within([0.0, TAU]).sin_cos();
        let mut envelope = level;
        for sample in &mut sound {
            *sample += envelope * y;
            (x, y) = (cos * x - sin * y, sin * x + cos * y);
            envelope *= decay;
        }
    }
    sound
}

/// Bands evenly spaced in pitch, from a Fourier transform.
struct Spectrogram {
    fft: std::sync::Arc<dyn realfft::RealToComplex<f64>>,
    window: Vec<f64>,
    /// Edges of the bands, in bins.
    edges: Vec<f64>,
}

impl Spectrogram {
    fn new() -> Self {
        let window: Vec<f64> =
            (0..FFT).map(|i| 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / FFT as f64).cos()).collect();
        let edge = |i: usize| BANDS_HZ[0] * (BANDS_HZ[1] / BANDS_HZ[0]).powf(i as f64 / SIDE as f64);
        let edges = (0..=SIDE).map(|i| edge(i) * FFT as f64 / RATE).collect();
        Self { fft: RealFftPlanner::new().plan_fft_forward(FFT), window, edges }
    }

    /// Row 0 is the lowest band. Each moment is centred on its hop; before the stroke there is silence.
    fn decibels(&self, sound: &[f64]) -> Vec<f64> {
        let mut decibels = vec![FLOOR_DB; SIDE * SIDE];
        let mut frame = self.fft.make_input_vec();
        let mut spectrum = self.fft.make_output_vec();
        let mut scratch = self.fft.make_scratch_vec();
        // Amplitude 1 is 0 dB.
        let norm = 4.0 / FFT as f64;
        for moment in 0..SIDE {
            let begin = moment * HOP;
            for (i, (sample, window)) in frame.iter_mut().zip(&self.window).enumerate() {
                *sample = window * sound.get(begin + i).copied().unwrap_or(0.0);
            }
            if self.fft.process_with_scratch(&mut frame, &mut spectrum, &mut scratch).is_err() {
                // Lengths come from the plan itself.
                continue;
            }
            for (band, edges) in self.edges.windows(2).enumerate() {
                let power = self.power(&spectrum, edges[0], edges[1]);
                let db = 10.0 * (norm * norm * power).max(1e-30).log10();
                if let Some(value) = decibels.get_mut(band * SIDE + moment) {
                    *value = db.max(FLOOR_DB);
                }
            }
        }
        decibels
    }

    /// Power between two edges; bins on an edge count by their share.
    fn power(&self, spectrum: &[realfft::num_complex::Complex<f64>], low: f64, high: f64) -> f64 {
        let (first, last) = ((low - 0.5).max(0.0).floor() as usize, (high + 0.5).ceil() as usize);
        (first..=last)
            .filter_map(|bin| {
                let share = (high.min(bin as f64 + 0.5) - low.max(bin as f64 - 0.5)).max(0.0);
                spectrum.get(bin).map(|value| share * value.norm_sqr())
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::nearest::accuracy;
    use super::*;

    #[test]
    fn each_parameter_can_be_seen() {
        let sounds = sounds(1, 2400);
        let (train, test) = sounds.split_at(2000);
        let vectors = |part: &[Sound]| -> Vec<Vec<f32>> {
            part.iter().map(|sound| sound.pixels.iter().map(|&p| f32::from(p)).collect()).collect()
        };
        for (head, grid) in GRIDS.iter().enumerate() {
            let labels = |part: &[Sound]| part.iter().map(|sound| sound.labels[head]).collect::<Vec<u8>>();
            let accuracy = accuracy(&vectors(train), &labels(train), &vectors(test), &labels(test));
            let chance = 1.0 / grid.num_classes() as f64;
            println!("nearest neighbour: {} {accuracy:.3}, chance {chance:.3}", grid.name);
            assert!(accuracy > 3.0 * chance, "{}: {accuracy}", grid.name);
        }
    }

    #[test]
    fn labels_give_their_values_back() {
        let range = |grid: &Grid| (grid.max - grid.min) / 255.0;
        for grid in &GRIDS {
            for class in 0..grid.num_classes() {
                let byte = grid.byte(grid.value(class));
                let back = grid.min + f64::from(byte) * range(grid);
                assert!((back - grid.value(class)).abs() < range(grid), "{} {class}", grid.name);
            }
            assert_eq!((grid.byte(grid.min), grid.byte(grid.max)), (0, 255));
        }
    }

    #[test]
    fn a_sound_falls_as_its_decay_says() {
        let mut random = Random::new(0, 0, 0, 0);
        let sound = strike([60.0, 127.0, 0.0], &mut random);
        let rms = |range: std::ops::Range<usize>| super::super::dsp::rms(&sound[range]);
        // 60 dB a second, a tenth of it within a tenth of the time, less what overtones lose sooner.
        let fall_db = 20.0 * (rms(400..800) / rms(1200..1600)).log10();
        assert!((5.0..9.0).contains(&fall_db), "{fall_db}");
    }
}
