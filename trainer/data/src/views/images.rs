//! Views of images: cropped, changed and normalized; each a pure function of the image and of (seed, epoch, sample, view).

use std::sync::Arc;

use dtrain_configs::schema::{AugmentConfig, AugmentDevice};

use super::image_scale::ImageScale;
use super::image_spec::ImageSpec;
use super::recipe::ImageRecipe;
use super::stored::{StoredBuffers, StoredImages};
use super::{MASKS, ViewError, ViewRequest, ViewSettings, ViewSlot, Views, Workspace};
use crate::augment::image::ImageScratch;
use crate::augment::image::centre_crop::CentreCrop;
use crate::measures::{OF_AN_IMAGE, of_image};
use crate::rng::ViewKey;

/// Makes views of the images of a data set. Shared by threads.
#[derive(Debug)]
pub struct ImageViews {
    images: Arc<dyn StoredImages>,
    scale: ImageScale,
    /// One at least.
    specs: Vec<ImageSpec>,
    /// One for each of `specs` where views are made by whoever gets their bytes.
    recipes: Vec<Arc<ImageRecipe>>,
    seed: u64,
    masks: bool,
}

/// Buffers of one thread. Making a view allocates nothing.
#[derive(Debug, Default)]
struct ImageWorkspace {
    stored: StoredBuffers,
    scratch: ImageScratch,
}

impl ImageViews {
    /// A maker of views of the images of a set, which are of one size, and of small ones where those are asked for. `usual_scale` is
    /// what the programs of its format normalize by.
    ///
    /// # Errors
    /// [`ViewError::Channels`] where the settings have another number of channels than the images; those of
    /// [`ImageSpec::new`], for small views within [`ViewError::SmallViews`].
    pub(crate) fn of_set(
        images: Arc<dyn StoredImages>,
        usual_scale: Option<[[f64; 3]; 2]>,
        settings: &ViewSettings<'_>,
    ) -> Result<Self, ViewError> {
        let scale = ImageScale::new(usual_scale, images.channels(), &settings.data.images)?;
        let size = images.size().unwrap_or([1, 1]);
        Self::new(images, scale, size, settings)
    }

    /// The same of image files, whose views are squares of `data.images.size`.
    ///
    /// # Errors
    /// As [`Self::of_set`].
    pub(crate) fn of_files(
        images: Arc<dyn StoredImages>,
        settings: &ViewSettings<'_>,
    ) -> Result<Self, ViewError> {
        let scale = ImageScale::new(None, images.channels(), &settings.data.images)?;
        let side = settings.data.images.size.unwrap_or(1);
        Self::new(images, scale, [side, side], settings)
    }

    fn new(
        images: Arc<dyn StoredImages>,
        scale: ImageScale,
        [height, width]: [usize; 2],
        settings: &ViewSettings<'_>,
    ) -> Result<Self, ViewError> {
        let ViewSettings { data, augment, seed, num_specs, masks } = *settings;
        if masks && (!images.has_masks() || images.size().is_none()) {
            return Err(ViewError::NoMasks);
        }
        if masks && augment.image.moves_pixels() {
            return Err(ViewError::MovedMasks);
        }
        let centre = images.size().is_none().then_some(CentreCrop { share: data.images.eval_crop });
        let channels = images.channels();
        let mut views = Self { images, scale, specs: Vec::new(), recipes: Vec::new(), seed, masks };
        views.add(ImageSpec::new(&augment.image, channels, [height, width], centre)?, augment);
        if num_specs > 1 {
            let size = [height, width].map(|side| augment.small_views.side(side));
            let spec = ImageSpec::new(&augment.of_small_views().image, channels, size, centre);
            views.add(spec.map_err(|error| ViewError::SmallViews(Box::new(error)))?, augment);
        }
        Ok(views)
    }

    fn add(&mut self, spec: ImageSpec, augment: &AugmentConfig) {
        if augment.image.device == AugmentDevice::Trainer {
            self.recipes.push(Arc::new(spec.recipe(self.images.size(), &self.scale)));
        }
        self.specs.push(spec);
    }

    /// Writes all views that are wanted of a sample, or what they are made of, and the classes of its labels.
    fn render_all(
        &self,
        ImageWorkspace { stored, scratch }: &mut ImageWorkspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
        classes: &mut [i32],
    ) -> Result<(), ViewError> {
        let ViewRequest { epoch, sample_id, augment } = *request;
        self.images.classes(sample_id, stored, classes)?;
        let source = self.images.image(sample_id, stored)?;
        let (of_masks, views): (Vec<_>, Vec<_>) =
            views.into_iter().partition(|slot| slot.spec == MASKS && self.masks);
        for ViewSlot { spec: number, view, index, values, .. } in views {
            let spec = self.specs.get(number).ok_or(ViewError::UnknownSpec(number))?;
            let key = ViewKey { seed: self.seed, epoch, sample_id, view };
            let named = (augment.then_some(&key), index);
            match self.recipes.get(number) {
                Some(recipe) => spec.hand_over(scratch, &source, recipe, named, values),
                None => spec.render(scratch, &source, &self.scale, named, values),
            }
        }
        for ViewSlot { values, .. } in of_masks {
            match self.images.mask(sample_id, stored)? {
                None => values.fill(0.0),
                Some(mask) => {
                    values.iter_mut().zip(mask).for_each(|(value, &marked)| *value = f32::from(marked != 0));
                }
            }
        }
        Ok(())
    }
}

impl Views for ImageViews {
    fn shape(&self) -> [usize; 3] {
        self.shape_of(0).unwrap_or_default()
    }

    fn shape_of(&self, spec: usize) -> Option<[usize; 3]> {
        if spec == MASKS && self.masks {
            let [_, height, width] = self.shape();
            return Some([1, height, width]);
        }
        self.specs.get(spec).map(ImageSpec::shape)
    }

    fn recipe_of(&self, spec: usize) -> Option<&Arc<ImageRecipe>> {
        self.recipes.get(spec)
    }

    fn labels(&self) -> &[String] {
        self.images.labels()
    }

    fn measures(&self) -> &'static [&'static str] {
        OF_AN_IMAGE
    }

    fn measure(&self, workspace: &mut Workspace, sample_id: u32) -> Result<Vec<f64>, ViewError> {
        workspace.with(ImageWorkspace::default, |buffers| {
            Ok(of_image(self.images.image(sample_id, &mut buffers.stored)?.bytes))
        })
    }

    fn load(&self, workspace: &mut Workspace, sample_id: u32) -> Result<(), ViewError> {
        workspace.with(ImageWorkspace::default, |buffers| {
            self.images.image(sample_id, &mut buffers.stored).map(drop)
        })
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
