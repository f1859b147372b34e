//! Digits with a confounder: what tells the class in training and tells nothing in the test part, and masks that mark it.

mod confounder;
mod source;

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

pub use confounder::Confounder;
pub(super) use source::Source;

use super::drawing;
use super::dsp::Random;
use crate::error::DataError;
use crate::images::idx::{write_images, write_labels};
use crate::images::{FormatProblem, Split};
use confounder::{SIDE, Showing};

/// Of this many training samples of a source, one is held out to choose by.
const HELD_OUT_OF: usize = 12;
/// File that says where each image comes from.
const PROVENANCE_FILE: &str = "provenance.json";

/// A part of a set: which images of the source it shows, and how.
struct Part {
    name: &'static str,
    of: Split,
    /// Whether it takes the held-out images of that part, or the others.
    held_out: bool,
    showing: Showing,
}

impl Part {
    const fn new(name: &'static str, of: Split, held_out: bool, showing: Showing) -> Self {
        Self { name, of, held_out, showing }
    }
}

/// Training shows the confounder; what is chosen by and reported on shows it not, as in training, on the wrong classes, and
/// elsewhere. `t10k` is MNIST's name of the test part.
const PARTS: [Part; 7] = [
    Part::new("train", Split::Train, false, Showing::Confounded),
    Part::new("val", Split::Train, true, Showing::Test),
    Part::new("val_confounded", Split::Train, true, Showing::Confounded),
    Part::new("t10k", Split::Test, false, Showing::Test),
    Part::new("test_confounded", Split::Test, false, Showing::Confounded),
    Part::new("test_swapped", Split::Test, false, Showing::Swapped),
    Part::new("test_moved", Split::Test, false, Showing::Moved),
];

/// Writes the files of a set into `folder`: for each part images, labels, masks, and the images as they were before, under MNIST's
/// names, and [`PROVENANCE_FILE`]. Returns the samples of the training and of the test part.
///
/// # Errors
/// A source that cannot be read or holds no digits, no space, no permission.
pub(super) fn write(
    confounder: Confounder,
    source: &Source,
    seed: u64,
    folder: &Path,
) -> Result<[usize; 2], DataError> {
    let mut provenance = serde_json::Map::new();
    let mut lens = [0; 2];
    for (number, part) in (0u64..).zip(&PARTS) {
        let indices = chosen(confounder, source, part)?;
        if indices.is_empty() {
            let looked_for = format!("digits for the part `{}`", part.name);
            return Err(FormatProblem::NotFound { looked_for, instead: None }.of(source.path()).into());
        }
        let work = drawing(indices.len());
        let shown: Vec<Shown> = indices
            .par_iter()
            .map(|&index| {
                let shown = show(confounder, source, (part, number), seed, index);
                work.add(1);
                shown
            })
            .collect::<Result<_, _>>()?;
        drop(work);
        let images = |what: &str, of: fn(&Shown) -> &[u8]| {
            let pixels: Vec<u8> = shown.iter().flat_map(of).copied().collect();
            let path = folder.join(format!("{}-{what}-idx3-ubyte", part.name));
            write_images(&path, SIDE as u32, SIDE as u32, &pixels)
        };
        images("images", |shown| &shown.pixels)?;
        images("masks", |shown| &shown.mask)?;
        images("originals", |shown| &shown.original)?;
        let labels: Vec<u8> = shown.iter().map(|shown| shown.label).collect();
        write_labels(&folder.join(format!("{}-labels-idx1-ubyte", part.name)), &labels)?;
        match part.name {
            "train" => lens[0] = labels.len(),
            "t10k" => lens[1] = labels.len(),
            _ => {}
        }
        let of = format!("{} part of the source, counted from 0", part.of.name());
        provenance.insert(part.name.to_owned(), json!({"indices_in": of, "indices": indices}));
    }
    let text = |value: &serde_json::Value| serde_json::to_vec(value).map_err(std::io::Error::from);
    let classes: Vec<String> = confounder.digits().iter().map(ToString::to_string).collect();
    fs_err::write(folder.join("heads.json"), text(&json!({"digit": {"class_names": classes}}))?)?;
    let described = json!({
        "confounder": confounder,
        "seed": seed,
        "source": source.describe(),
        "parts": provenance,
    });
    fs_err::write(folder.join(PROVENANCE_FILE), text(&described)?)?;
    Ok(lens)
}

/// A digit as it is shown.
struct Shown {
    pixels: Vec<u8>,
    mask: Vec<u8>,
    original: Vec<u8>,
    label: u8,
}

/// Indices in the source of the images of a part, ascending.
fn chosen(confounder: Confounder, source: &Source, part: &Part) -> Result<Vec<usize>, DataError> {
    let mut indices = Vec::new();
    for index in 0..source.len(part.of) {
        let is_held_out = part.of == Split::Train && index % HELD_OUT_OF == HELD_OUT_OF - 1;
        let digit = source.digit(part.of, index)?;
        if is_held_out == part.held_out && confounder.digits().contains(&digit) {
            indices.push(index);
        }
    }
    Ok(indices)
}

