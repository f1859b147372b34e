//! Views of images: cropped, changed and normalized; each a pure function of the image and of (seed, epoch, sample, view).

use std::sync::Arc;

use dtrain_configs::schema::{AugmentConfig, ImagesConfig};

use super::image_scale::ImageScale;
use super::image_spec::ImageSpec;
use super::{ViewError, ViewRequest, ViewSlot, Views, Workspace};
use crate::augment::image::{ImageScratch, SourceImage};
use crate::images::{ImageBuffers, ImageShape, Images};
use crate::measures::{OF_AN_IMAGE, of_image};
use crate::rng::ViewKey;

/// Makes views of the images of a data set. Shared by threads.
#[derive(Debug)]
pub struct ImageViews {
    images: Arc<Images>,
    scale: ImageScale,
    /// One at least.
    specs: Vec<ImageSpec>,
    seed: u64,
}

/// Buffers of one thread. Making a view allocates nothing.
#[derive(Debug, Default)]
struct ImageWorkspace {
    stored: ImageBuffers,
    scratch: ImageScratch,
}

impl ImageViews {
    /// A maker of views of `images`, of their size.
    ///
    /// # Errors
    /// [`ViewError::Channels`] where the settings have another number of channels than the images; those of
    /// [`ImageSpec::new`].
    pub fn new(
        images: Arc<Images>,
        config: &ImagesConfig,
        augment: &AugmentConfig,
        seed: u64,
    ) -> Result<Self, ViewError> {
        let ImageShape { channels, height, width } = images.shape();
        let scale = ImageScale::new(images.format(), channels, config)?;
        let spec = ImageSpec::new(&augment.image, channels, height, width)?;
        Ok(Self { scale, specs: vec![spec], images, seed })
    }

    /// The same with the small views of `augment` besides, whose spec follows the last one.
    ///
    /// # Errors
    /// As [`ImageSpec::new`], within [`ViewError::SmallViews`].
    pub fn with_small(mut self, augment: &AugmentConfig) -> Result<Self, ViewError> {
        let ImageShape { channels, height, width } = self.images.shape();
        let [height, width] = [height, width].map(|side| augment.small_views.side(side));
        let spec = ImageSpec::new(&augment.of_small_views().image, channels, height, width);
        self.specs.push(spec.map_err(|error| ViewError::SmallViews(Box::new(error)))?);
        Ok(self)
    }

    /// Writes all views that are wanted of a sample, and the classes of its labels.
    fn render_all(
        &self,
        ImageWorkspace { stored, scratch }: &mut ImageWorkspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
        classes: &mut [i32],
    ) -> Result<(), ViewError> {
        let ViewRequest { epoch, sample_id, augment } = *request;
        self.images.classes(sample_id, stored, classes)?;
        let ImageShape { height, width, .. } = self.images.shape();
        let source = SourceImage { bytes: self.images.pixels(sample_id, stored)?, height, width };
        for ViewSlot { spec, view, index, values, drawn } in views {
            let spec = self.specs.get(spec).ok_or(ViewError::UnknownSpec(spec))?;
            let key = ViewKey { seed: self.seed, epoch, sample_id, view };
            spec.render(scratch, &source, &self.scale, (augment.then_some(&key), index), values, drawn);
        }
        Ok(())
    }
}

impl Views for ImageViews {
    fn shape(&self) -> [usize; 3] {
        self.shape_of(0).unwrap_or_default()
    }

    fn shape_of(&self, spec: usize) -> Option<[usize; 3]> {
        self.specs.get(spec).map(ImageSpec::shape)
    }

    fn labels(&self) -> &[String] {
        self.images.labels()
    }

    fn drawn_columns(&self, spec: usize) -> Vec<String> {
        self.specs.get(spec).map_or_else(Vec::new, ImageSpec::columns)
    }

    fn measures(&self) -> &'static [&'static str] {
        OF_AN_IMAGE
    }

    fn measure(&self, workspace: &mut Workspace, sample_id: u32) -> Result<Vec<f64>, ViewError> {
        workspace.with(ImageWorkspace::default, |buffers| {
            Ok(of_image(self.images.pixels(sample_id, &mut buffers.stored)?))
        })
    }

    fn load(&self, workspace: &mut Workspace, sample_id: u32) -> Result<(), ViewError> {
        workspace.with(ImageWorkspace::default, |buffers| {
            self.images.pixels(sample_id, &mut buffers.stored).map(drop)
        })?;
        Ok(())
    }

    fn make(
        &self,
        workspace: &mut Workspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
        classes: &mut [i32],
    ) -> Result<(), ViewError> {
        workspace.with(ImageWorkspace::default, |buffers| self.render_all(buffers, request, views, classes))
    }
}
