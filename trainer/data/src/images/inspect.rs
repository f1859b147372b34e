//! All labels of a set, counted by class. Samples that cannot be used are named, counted and left out.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::error::FormatError;
use super::set::ImageSet;
use crate::rng::{Purpose, stream};

/// Bad samples that are named; the others are counted.
pub const NUM_NAMED: usize = 5;

/// Samples that are counted together.
const CHUNK: usize = 1 << 14;
/// Draws for each sample that is wanted, before what is good is taken as it comes.
const MAX_DRAWS: usize = 8;

/// The labels of a part.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelCounts {
    /// Samples of the part.
    pub num_samples: usize,
    /// Samples that cannot be used.
    pub num_bad: usize,
    /// The first of them, up to [`NUM_NAMED`].
    pub bad: Vec<FormatError>,
    /// Of the good samples, for each head.
    pub heads: Vec<ClassCounts>,
}

/// Samples of each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCounts {
    counts: Vec<u64>,
}

impl LabelCounts {
    /// Reads the labels of all samples.
    pub fn of(set: &ImageSet) -> Self {
        Self::in_chunks(set, CHUNK)
    }

    fn in_chunks(set: &ImageSet, chunk: usize) -> Self {
        let num_samples = set.num_samples();
        let chunks = (0..num_samples.div_ceil(chunk)).into_par_iter();
        let counted = chunks.map(|at| Self::of_range(set, at * chunk, chunk.min(num_samples - at * chunk)));
        // Rayon joins neighbours, so the first bad samples stay the first.
        counted.reduce(|| Self::none(set), Self::join)
    }

    fn none(set: &ImageSet) -> Self {
        let heads = set.heads().iter().map(|head| ClassCounts { counts: vec![0; head.num_classes] });
        Self { num_samples: 0, num_bad: 0, bad: Vec::new(), heads: heads.collect() }
    }

    fn of_range(set: &ImageSet, first: usize, num_samples: usize) -> Self {
        let mut found = Self { num_samples, ..Self::none(set) };
        let mut classes = vec![0; set.heads().len()];
        for index in first..first + num_samples {
            match set.labels(index, &mut classes) {
                Ok(()) => {
                    for (head, &class) in found.heads.iter_mut().zip(&classes) {
                        if let Some(count) = head.counts.get_mut(class as usize) {
                            *count += 1;
                        }
                    }
                }
                Err(error) => {
                    found.num_bad += 1;
                    if found.bad.len() < NUM_NAMED {
                        found.bad.push(error);
                    }
                }
            }
        }
        found
    }

    fn join(mut self, later: Self) -> Self {
        self.num_samples += later.num_samples;
        self.num_bad += later.num_bad;
        self.bad.extend(later.bad);
        self.bad.truncate(NUM_NAMED);
        for (head, later) in self.heads.iter_mut().zip(later.heads) {
            head.counts.iter_mut().zip(later.counts).for_each(|(count, more)| *count += more);
        }
        self
    }
}

impl ClassCounts {
    /// Samples of each class.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Samples of all classes.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Classes with samples.
    pub fn num_seen(&self) -> usize {
        self.counts.iter().filter(|&&count| count > 0).count()
    }

    /// Classes without samples.
    pub fn empty(&self) -> impl Iterator<Item = usize> {
        self.counts.iter().enumerate().filter(|(_, count)| **count == 0).map(|(class, _)| class)
    }

    /// The class with the fewest samples, among those that have some, and their number.
    pub fn rarest(&self) -> Option<(usize, u64)> {
        self.seen().min_by_key(|&(_, count)| count)
    }

    /// The class with the most samples, and their number; the first one of several.
    pub fn most_frequent(&self) -> Option<(usize, u64)> {
        self.seen().rev().max_by_key(|&(_, count)| count)
    }

    fn seen(&self) -> impl DoubleEndedIterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|&(_, count)| count > 0)
    }
}

/// Up to `num` different good samples, in the order in which they are drawn; all there are if there are no more. The
/// same seed gives the same.
pub fn choose(set: &ImageSet, num: usize, seed: u64) -> Vec<usize> {
    let mut classes = vec![0; set.heads().len()];
    let mut is_good = |&index: &usize| set.labels(index, &mut classes).is_ok();
    let Some(last) = set.num_samples().checked_sub(1) else { return Vec::new() };
    if last < num {
        return (0..=last).filter(|index| is_good(index)).collect();
    }
    let mut stream = stream(seed, 0, 0, 0, Purpose::Shown);
    let (mut tried, mut chosen) = (BTreeSet::new(), Vec::with_capacity(num));
    for _ in 0..num.saturating_mul(MAX_DRAWS) {
        if chosen.len() == num {
            return chosen;
        }
        let index = stream.up_to(last);
        if tried.insert(index) && is_good(&index) {
            chosen.push(index);
        }
    }
    let others: Vec<usize> = (0..=last).filter(|index| !tried.contains(index)).collect();
    let missing = num - chosen.len();
    chosen.extend(others.into_iter().filter(|index| is_good(index)).take(missing));
    chosen
}

