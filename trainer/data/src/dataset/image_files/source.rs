//! Image files as what a data set is read from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtrain_configs::schema::DataConfig;
use xxhash_rust::xxh3::xxh3_128;

use super::super::source::{Source, SourceWords};
use super::names::Names;
use crate::augment::image::SourceImage;
use crate::image_files::decode;
use crate::views::{ImageViews, StoredBuffers, StoredImages, ViewError, ViewSettings, Views};

/// Files below a folder, each an image of its own size.
#[derive(Debug)]
pub(super) struct ImageFiles {
    pub root: PathBuf,
    /// Below the root; a path of its own where a table lists such.
    pub names: Names,
    /// 1 or 3, whatever a file has.
    pub channels: usize,
}

impl ImageFiles {
    fn path_of(&self, id: u32) -> Option<PathBuf> {
        Some(self.root.join(Path::new(self.names.get(id as usize)?)))
    }
}

impl Source for ImageFiles {
    fn num_samples(&self) -> usize {
        self.names.len()
    }

    fn name_of(&self, id: u32) -> Option<String> {
        self.names.get(id as usize).map(str::to_owned)
    }

    fn size_of(&self, id: u32) -> Option<u64> {
        Some(fs_err::metadata(self.path_of(id)?).ok()?.len())
    }

    fn hash_of(&self, id: u32) -> Option<u128> {
        Some(xxh3_128(&fs_err::read(self.path_of(id)?).ok()?))
    }

    fn noun(&self) -> &'static str {
        "image"
    }

    fn words(&self, data: &DataConfig) -> SourceWords {
        SourceWords {
            parts: format!("image files, split by `data.splits.{}`", data.split),
            views: "decoded, cropped and resized".to_owned(),
        }
    }

    fn views(self: Arc<Self>, settings: &ViewSettings<'_>) -> Result<Arc<dyn Views>, ViewError> {
        Ok(Arc::new(ImageViews::of_files(self, settings)?))
    }
}

impl StoredImages for ImageFiles {
    fn channels(&self) -> usize {
        self.channels
    }

    fn image<'a>(&self, id: u32, buffers: &'a mut StoredBuffers) -> Result<SourceImage<'a>, ViewError> {
        let unknown = || ViewError::UnknownSample { sample_id: id, num_samples: self.names.len() };
        let image = &mut buffers.of_file;
        decode(&self.path_of(id).ok_or_else(unknown)?, self.channels, image)?;
        Ok(SourceImage { bytes: &image.pixels, height: image.height, width: image.width })
    }
}
