//! The parts of a folder of images, numbered through, with the labels that are asked for.

use super::error::FormatError;
use super::folder::ImageFolder;
use super::format::ImageFormat;
use super::set::ImageSet;
use super::shape::ImageShape;
use super::split::Split;

/// Images of all parts: sample ids count those of the training files first, then those of the test files and of further parts.
#[derive(Debug, Clone)]
pub struct Images {
    folder: ImageFolder,
    labels: Vec<String>,
    rules: Vec<LabelRule>,
}

/// Where a label's class comes from.
#[derive(Debug, Clone)]
pub enum LabelRule {
    /// The head of this number.
    Head(usize),
    /// A class for each class of the head of this number.
    Map(usize, Vec<u32>),
}

/// Buffers for reading samples.
#[derive(Debug, Default, Clone)]
pub struct ImageBuffers {
    pixels: Vec<u8>,
    mask: Vec<u8>,
    heads: Vec<u32>,
}

impl Images {
    /// The images of `folder`, with labels of these names, each by its rule.
    pub fn new(folder: ImageFolder, labels: impl IntoIterator<Item = (String, LabelRule)>) -> Self {
        let (labels, rules) = labels.into_iter().unzip();
        Self { folder, labels, rules }
    }

    /// The parts.
    pub fn folder(&self) -> &ImageFolder {
        &self.folder
    }

    /// Number of samples of all parts.
    pub fn num_samples(&self) -> usize {
        self.folder.sets().map(|(_, set)| set.num_samples()).sum()
    }

    /// Shape of every image.
    pub fn shape(&self) -> ImageShape {
        self.folder.train.shape()
    }

    /// Names of the labels.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What the files are.
    pub fn format(&self) -> ImageFormat {
        self.folder.format
    }

    /// `train/17`: part, and position in it.
    pub fn name_of(&self, id: u32) -> String {
        let (part, _, index) = self.locate(id);
        format!("{part}/{index}")
    }

    /// Pixels of a sample, in planes.
    ///
    /// # Errors
    /// No such sample, or a record that contradicts the first one.
    pub fn pixels<'a>(&self, id: u32, buffers: &'a mut ImageBuffers) -> Result<&'a [u8], FormatError> {
        let (_, set, index) = self.locate(id);
        buffers.pixels.resize(self.shape().num_bytes(), 0);
        set.pixels(index, &mut buffers.pixels)?;
        Ok(&buffers.pixels)
    }

    /// Mask of a sample, a byte for each position: 0 outside, and zeros throughout where its part has no masks.
    ///
    /// # Errors
    /// No such sample.
    pub fn mask<'a>(&self, id: u32, buffers: &'a mut ImageBuffers) -> Result<&'a [u8], FormatError> {
        let (_, set, index) = self.locate(id);
        buffers.mask.resize(self.shape().height * self.shape().width, 0);
        set.mask(index, &mut buffers.mask)?;
        Ok(&buffers.mask)
    }

    /// Pixels of a sample, in planes, with 0 where its mask marks a position.
    ///
    /// # Errors
    /// As [`Images::pixels`].
    pub fn pixels_outside_mask<'a>(
        &self,
        id: u32,
        buffers: &'a mut ImageBuffers,
    ) -> Result<&'a [u8], FormatError> {
        self.mask(id, buffers)?;
        self.pixels(id, buffers)?;
        let ImageBuffers { pixels, mask, .. } = buffers;
        for plane in pixels.chunks_mut(mask.len().max(1)) {
            for (pixel, _) in plane.iter_mut().zip(mask.iter()).filter(|(_, marked)| **marked != 0) {
                *pixel = 0;
            }
        }
        Ok(pixels)
    }

    /// Classes of a sample, one for each label.
    ///
    /// # Errors
    /// As [`Images::pixels`]; a label out of its range.
    pub fn classes(&self, id: u32, buffers: &mut ImageBuffers, out: &mut [i32]) -> Result<(), FormatError> {
        let (_, set, index) = self.locate(id);
        buffers.heads.resize(set.heads().len(), 0);
        set.labels(index, &mut buffers.heads)?;
        let class_of = |head: usize| buffers.heads.get(head).copied().unwrap_or(0);
        for (class, rule) in out.iter_mut().zip(&self.rules) {
            *class = match rule {
                LabelRule::Head(head) => class_of(*head) as i32,
                // As many entries as the head has classes.
                LabelRule::Map(head, map) => {
                    map.get(class_of(*head) as usize).map_or(-1, |&class| class as i32)
                }
            };
        }
        Ok(())
    }

    /// The part that holds a sample, and its position there. Ids beyond the end are refused by the part.
    fn locate(&self, id: u32) -> (&str, &ImageSet, usize) {
        let mut last = (Split::Train.name(), &self.folder.train, id as usize);
        let mut index = id as usize;
        for (name, set) in self.folder.sets() {
            last = (name, set, index);
            match index.checked_sub(set.num_samples()) {
                Some(beyond) => index = beyond,
                None => break,
            }
        }
        last
    }
}
