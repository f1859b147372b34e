//! Small recordings: tones that tell classes apart, each with its own noise.

use std::path::Path;

/// Rate of the recordings, in Hz.
const SAMPLE_RATE: u32 = 8000;
/// Length of a recording: a quarter of a second.
const NUM_SAMPLES: usize = 2000;

/// Writes `per_class` recordings into a folder for each of `classes` below `root`.
pub fn write_classes(root: &Path, classes: &[&str], per_class: usize) {
    for (number, class) in (1u32..).zip(classes) {
        let folder = root.join(class);
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        for clip in 0..per_class {
            let seed = number * 1000 + clip as u32;
            write_wav(&folder.join(format!("{clip:03}.wav")), &tone(300.0 * f64::from(number), seed));
        }
    }
}

/// A tone of `frequency` Hz with noise.
fn tone(frequency: f64, seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let phase = f64::from(seed) * 0.7;
    (0..NUM_SAMPLES)
        .map(|i| {
            // xorshift32 (Marsaglia 2003).
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let noise = f64::from(state) / f64::from(u32::MAX) - 0.5;
            let time = i as f64 / f64::from(SAMPLE_RATE);
            0.4 * (std::f64::consts::TAU * frequency * time + phase).sin() + 0.1 * noise
        })
        .collect()
}

/// Writes samples in (-1, 1) with 16 bits.
pub fn write_wav(path: &Path, samples: &[f64]) {
    let mut writer =
        hound::WavWriter::create(path, spec(16, hound::SampleFormat::Int)).expect("the file can be made");
    for sample in samples {
        writer.write_sample((sample * 32_767.0) as i16).expect("the sample can be written");
    }
    writer.finalize().expect("the file can be finished");
}

/// Writes any values as 32-bit floats.
pub fn write_float_wav(path: &Path, samples: &[f32]) {
    let mut writer =
        hound::WavWriter::create(path, spec(32, hound::SampleFormat::Float)).expect("the file can be made");
    for sample in samples {
        writer.write_sample(*sample).expect("the sample can be written");
    }
    writer.finalize().expect("the file can be finished");
}

fn spec(bits_per_sample: u16, sample_format: hound::SampleFormat) -> hound::WavSpec {
    hound::WavSpec { channels: 1, sample_rate: SAMPLE_RATE, bits_per_sample, sample_format }
}