#[cfg(test)]
mod tests {
    use super::super::idx::{write_images, write_labels};
    use super::super::{ImageFolder, ImageFormat};
    use super::*;

    /// A set of images of one pixel with these labels for ten classes and for a head of 200.
    fn opened(digits: &[u8], shades: &[u8]) -> (tempfile::TempDir, ImageFolder) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write_images(&at("train-images-idx3-ubyte"), 1, 1, &vec![0; digits.len()]).unwrap();
        write_labels(&at("train-labels-idx1-ubyte"), digits).unwrap();
        write_labels(&at("train-shade-idx1-ubyte"), shades).unwrap();
        fs_err::write(at("heads.json"), r#"{"shade": {"num_classes": 200}}"#).unwrap();
        let folder = ImageFolder::open_to_inspect(dir.path()).unwrap();
        assert_eq!(folder.format, ImageFormat::Idx);
        (dir, folder)
    }

    #[test]
    fn classes_are_counted_whatever_the_chunks() {
        let digits: Vec<u8> = (0..1000u32).map(|i| (i * i % 7) as u8).collect();
        let shades: Vec<u8> = (0..1000u32).map(|i| (i % 3 + 190) as u8).collect();
        let (_dir, folder) = opened(&digits, &shades);
        let expected =
            |class: usize| digits.iter().filter(|&&digit| usize::from(digit) == class).count() as u64;
        for chunk in [1, 7, 999, 1000, 5000] {
            let counts = LabelCounts::in_chunks(&folder.train, chunk);
            assert_eq!((counts.num_samples, counts.num_bad), (1000, 0));
            assert_eq!(counts.heads[0].counts(), (0..10).map(expected).collect::<Vec<_>>());
            assert_eq!((counts.heads[1].total(), counts.heads[1].num_seen()), (1000, 3));
        }
        let digit = &LabelCounts::of(&folder.train).heads[0];
        // Squares modulo 7 are 0, 1, 2 and 4.
        assert_eq!(digit.empty().collect::<Vec<_>>(), [3, 5, 6, 7, 8, 9]);
        assert_eq!((digit.rarest(), digit.most_frequent()), (Some((0, 143)), Some((2, 286))));
        let nothing = ClassCounts { counts: vec![0, 0] };
        assert_eq!((nothing.rarest(), nothing.most_frequent(), nothing.num_seen()), (None, None, 0));
    }

    #[test]
    fn bad_samples_are_named_from_the_first_on_and_left_out() {
        let mut digits = vec![1; 300];
        let bad: Vec<usize> = (0..300).step_by(37).collect();
        for &at in &bad {
            digits[at] = (10 + at / 2) as u8;
        }
        let (_dir, folder) = opened(&digits, &[7; 300]);
        for chunk in [1, 40, 1000] {
            let counts = LabelCounts::in_chunks(&folder.train, chunk);
            assert_eq!((counts.num_bad, counts.bad.len()), (bad.len(), NUM_NAMED));
            assert_eq!(
                counts.heads[1].total(),
                300 - bad.len() as u64,
                "a sample is good for all heads or none"
            );
            for (error, at) in counts.bad.iter().zip(&bad) {
                let expected =
                    format!("sample {at} at byte {}: label {} of head `digit`", 8 + at, digits[*at]);
                assert!(error.to_string().contains(&expected), "{error}");
            }
        }
        assert!(ImageFolder::open(folder.root.as_path()).is_err(), "a run does not open it");
    }

    #[test]
    fn chosen_samples_are_different_good_and_a_function_of_the_seed() {
        let mut digits = vec![0; 400];
        digits[..390].fill(99);
        let (_dir, folder) = opened(&digits, &[0; 400]);
        let mut all = choose(&folder.train, 32, 1);
        all.sort_unstable();
        assert_eq!(all, (390..400).collect::<Vec<_>>(), "ten are good");
        let (_dir, folder) = opened(&[3; 400], &[0; 400]);
        let chosen = choose(&folder.train, 32, 1);
        assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), 32);
        assert_eq!(chosen, choose(&folder.train, 32, 1));
        assert_ne!(chosen, choose(&folder.train, 32, 2));
        assert_eq!(choose(&folder.train, 8, 1), chosen[..8]);
        assert_eq!(choose(&folder.train, 400, 1).len(), 400);
        assert_eq!(choose(&folder.train, 9999, 1).len(), 400);
    }
}
