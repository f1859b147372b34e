//! Drawn digits in the files of MNIST: strokes whose thickness and smoothness are known, because they are drawn so.
//! All three labels are independent of each other, so that a head can be learned from its own trait only.

mod draw;
mod shapes;

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::dsp::Random;
use super::{drawing, scaled};
use crate::error::DataError;
use crate::images::idx::{write_images, write_labels};
use crate::progress::Work;
use draw::{SIDE, draw};

/// Samples of the two parts at scale 1.
const NUM_TRAIN: usize = 12_000;
const NUM_TEST: usize = 2_000;
/// Every class has samples, also in a tiny set.
const MIN_SAMPLES: usize = 100;

const ALL_DIGITS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const THICKNESSES: [&str; 5] = ["very thin", "thin", "medium", "thick", "very thick"];
const SMOOTHNESSES: [&str; 3] = ["straight", "rounded", "wobbly"];

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traits {
    digit: u8,
    /// Of [`THICKNESSES`].
    thickness: u8,
    /// Of [`SMOOTHNESSES`].
    smoothness: u8,
}

struct Part {
    name: &'static str,
    pixels: Vec<u8>,
    traits: Vec<Traits>,
}

/// Digits alone, without their other traits.
#[derive(Debug)]
pub(super) struct Digits {
    /// One after the other.
    pub pixels: Vec<u8>,
    /// Of each image.
    pub digits: Vec<u8>,
}

/// So many of these digits of the training and of the test part, drawn by a seed.
pub(super) fn digits_of(seed: u64, nums: [usize; 2], among: &[u8]) -> [Digits; 2] {
    let work = drawing(nums.iter().sum());
    [("train", nums[0]), ("t10k", nums[1])].map(|(name, num)| {
        let Part { pixels, traits, .. } = part(name, (seed, among), num, &work);
        Digits { pixels, digits: traits.iter().map(|traits| traits.digit).collect() }
    })
}

/// Samples of both parts of a set of this size.
pub(super) fn lens(scale: f64) -> [usize; 2] {
    [NUM_TRAIN, NUM_TEST].map(|num| scaled(num, scale, MIN_SAMPLES))
}

/// Writes the files of a set into `folder`: images and digits under MNIST's names, thickness and smoothness as further
/// label files of the same form, and `heads.json` with the names of their classes.
///
/// # Errors
/// No space, no permission.
pub(super) fn write(seed: u64, scale: f64, folder: &Path) -> Result<[usize; 2], DataError> {
    let nums = lens(scale);
    let work = drawing(nums.iter().sum());
    let of = (seed, &ALL_DIGITS[..]);
    let parts = [part("train", of, nums[0], &work), part("t10k", of, nums[1], &work)];
    drop(work);
    for Part { name, pixels, traits } in &parts {
        write_images(&folder.join(format!("{name}-images-idx3-ubyte")), SIDE as u32, SIDE as u32, pixels)?;
        let labels = |file: &str, of: fn(&Traits) -> u8| {
            let labels: Vec<u8> = traits.iter().map(of).collect();
            write_labels(&folder.join(format!("{name}-{file}-idx1-ubyte")), &labels)
        };
        labels("labels", |traits| traits.digit)?;
        labels("thickness", |traits| traits.thickness)?;
        labels("smoothness", |traits| traits.smoothness)?;
    }
    let heads = json!({
        "digit": {"num_classes": 10},
        "thickness": {"class_names": THICKNESSES},
        "smoothness": {"class_names": SMOOTHNESSES},
    });
    let json = serde_json::to_vec_pretty(&heads).map_err(std::io::Error::from)?;
    fs_err::write(folder.join("heads.json"), json)?;
    Ok(parts.map(|part| part.traits.len()))
}

fn part(name: &'static str, (seed, among): (u64, &[u8]), num_samples: usize, work: &Work) -> Part {
    let purpose = u64::from(name == "train");
    let drawn: Vec<(Traits, Vec<u8>)> = (0..num_samples as u64)
        .into_par_iter()
        .map(|sample| {
            let mut random = Random::new(seed, purpose, sample, 0);
            let mut class = |num_classes: usize| random.index(num_classes) as u8;
            let traits = Traits {
                digit: among.get(usize::from(class(among.len()))).copied().unwrap_or_default(),
                thickness: class(THICKNESSES.len()),
                smoothness: class(SMOOTHNESSES.len()),
            };
            let drawn = draw(traits, &mut random);
            work.add(1);
            (traits, drawn)
        })
        .collect();
    let traits = drawn.iter().map(|(traits, _)| *traits).collect();
    let pixels = drawn.into_iter().flat_map(|(_, pixels)| pixels).collect();
    Part { name, pixels, traits }
}

#[cfg(test)]
mod tests {
    use super::super::nearest::accuracy;
    use super::*;

    #[test]
    fn each_trait_can_be_seen() {
        let work = drawing(0);
        let of = (3, &ALL_DIGITS[..]);
        let (train, test) = (part("train", of, 3000, &work), part("t10k", of, 400, &work));
        let vectors = |part: &Part| -> Vec<Vec<f32>> {
            part.pixels
                .chunks_exact(SIDE * SIDE)
                .map(|image| image.iter().map(|&p| f32::from(p)).collect())
                .collect()
        };
        let knn = |of: fn(&Traits) -> u8| {
            let labels = |part: &Part| part.traits.iter().map(of).collect::<Vec<u8>>();
            accuracy(&vectors(&train), &labels(&train), &vectors(&test), &labels(&test))
        };
        let digit = knn(|traits| traits.digit);
        let thickness = knn(|traits| traits.thickness);
        let smoothness = knn(|traits| traits.smoothness);
        println!("nearest neighbour: digit {digit:.3}, thickness {thickness:.3}, smoothness {smoothness:.3}");
        assert!(digit > 0.9 && thickness > 0.5 && smoothness > 0.5);
    }

    #[test]
    fn ink_grows_with_thickness_and_labels_are_balanced() {
        let part = part("train", (0, &ALL_DIGITS), 3000, &drawing(3000));
        let mut ink = [0u64; 5];
        let mut counts = [0u64; 5];
        for (traits, image) in part.traits.iter().zip(part.pixels.chunks_exact(SIDE * SIDE)) {
            ink[usize::from(traits.thickness)] += image.iter().map(|&p| u64::from(p)).sum::<u64>();
            counts[usize::from(traits.thickness)] += 1;
            assert!(image.iter().any(|&p| p > 150), "{traits:?}");
            // A margin of a pixel at least, as MNIST has.
            assert!(image[..SIDE].iter().chain(&image[SIDE * (SIDE - 1)..]).all(|&p| p < 30), "{traits:?}");
        }
        let mean: Vec<u64> = ink.iter().zip(counts).map(|(ink, count)| ink / count).collect();
        assert!(mean.is_sorted() && mean[4] > 2 * mean[0], "{mean:?}");
        assert!(counts.iter().all(|&count| count.abs_diff(600) < 120), "{counts:?}");
    }
}
