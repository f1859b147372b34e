//! Images that a user has corrected: copies of training samples in which what their masks mark is set to zero.

use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::xxh3_128;

use super::super::source::{Source, SourceWords};
use crate::augment::image::SourceImage;
use crate::images::{ImageBuffers, Images};
use crate::views::{ImageViews, StoredBuffers, StoredImages, ViewError, ViewSettings, Views};

/// A set of images with corrected copies behind its own samples.
#[derive(Debug)]
pub(super) struct CorrectedImages {
    images: Arc<Images>,
    /// The sample that each copy was made of.
    copies_of: Vec<u32>,
    /// Training samples whose masks the user has given, ascending; those of other training samples are not known.
    given: Vec<u32>,
}

/// What a sample is.
enum Kind {
    /// As it is stored.
    Stored(u32),
    /// A copy without what its mask marks.
    Copy(u32),
}

impl CorrectedImages {
    /// With copies of `copies_of`, and masks of those in `given`, which are ascending.
    pub fn new(images: Arc<Images>, copies_of: Vec<u32>, given: Vec<u32>) -> Self {
        Self { images, copies_of, given }
    }

    fn kind(&self, id: u32) -> Kind {
        let copy = (id as usize).checked_sub(Images::num_samples(&self.images));
        match copy.and_then(|copy| self.copies_of.get(copy)) {
            Some(&of) => Kind::Copy(of),
            None => Kind::Stored(id),
        }
    }

    fn pixels<'a>(&self, id: u32, buffers: &'a mut ImageBuffers) -> Result<&'a [u8], ViewError> {
        Ok(match self.kind(id) {
            Kind::Stored(id) => self.images.pixels(id, buffers)?,
            Kind::Copy(of) => self.images.pixels_outside_mask(of, buffers)?,
        })
    }
}

impl StoredImages for CorrectedImages {
    fn channels(&self) -> usize {
        self.images.channels()
    }

    fn size(&self) -> Option<[usize; 2]> {
        self.images.size()
    }

    fn labels(&self) -> &[String] {
        Images::labels(&self.images)
    }

    fn classes(&self, id: u32, buffers: &mut StoredBuffers, classes: &mut [i32]) -> Result<(), ViewError> {
        let (Kind::Stored(of) | Kind::Copy(of)) = self.kind(id);
        StoredImages::classes(&*self.images, of, buffers, classes)
    }

    fn image<'a>(&self, id: u32, buffers: &'a mut StoredBuffers) -> Result<SourceImage<'a>, ViewError> {
        let [height, width] = [self.images.shape().height, self.images.shape().width];
        Ok(SourceImage { bytes: self.pixels(id, &mut buffers.of_set)?, height, width })
    }

    fn has_masks(&self) -> bool {
        self.images.has_masks()
    }

    fn mask<'a>(&self, id: u32, buffers: &'a mut StoredBuffers) -> Result<Option<&'a [u8]>, ViewError> {
        let is_of_train = (id as usize) < self.images.folder().train.num_samples();
        match self.kind(id) {
            Kind::Copy(_) => Ok(None),
            Kind::Stored(id) if is_of_train && self.given.binary_search(&id).is_err() => Ok(None),
            Kind::Stored(id) => StoredImages::mask(&*self.images, id, buffers),
        }
    }
}

impl Source for CorrectedImages {
    fn num_samples(&self) -> usize {
        Images::num_samples(&self.images) + self.copies_of.len()
    }

    fn num_copies(&self) -> usize {
        self.copies_of.len()
    }

    /// `train/17`, and `train/17 corrected` of its copy.
    fn name_of(&self, id: u32) -> Option<String> {
        match self.kind(id) {
            Kind::Stored(id) => Source::name_of(&*self.images, id),
            Kind::Copy(of) => Some(format!("{} corrected", Source::name_of(&*self.images, of)?)),
        }
    }

    fn size_of(&self, id: u32) -> Option<u64> {
        let (Kind::Stored(of) | Kind::Copy(of)) = self.kind(id);
        self.images.size_of(of)
    }

    fn hash_of(&self, id: u32) -> Option<u128> {
        self.pixels(id, &mut ImageBuffers::default()).ok().map(xxh3_128)
    }

    fn noun(&self) -> &'static str {
        self.images.noun()
    }

    fn words(&self, data: &DataConfig) -> SourceWords {
        self.images.words(data)
    }

    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError> {
        let scale = self.images.format().usual_scale();
        Ok(Arc::new(ImageViews::of_set(self, scale, settings)?))
    }
}
