//! Where digits come from: MNIST's files, or drawn ones.

use std::path::{Path, PathBuf};

use super::super::digits::{self, Digits};
use super::confounder::SIDE;
use crate::error::DataError;
use crate::images::{FormatProblem, ImageFolder, ImageSet, Split};

/// Digits of two parts.
pub(in crate::synth) enum Source {
    /// Of a folder with MNIST's files.
    Files(Box<ImageFolder>),
    /// Drawn: training and test.
    Drawn([Digits; 2]),
}

impl Source {
    /// The files in a folder.
    ///
    /// # Errors
    /// A folder of another kind, no test part, images of another size, labels beyond ten digits.
    pub fn open(root: &Path) -> Result<Self, DataError> {
        let folder = ImageFolder::open(root)?;
        let [shape, classes] = [
            folder.train.shape().to_string(),
            folder.train.heads().first().map_or(0, |head| head.num_classes).to_string(),
        ];
        let expected = format!("{SIDE}x{SIDE}x1");
        if shape != expected || classes != "10" {
            let found = format!("images of {shape} in {classes} classes");
            let expected = format!("digits of {expected} in 10 classes, as MNIST's");
            return Err(FormatProblem::key("images", expected, found).of(root).into());
        }
        if folder.test.is_none() {
            let looked_for = "the files of the test part".to_owned();
            return Err(FormatProblem::NotFound { looked_for, instead: None }.of(root).into());
        }
        Ok(Self::Files(Box::new(folder)))
    }

    /// Digits `among` these drawn by a seed, so many of each part.
    pub fn drawn(seed: u64, nums: [usize; 2], among: &[u8]) -> Self {
        Self::Drawn(digits::digits_of(seed, nums, among))
    }

    /// Images of a part.
    pub fn len(&self, part: Split) -> usize {
        match self {
            Self::Files(folder) => set_of(folder, part).num_samples(),
            Self::Drawn(parts) => drawn_of(parts, part).digits.len(),
        }
    }

    /// The digit of an image.
    ///
    /// # Errors
    /// A bad file.
    pub fn digit(&self, part: Split, index: usize) -> Result<u8, DataError> {
        match self {
            Self::Files(folder) => {
                let set = set_of(folder, part);
                let mut labels = vec![0; set.heads().len()];
                set.labels(index, &mut labels)?;
                Ok(labels.first().copied().unwrap_or_default() as u8)
            }
            Self::Drawn(parts) => Ok(drawn_of(parts, part).digits.get(index).copied().unwrap_or_default()),
        }
    }

    /// Pixels of an image.
    ///
    /// # Errors
    /// A bad file.
    pub fn pixels(&self, part: Split, index: usize) -> Result<Vec<u8>, DataError> {
        match self {
            Self::Files(folder) => {
                let mut pixels = vec![0; SIDE * SIDE];
                set_of(folder, part).pixels(index, &mut pixels)?;
                Ok(pixels)
            }
            Self::Drawn(parts) => {
                let begin = index * SIDE * SIDE;
                let pixels = drawn_of(parts, part).pixels.get(begin..begin + SIDE * SIDE);
                Ok(pixels.unwrap_or_default().to_vec())
            }
        }
    }

    /// For messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::Files(folder) => &folder.root,
            Self::Drawn(_) => Path::new("drawn digits"),
        }
    }

    /// For the file of provenance: names of the files, not where they lie.
    pub fn describe(&self) -> String {
        match self {
            Self::Files(folder) => {
                let files = folder.sets().flat_map(|(_, set)| set.files());
                let names: Vec<PathBuf> =
                    files.filter_map(|file| file.file_name()).map(PathBuf::from).collect();
                names.iter().map(|name| name.display().to_string()).collect::<Vec<_>>().join(", ")
            }
            Self::Drawn(_) => "drawn digits".to_owned(),
        }
    }
}

fn set_of(folder: &ImageFolder, part: Split) -> &ImageSet {
    match (part, &folder.test) {
        (Split::Test, Some(test)) => test,
        _ => &folder.train,
    }
}

fn drawn_of([train, test]: &[Digits; 2], part: Split) -> &Digits {
    match part {
        Split::Train => train,
        Split::Test => test,
    }
}
