//! Drawn objects in the files of CIFAR-10 and of CIFAR-100-MH: the ten things of CIFAR-10 as pictograms, turned, mirrored
//! and shifted, in six colours and three sizes before changing backgrounds. The traits are independent of each other, so
//! that a head can be learned from its own trait only; that of CIFAR-10 is the class.

mod draw;
mod shapes;

use std::path::Path;

use rayon::prelude::*;

use super::dsp::Random;
use super::{drawing, scaled};
use crate::error::DataError;
use crate::images::vimh::{Mapping, Parameter, Samples};
use crate::images::{FormatError, ImageShape, cifar, cifar100mh};
use crate::progress::Work;
pub(super) use draw::scene;
use draw::{SIDE, draw};
pub(super) use shapes::SHAPES;

/// Samples of the two parts at scale 1.
const NUM_TRAIN: usize = 10_000;
const NUM_TEST: usize = 2_000;
/// Every class has samples, also in a tiny set.
const MIN_SAMPLES: usize = 100;

const SHAPE: ImageShape = ImageShape { channels: 3, height: SIDE, width: SIDE };
pub(super) const COLORS: [&str; 6] = ["red", "yellow", "green", "cyan", "blue", "magenta"];
pub(super) const SIZES: [&str; 3] = ["small", "medium", "large"];

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Traits {
    /// Of [`SHAPES`].
    pub class: u8,
    /// Of [`COLORS`].
    pub color: u8,
    /// Of [`SIZES`].
    pub size: u8,
}

struct Part(Vec<(Traits, Vec<u8>)>);

impl Samples for Part {
    fn num_samples(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize, pixels: &mut [u8], labels: &mut [u8]) -> Result<(), FormatError> {
        if let Some((Traits { class, color, size }, image)) = self.0.get(index) {
            pixels.copy_from_slice(image);
            labels.copy_from_slice(&[*class, *color, *size]);
        }
        Ok(())
    }

    fn scale(&self, _index: usize) -> [f32; 2] {
        [0.0, 255.0]
    }
}

/// Writes a set into `folder` under the names of CIFAR-10's binary files.
///
/// # Errors
/// No space, no permission.
pub(super) fn write_cifar10(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    let [train, test] = parts(seed, scale);
    let records = |part: &[(Traits, Vec<u8>)]| -> Vec<u8> {
        part.iter().flat_map(|(traits, image)| std::iter::once(&traits.class).chain(image)).copied().collect()
    };
    let names = cifar::TEN_TRAIN_FILES;
    for (name, batch) in names.iter().zip(train.0.chunks(train.0.len().div_ceil(names.len()))) {
        fs_err::write(folder.join(name), records(batch))?;
    }
    fs_err::write(folder.join(cifar::TEN_TEST_FILE), records(&test.0))?;
    let names: String = SHAPES.iter().map(|(name, _)| format!("{name}\n")).collect();
    fs_err::write(folder.join(cifar::TEN_NAMES_FILE), names)?;
    Ok([train.0.len(), test.0.len()])
}

/// Writes a set into `folder` as CIFAR-100-MH, with the heads `class`, `color` and `size`.
///
/// # Errors
/// No space, no permission.
pub(super) fn write_cifar100mh(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    let [train, test] = parts(seed, scale);
    let head = |name: &str, classes: &[&str]| {
        let names: Vec<String> = classes.iter().enumerate().map(|(i, name)| format!("{i} {name}")).collect();
        let mapping = Mapping {
            min: Some(0.0),
            max: Some(classes.len() as f64 - 1.0),
            step: Some(1.0),
            description: Some(names.join(", ")),
            ..Mapping::default()
        };
        Parameter { name: name.to_owned(), mapping }
    };
    let heads = [head("class", &SHAPES.map(|(name, _)| name)), head("color", &COLORS), head("size", &SIZES)];
    cifar100mh::write_set(folder, SHAPE, &heads, &train, &test)?;
    Ok([train.0.len(), test.0.len()])
}

fn parts(seed: u64, scale: f64) -> [Part; 2] {
    let nums = [NUM_TRAIN, NUM_TEST].map(|num| scaled(num, scale, MIN_SAMPLES));
    let work = drawing(nums.iter().sum());
    [(1, nums[0]), (0, nums[1])].map(|(purpose, num)| part(seed, purpose, num, &work))
}

