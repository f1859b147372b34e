//! Random numbers as a function of what they are for, so that a view depends on nothing but its name: seed, epoch,
//! sample and view. No generator is carried along, and ranks, threads and order cannot matter.
//!
//! The generator is Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a keyed
//! bijection of 128-bit counters. The key is the seed; the counter holds sample, epoch, view and purpose, and the
//! block within the stream, so two streams never share a block.

use crate::simd::{dispatch_simd, ln, sin_cos_turns};

const ROUNDS: usize = 10;
const MULTIPLIERS: [u32; 2] = [0xd251_1f53, 0xcd9e_8d57];
const KEY_STEPS: [u32; 2] = [0x9e37_79b9, 0xbb67_ae85];

/// Blocks that are computed together.
const LANES: usize = 64;
/// Gaussian numbers from [`LANES`] blocks.
const CHUNK: usize = 4 * LANES;

/// What random numbers are for. Each purpose has its own stream: switching one augmentation off leaves the draws of
/// the others as they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Place of the crop.
    Crop = 0,
    /// Shift in time.
    Shift = 1,
    /// Gain.
    Gain = 2,
    /// Whether noise is added, and how loud.
    NoiseLevel = 3,
    /// The noise itself.
    Noise = 4,
    /// Places and widths of the masks.
    SpecAugment = 5,
    /// Initial weights, whose name is in the seed.
    Weights = 6,
    /// Features that dropout sets to zero; the step stands for the epoch.
    Dropout = 7,
    /// Samples that are shown to people.
    Shown = 8,
    /// Samples of a global batch that are put into numbered slots; the step stands for the epoch, the slot for the sample.
    Slots = 9,
    /// Whether an image is mirrored.
    Flip = 10,
    /// Brightness, contrast, saturation and hue, and their order.
    Jitter = 11,
    /// Whether an image loses its colours.
    Grayscale = 12,
    /// Whether an image is blurred, and how far.
    Blur = 13,
    /// Whether bright pixels of an image are inverted.
    Solarize = 14,
    /// Which of several changes a spectrogram has, and how strong it is.
    Transform = 15,
    /// Noise on a spectrogram.
    TransformNoise = 16,
    /// Pitch shift and time stretch.
    PitchTime = 17,
}

/// The name of one view of one sample in one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewKey {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch; counted modulo 2^32.
    pub epoch: u64,
    /// Sample id.
    pub sample_id: u32,
    /// View of the sample; counted modulo 2^24.
    pub view: u32,
}

impl ViewKey {
    /// The random numbers of this view for one purpose.
    pub fn stream(&self, purpose: Purpose) -> Stream {
        Stream {
            key: [self.seed as u32, (self.seed >> 32) as u32],
            name: [self.sample_id, self.epoch as u32, self.view << 8 | purpose as u32],
            next_block: 0,
            words: [0; 4],
            num_left: 0,
        }
    }
}

/// The random numbers of `(seed, epoch, sample_id, view)` for one purpose.
pub fn stream(seed: u64, epoch: u64, sample_id: u32, view: u32, purpose: Purpose) -> Stream {
    ViewKey { seed, epoch, sample_id, view }.stream(purpose)
}

/// A stream of random numbers; holds up to 2^34 words of 32 bits.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    name: [u32; 3],
    next_block: u32,
    words: [u32; 4],
    num_left: usize,
}

