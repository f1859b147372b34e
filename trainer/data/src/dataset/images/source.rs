//! Images as what a data set is read from.

use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::xxh3_128;

use super::super::source::{Source, SourceWords};
use crate::images::{ImageBuffers, Images};
use crate::views::{ImageViews, ViewError, ViewSettings, Views};

impl Source for Images {
    fn num_samples(&self) -> usize {
        Images::num_samples(self)
    }

    /// `train/17`: part, and position in it.
    fn name_of(&self, id: u32) -> Option<String> {
        ((id as usize) < Images::num_samples(self)).then(|| Images::name_of(self, id))
    }

    /// Of its pixels, without labels.
    fn size_of(&self, id: u32) -> Option<u64> {
        ((id as usize) < Images::num_samples(self)).then(|| self.shape().num_bytes() as u64)
    }

    fn hash_of(&self, id: u32) -> Option<u128> {
        self.pixels(id, &mut ImageBuffers::default()).ok().map(xxh3_128)
    }

    fn noun(&self) -> &'static str {
        "sample"
    }

    fn words(&self, _: &DataConfig) -> SourceWords {
        SourceWords { parts: self.format().name().to_owned(), views: "from the data".to_owned() }
    }

    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError> {
        let scale = self.format().usual_scale();
        Ok(Arc::new(ImageViews::of_set(self, scale, settings)?))
    }
}