fn part(seed: u64, purpose: u64, num_samples: usize, work: &Work) -> Part {
    let sample = |sample: u64| {
        let mut random = Random::new(seed, purpose, sample, 0);
        let mut class = |num_classes: usize| random.index(num_classes) as u8;
        let traits =
            Traits { class: class(SHAPES.len()), color: class(COLORS.len()), size: class(SIZES.len()) };
        let drawn = draw(traits, &mut random);
        work.add(1);
        (traits, drawn)
    };
    Part((0..num_samples as u64).into_par_iter().map(sample).collect())
}

#[cfg(test)]
mod tests {
    use super::super::nearest::accuracy;
    use super::*;

    /// How far each pixel is from grey: what shape there is, whatever its colour.
    fn saturation(image: &[u8]) -> Vec<f32> {
        let channel = |index: usize, pixel: usize| f32::from(image[index * SIDE * SIDE + pixel]);
        (0..SIDE * SIDE)
            .map(|pixel| {
                let rgb = [0, 1, 2].map(|index| channel(index, pixel));
                let (least, most) = rgb.iter().fold((255.0f32, 0.0f32), |(a, b), x| (a.min(*x), b.max(*x)));
                (most - least) / (most + 16.0)
            })
            .collect()
    }

    /// Mean hue, weighted by saturation, as a point on a circle.
    fn hue(image: &[u8]) -> Vec<f32> {
        let mut sum = [0.0f32; 2];
        for (pixel, saturation) in saturation(image).into_iter().enumerate().filter(|(_, s)| *s > 0.35) {
            let [r, g, b] = [0, 1, 2].map(|index| f32::from(image[index * SIDE * SIDE + pixel]));
            let (x, y) = (r - (g + b) / 2.0, 3f32.sqrt() / 2.0 * (g - b));
            let length = x.hypot(y).max(1e-6);
            sum[0] += saturation * x / length;
            sum[1] += saturation * y / length;
        }
        let length = sum[0].hypot(sum[1]).max(1e-6);
        sum.iter().map(|x| x / length).collect()
    }

    #[test]
    fn each_trait_can_be_seen_but_not_from_pixels_alone() {
        let (train, test) = (part(3, 1, 3000, &drawing(0)), part(3, 0, 300, &drawing(0)));
        let knn = |feature: fn(&[u8]) -> Vec<f32>, of: fn(&Traits) -> u8| {
            let features = |part: &Part| part.0.iter().map(|(_, image)| feature(image)).collect::<Vec<_>>();
            let labels = |part: &Part| part.0.iter().map(|(traits, _)| of(traits)).collect::<Vec<u8>>();
            accuracy(&features(&train), &labels(&train), &features(&test), &labels(&test))
        };
        let raw = |image: &[u8]| image.iter().map(|&p| f32::from(p)).collect();
        let area = |image: &[u8]| vec![saturation(image).iter().filter(|s| **s > 0.35).count() as f32];
        let pixels = knn(raw, |traits| traits.class);
        let class = knn(saturation, |traits| traits.class);
        let color = knn(hue, |traits| traits.color);
        let size = knn(area, |traits| traits.size);
        println!("nearest neighbour: pixels {pixels:.3}, class {class:.3}, color {color:.3}, size {size:.3}");
        assert!(class > 0.35 && color > 0.9 && size > 0.6);
        assert!(pixels > 0.13 && pixels < 0.5);
    }

    #[test]
    fn traits_are_balanced_and_independent() {
        let part = part(0, 1, 3600, &drawing(0));
        let mut counts = [0u32; 180];
        for (Traits { class, color, size }, _) in &part.0 {
            counts[usize::from(*class) * 18 + usize::from(*color) * 3 + usize::from(*size)] += 1;
        }
        // 20 of each combination; the chi-squared of 179 degrees of freedom has a standard deviation of 19.
        let chi: f64 = counts.iter().map(|&count| (f64::from(count) - 20.0).powi(2) / 20.0).sum();
        assert!((chi - 179.0).abs() < 76.0, "{chi}");
    }

    #[test]
    fn an_object_stays_in_the_picture() {
        for (traits, image) in &part(1, 1, 600, &drawing(0)).0 {
            let coloured = saturation(image).iter().filter(|s| **s > 0.35).count();
            assert!(coloured > 25, "{traits:?}: {coloured} pixels");
        }
    }
}