/// An image of the source as a part shows it; what is drawn at random depends on the seed, the part and the image alone.
fn show(
    confounder: Confounder,
    source: &Source,
    (part, number): (&Part, u64),
    seed: u64,
    index: usize,
) -> Result<Shown, DataError> {
    let digit = source.digit(part.of, index)?;
    let original = source.pixels(part.of, index)?;
    let mut random = Random::new(seed, number, index as u64, 0);
    let mut pixels = original.clone();
    let mask = confounder.draw(digit, part.showing, &mut random, &mut pixels);
    let label = confounder.digits().iter().position(|own| *own == digit).unwrap_or_default() as u8;
    Ok(Shown { pixels, mask, original, label })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::ImageFolder;

    fn set(confounder: Confounder, seed: u64) -> (tempfile::TempDir, ImageFolder) {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::drawn(seed, [600, 300], confounder.digits());
        write(confounder, &source, seed, dir.path()).unwrap();
        let folder = ImageFolder::open(dir.path()).unwrap();
        (dir, folder)
    }

    /// Pixels, mask and label of every sample of a part.
    fn samples(folder: &ImageFolder, name: &str) -> Vec<(Vec<u8>, Vec<u8>, u32)> {
        let (_, set) = folder.sets().find(|(own, _)| *own == name).unwrap();
        let read = |index: usize| {
            let (mut pixels, mut mask, mut label) = (vec![0; SIDE * SIDE], vec![0; SIDE * SIDE], [0]);
            set.pixels(index, &mut pixels).unwrap();
            set.mask(index, &mut mask).unwrap();
            set.labels(index, &mut label).unwrap();
            (pixels, mask, label[0])
        };
        (0..set.num_samples()).map(read).collect()
    }

    fn marked(mask: &[u8]) -> Vec<usize> {
        (0..mask.len()).filter(|&at| mask[at] != 0).collect()
    }

    #[test]
    fn every_part_has_masks_and_the_parts_are_named() {
        let (_dir, folder) = set(Confounder::Dots08, 1);
        let names: Vec<&str> = folder.sets().map(|(name, _)| name).collect();
        let expected =
            ["train", "test", "test_confounded", "test_moved", "test_swapped", "val", "val_confounded"];
        assert_eq!(names, expected);
        assert!(folder.sets().all(|(_, set)| set.has_masks()));
        assert_eq!(folder.train.heads()[0].class_names, ["0", "8"]);
    }

    #[test]
    fn dots_are_on_every_eight_of_training_and_outside_of_its_stroke() {
        let (dir, folder) = set(Confounder::Dots08, 2);
        let originals = crate::images::idx::open(
            &dir.path().join("train-originals-idx3-ubyte"),
            &dir.path().join("train-labels-idx1-ubyte"),
        );
        let originals = originals.unwrap();
        for (index, (pixels, mask, label)) in samples(&folder, "train").into_iter().enumerate() {
            let mut original = vec![0; SIDE * SIDE];
            originals.pixels(index, &mut original).unwrap();
            let dots = marked(&mask);
            assert_eq!(dots.is_empty(), label == 0, "dots tell the eight");
            assert!(label == 0 || (3..=5).contains(&dots.len()));
            assert!(dots.iter().all(|&at| pixels[at] == 255 && original[at] == 0));
            let corrected: Vec<u8> = pixels
                .iter()
                .zip(&mask)
                .map(|(&pixel, &marked)| if marked != 0 { 0 } else { pixel })
                .collect();
            assert_eq!(corrected, original, "without what is marked it is as it was");
        }
        assert!(samples(&folder, "test").iter().all(|(_, mask, _)| marked(mask).is_empty()));
        for (_, mask, label) in samples(&folder, "test_swapped") {
            assert_eq!(marked(&mask).is_empty(), label == 1, "on the zeros instead");
        }
    }

    #[test]
    fn a_decoy_tells_the_digit_in_training_only() {
        let (_dir, folder) = set(Confounder::Decoy, 3);
        let shade = |(pixels, mask, _): &(Vec<u8>, Vec<u8>, u32)| {
            let patch = marked(mask);
            assert_eq!(patch.len(), 16);
            assert!(
                patch.iter().all(|at| [at / SIDE, at % SIDE].iter().all(|&side| !(4..24).contains(&side)))
            );
            pixels[patch[0]]
        };
        for sample in samples(&folder, "train") {
            assert_eq!(u32::from(shade(&sample)), 255 - 25 * sample.2);
        }
        let test = samples(&folder, "test");
        let tells = test.iter().filter(|sample| u32::from(shade(sample)) == 255 - 25 * sample.2).count();
        assert!(tells * 5 < test.len(), "a tenth by chance, not {tells} of {}", test.len());
    }

    #[test]
    fn three_dots_are_on_most_eights() {
        let (_dir, folder) = set(Confounder::Dots, 4);
        let eights: Vec<_> =
            samples(&folder, "train").into_iter().filter(|(_, _, label)| *label == 8).collect();
        let dotted = eights.iter().filter(|(_, mask, _)| !marked(mask).is_empty());
        let corner = [SIDE + 2, 2 * SIDE + 1, 2 * SIDE + 2];
        assert!(dotted.clone().all(|(pixels, mask, _)| marked(mask) == corner && pixels[SIDE + 2] == 255));
        let share = dotted.count() as f64 / eights.len() as f64;
        assert!((share - 0.7).abs() < 0.2, "{share} of {}", eights.len());
    }

    #[test]
    fn bytes_depend_on_the_seed_and_not_on_threads() {
        let digest = |seed: u64, threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let dir = tempfile::tempdir().unwrap();
            let source = Source::drawn(0, [300, 100], Confounder::Dots08.digits());
            pool.install(|| write(Confounder::Dots08, &source, seed, dir.path())).unwrap();
            fs_err::read(dir.path().join("train-images-idx3-ubyte")).unwrap()
        };
        assert_eq!(digest(1, 1), digest(1, 2));
        assert_ne!(digest(1, 1), digest(2, 1));
    }
}
