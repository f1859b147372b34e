//! Where views of images get their images from.

use std::fmt;

use super::ViewError;
use crate::augment::image::SourceImage;
use crate::image_files::DecodedImage;
use crate::images::{ImageBuffers, Images};

/// Images by the numbers of their samples. Shared by threads.
pub(crate) trait StoredImages: fmt::Debug + Send + Sync {
    /// Channels of every image.
    fn channels(&self) -> usize;

    /// Rows and columns of every image; `None` where they differ.
    fn size(&self) -> Option<[usize; 2]> {
        None
    }

    /// Names of the labels that are read together with an image.
    fn labels(&self) -> &[String] {
        &[]
    }

    /// Writes the classes of an image, one for each of the labels.
    ///
    /// # Errors
    /// A bad sample, or none of this number.
    fn classes(&self, _id: u32, _buffers: &mut StoredBuffers, _classes: &mut [i32]) -> Result<(), ViewError> {
        Ok(())
    }

    /// Whether images have masks.
    fn has_masks(&self) -> bool {
        false
    }

    /// Reads the mask of an image, a byte for each position, 0 outside; `None` where none is known.
    ///
    /// # Errors
    /// A bad sample, or none of this number.
    fn mask<'a>(&self, _id: u32, _buffers: &'a mut StoredBuffers) -> Result<Option<&'a [u8]>, ViewError> {
        Ok(None)
    }

    /// Reads an image.
    ///
    /// # Errors
    /// A bad sample, or none of this number.
    fn image<'a>(&self, id: u32, buffers: &'a mut StoredBuffers) -> Result<SourceImage<'a>, ViewError>;
}

/// Buffers of one thread for reading images.
#[derive(Debug, Default)]
pub(crate) struct StoredBuffers {
    /// Of a set in one format.
    pub of_set: ImageBuffers,
    /// Of a file by itself.
    pub of_file: DecodedImage,
}

impl StoredImages for Images {
    fn channels(&self) -> usize {
        self.shape().channels
    }

    fn size(&self) -> Option<[usize; 2]> {
        Some([self.shape().height, self.shape().width])
    }

    fn labels(&self) -> &[String] {
        Images::labels(self)
    }

    fn classes(&self, id: u32, buffers: &mut StoredBuffers, classes: &mut [i32]) -> Result<(), ViewError> {
        Ok(Images::classes(self, id, &mut buffers.of_set, classes)?)
    }

    fn image<'a>(&self, id: u32, buffers: &'a mut StoredBuffers) -> Result<SourceImage<'a>, ViewError> {
        let [height, width] = [self.shape().height, self.shape().width];
        Ok(SourceImage { bytes: self.pixels(id, &mut buffers.of_set)?, height, width })
    }

    fn has_masks(&self) -> bool {
        self.folder().has_masks()
    }

    fn mask<'a>(&self, id: u32, buffers: &'a mut StoredBuffers) -> Result<Option<&'a [u8]>, ViewError> {
        Ok(Some(Images::mask(self, id, &mut buffers.of_set)?))
    }
}