impl Stream {
    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.num_left == 0 {
            let [sample, epoch, view] = self.name;
            self.words = philox(self.key, [self.next_block, sample, epoch, view]);
            self.next_block = self.next_block.wrapping_add(1);
            self.num_left = 4;
        }
        self.num_left -= 1;
        let word = self.words[0];
        self.words.rotate_left(1);
        word
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in [0, 1), a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform between `low` and `high`.
    pub fn uniform_in(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Uniform among the integers `0..=max`.
    ///
    /// By multiplication (Lemire 2019) without the rejection step: a probability is off by at most `max` * 2^-64 of
    /// itself, and every call consumes the same number of words.
    pub fn up_to(&mut self, max: usize) -> usize {
        ((u128::from(self.next_u64()) * (max as u128 + 1)) >> 64) as usize
    }

    /// Adds Gaussian noise with standard deviation `scale` to `samples`.
    ///
    /// Starts at a fresh block. The i-th number does not depend on how many are drawn. By Box and Muller (1958) from
    /// 31 bits of radius and 32 bits of angle: the largest number is 6.7, which one in 2^36 would exceed.
    pub fn add_gaussian(&mut self, scale: f32, samples: &mut [f32]) {
        self.num_left = 0;
        add_gaussian(self.key, self.name, self.next_block, scale, samples);
        let blocks = samples.len().div_ceil(CHUNK) * LANES;
        self.next_block = self.next_block.wrapping_add(blocks as u32);
    }
}

/// One block of Philox 4x32-10.
#[inline(always)]
fn philox(mut key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    // The words live in 64-bit lanes, where vector units multiply. Their upper halves hold leftovers between
    // rounds: the multiplication looks at the lower halves only.
    const LOW: u64 = 0xffff_ffff;
    let mut words = counter.map(u64::from);
    for _ in 0..ROUNDS {
        let left = u64::from(MULTIPLIERS[0]) * (words[0] & LOW);
        let right = u64::from(MULTIPLIERS[1]) * (words[2] & LOW);
        words = [
            (right >> 32) ^ words[1] ^ u64::from(key[0]),
            right,
            (left >> 32) ^ words[3] ^ u64::from(key[1]),
            left,
        ];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    words.map(|word| word as u32)
}

dispatch_simd! {
    fn add_gaussian(key: [u32; 2], name: [u32; 3], first_block: u32, scale: f32, samples: &mut [f32]) {
        let mut bits = [[0u32; LANES]; 4];
        let mut noise = [0.0f32; CHUNK];
        let mut block = first_block;
        for chunk in samples.chunks_mut(CHUNK) {
            fill_blocks(key, name, block, &mut bits);
            block = block.wrapping_add(LANES as u32);
            let [radius_a, angle_a, radius_b, angle_b] = &bits;
            let (first, second) = noise.split_at_mut(CHUNK / 2);
            box_muller(radius_a, angle_a, first);
            box_muller(radius_b, angle_b, second);
            for (x, n) in chunk.iter_mut().zip(&noise) {
                *x += scale * n;
            }
        }
    }
}

/// Blocks `first..first + LANES` of a stream, word by word.
#[inline(always)]
fn fill_blocks(key: [u32; 2], name: [u32; 3], first: u32, bits: &mut [[u32; LANES]; 4]) {
    let [a, b, c, d] = bits;
    let rows = a.iter_mut().zip(b).zip(c).zip(d);
    for (lane, (((a, b), c), d)) in (0u32..).zip(rows) {
        [*a, *b, *c, *d] = philox(key, [first.wrapping_add(lane), name[0], name[1], name[2]]);
    }
}

/// Writes 2 * [`LANES`] Gaussian numbers.
#[inline(always)]
fn box_muller(radius_bits: &[u32; LANES], angle_bits: &[u32; LANES], noise: &mut [f32]) {
    let (cosines, sines) = noise.split_at_mut(LANES);
    let bits = radius_bits.iter().zip(angle_bits);
    for ((x, y), (&radius_bits, &angle_bits)) in cosines.iter_mut().zip(sines).zip(bits) {
        // Centres of 2^31 cells of (0, 1), so that the logarithm is finite; rounding may reach 1 but not 0.
        let u = ((radius_bits >> 1) as i32 as f32 + 0.5) * (1.0 / (1u64 << 31) as f32);
        let turns = angle_bits as i32 as f32 * (1.0 / (1u64 << 32) as f32);
        let radius = (-2.0 * ln(u)).max(0.0).sqrt();
        let (sin, cos) = sin_cos_turns(turns);
        *x = radius * cos;
        *y = radius * sin;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaussian(key: ViewKey, len: usize) -> Vec<f32> {
        let mut noise = vec![0.0; len];
        key.stream(Purpose::Noise).add_gaussian(1.0, &mut noise);
        noise
    }

    const KEY: ViewKey = ViewKey { seed: 7, epoch: 3, sample_id: 11, view: 1 };

    #[test]
    fn philox_matches_the_vectors_of_its_authors() {
        assert_eq!(philox([0, 0], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0, !0], [!0; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0xa409_3822, 0x299f_31d0], [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn blocks_that_are_computed_together_equal_single_ones() {
        let mut rows = [[0; LANES]; 4];
        fill_blocks([1, 2], [3, 4, 5], u32::MAX - 2, &mut rows);
        for lane in 0..LANES {
            let block = philox([1, 2], [(u32::MAX - 2).wrapping_add(lane as u32), 3, 4, 5]);
            assert_eq!(rows.map(|row| row[lane]), block);
        }
    }

    #[test]
    fn every_part_of_the_name_gives_another_stream() {
        let mut firsts = Vec::new();
        for seed in [0, 1, 1 << 32] {
            for epoch in 0..3 {
                for sample in 0..3 {
                    for view in 0..3 {
                        for purpose in [Purpose::Crop, Purpose::Gain, Purpose::SpecAugment] {
                            firsts.push(stream(seed, epoch, sample, view, purpose).next_u64());
                        }
                    }
                }
            }
        }
        let num_streams = firsts.len();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), num_streams);
    }

    #[test]
    fn integers_are_uniform_over_the_closed_range() {
        let mut counts = [0u32; 7];
        for sample in 0..70_000 {
            counts[stream(0, 0, sample, 0, Purpose::Crop).up_to(6)] += 1;
        }
        // Standard deviation of a count: 92.6.
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 500), "{counts:?}");
        assert_eq!(stream(0, 0, 0, 0, Purpose::Crop).up_to(0), 0);
        assert!(stream(0, 0, 0, 0, Purpose::Crop).up_to(usize::MAX) > 0);
    }

    #[test]
    fn gaussian_noise_has_the_moments_and_tails_of_a_gaussian() {
        let n = 4_000_000;
        let noise = gaussian(KEY, n);
        let moment = |k: i32| noise.iter().map(|&x| f64::from(x).powi(k)).sum::<f64>() / n as f64;
        let beyond = |t: f32| noise.iter().filter(|x| x.abs() > t).count() as f64 / n as f64;
        // Tolerances: about five standard errors at this n.
        assert!(moment(1).abs() < 0.0025, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.0036, "variance {}", moment(2));
        assert!(moment(3).abs() < 0.01, "third moment {}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.025, "fourth moment {}", moment(4));
        assert!((moment(6) - 15.0).abs() < 0.25, "sixth moment {}", moment(6));
        assert!((beyond(1.0) - 0.317_310_5).abs() < 0.0012);
        assert!((beyond(3.0) - 0.002_699_8).abs() < 0.000_13, "beyond 3: {}", beyond(3.0));
        assert!((beyond(4.0) - 6.334e-5).abs() < 2e-5, "beyond 4: {}", beyond(4.0));
        assert!(noise.iter().all(|x| x.is_finite() && x.abs() < 6.8));
    }

    #[test]
    fn gaussian_noise_follows_the_distribution_function() {
        // Kolmogorov-Smirnov against Phi by numerical integration on a grid of 1000 points.
        let mut noise = gaussian(KEY, 1_000_000);
        noise.sort_unstable_by(f32::total_cmp);
        let (mut phi, mut x, mut worst) = (0.0f64, -8.0f64, 0.0f64);
        let step = 0.008;
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        for _ in 0..2000 {
            phi += step / 6.0 * (density(x) + 4.0 * density(x + step / 2.0) + density(x + step));
            x += step;
            let below = noise.partition_point(|&v| f64::from(v) <= x) as f64 / noise.len() as f64;
            worst = worst.max((below - phi).abs());
        }
        // The 0.1 % point is 1.95 / sqrt(n).
        assert!(worst < 1.95e-3, "{worst}");
    }

    #[test]
    fn gaussian_noise_is_uncorrelated_over_time_views_and_samples() {
        let n = 1_000_000;
        let noise = gaussian(KEY, n + 64);
        let bound = 5.0 / (n as f64).sqrt();
        let correlation =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(x * y)).sum::<f64>() / n as f64;
        for lag in 1..=64 {
            let c = correlation(&noise[..n], &noise[lag..]);
            assert!(c.abs() < bound, "lag {lag}: {c}");
        }
        for other in [
            ViewKey { seed: 8, ..KEY },
            ViewKey { epoch: 4, ..KEY },
            ViewKey { sample_id: 12, ..KEY },
            ViewKey { view: 0, ..KEY },
        ] {
            let c = correlation(&noise[..n], &gaussian(other, n));
            assert!(c.abs() < bound, "{other:?}: {c}");
            // Squares catch dependence that signs hide.
            let squares = |v: &[f32]| v.iter().map(|x| x * x - 1.0).collect::<Vec<_>>();
            let c = correlation(&squares(&noise[..n]), &squares(&gaussian(other, n)));
            assert!(c.abs() < 2.0 * bound, "{other:?}: squares {c}");
        }
    }

    #[test]
    fn a_prefix_of_the_noise_does_not_depend_on_the_length() {
        let long = gaussian(KEY, 1000);
        for len in [0, 1, 31, 255, 256, 257, 999] {
            assert_eq!(gaussian(KEY, len), long[..len]);
        }
    }

    #[test]
    fn the_stream_goes_on_after_noise_without_reuse() {
        let mut stream = KEY.stream(Purpose::Noise);
        let (mut first, mut second) = (vec![0.0; 100], vec![0.0; 100]);
        stream.add_gaussian(1.0, &mut first);
        stream.add_gaussian(1.0, &mut second);
        assert!(first.iter().all(|x| !second.contains(x)));
    }
}
