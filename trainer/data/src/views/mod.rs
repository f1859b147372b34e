//! Views: what a model is fed of one sample. Each is a pure function of the sample and of (seed, epoch, sample, view).

mod excerpt;
mod image_scale;
mod image_spec;
mod images;
mod recipe;
mod sound;
mod sound_spec;
mod stored;

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use dtrain_configs::schema::{AugmentConfig, DataConfig};

use crate::augment::AugmentError;
use crate::columns::ColumnError;
use crate::decode::{DecodeError, MAX_FRAMES, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};
use crate::features::FeatureError;
use crate::image_files::ImageFileError;
use crate::images::FormatError;
pub use excerpt::Excerpt;
pub use image_spec::ImageSpec;
pub use images::ImageViews;
pub use recipe::ImageRecipe;
pub use sound::{SoundViews, SoundWorkspace};
pub use sound_spec::SoundSpec;
pub(crate) use stored::{StoredBuffers, StoredImages};

/// Spec of the masks of samples: 1 where a position is marked and 0 elsewhere, [1, H, W] like the first spec's views.
pub const MASKS: usize = usize::MAX;

/// Why there is no view.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ViewError {
    /// The recording cannot be used.
    #[error(transparent)]
    Decode(#[from] Arc<DecodeError>),
    /// The spectrogram's settings or buffers are wrong.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// An augmentation's settings are wrong.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// The sample rate is out of range.
    #[error("`data.audio.sample_rate` is {0}: expected {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE}")]
    SampleRate(u32),
    /// The length of a clip is out of range.
    #[error("`data.audio.clip_secs` is {0}: expected at least one sample and at most {MAX_FRAMES}")]
    ClipSecs(f64),
    /// An image that contradicts the others of its file, or its labels do.
    #[error(transparent)]
    Image(#[from] FormatError),
    /// An image file that gives no image.
    #[error(transparent)]
    ImageFile(#[from] ImageFileError),
    /// Borders around images of different sizes.
    #[error(
        "`augment.image.crop_padding` adds borders to images of the size of a view, and files have sizes of their own"
    )]
    PaddedFiles,
    /// Masks of samples that have none.
    #[error("the method asks for masks of the samples, and these data have none")]
    NoMasks,
    /// Masks of views whose positions have moved.
    #[error("`augment.image` crops or flips images, and their masks would no longer lie on what they mark")]
    MovedMasks,
    /// Normalization for another number of channels.
    #[error("`{key}` has {found} numbers, but the images have {channels} channels")]
    Channels {
        /// The setting.
        key: &'static str,
        /// Numbers in it.
        found: usize,
        /// Channels of the images.
        channels: usize,
    },
    /// Changes of colours that these images do not have.
    #[error("`augment.image` changes colours, but the images have {0} channels")]
    Colours(usize),
    /// Columns that do not fit their batch.
    #[error(transparent)]
    Column(#[from] ColumnError),
    /// Views that the data are not made into.
    #[error("there are no views of spec {0}")]
    UnknownSpec(usize),
    /// Small views that cannot be made.
    #[error("small views cannot be made: {0}")]
    SmallViews(Box<ViewError>),
    /// A sample id without a recording.
    #[error("sample {sample_id} does not exist: the data set has {num_samples}")]
    UnknownSample {
        /// The id.
        sample_id: u32,
        /// How many there are.
        num_samples: usize,
    },
}

impl ViewError {
    /// The file and the reason, where a sample is at fault and not the settings.
    pub fn of_sample(&self) -> Option<(PathBuf, String)> {
        match self {
            Self::Decode(error) => Some((error.path.clone(), error.problem.to_string())),
            Self::Image(error) => Some((error.path.clone(), error.problem.to_string())),
            Self::ImageFile(error) => Some((error.path.clone(), error.problem.to_string())),
            _ => None,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Decode(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::ImageFile(error) => error.problem.advice(),
            Self::PaddedFiles => {
                Some("crop by area: `augment.image.crop_padding=0 augment.image.crop_scale=[0.2,1]`".into())
            }
            Self::NoMasks => Some(
                "masks of `train-images-idx3-ubyte` are in `train-masks-idx3-ubyte`; `dtrain data make confounded-mnist` makes a set \
                 that has them"
                    .into(),
            ),
            Self::MovedMasks => Some("train on images as they are: `augment=none`".into()),
            Self::Channels { key, channels, .. } => {
                Some(format!("give {channels}, or `{key}=null` for the usual ones"))
            }
            Self::SmallViews(error) => match **error {
                Self::Feature(FeatureError::Setting { key: "n_fft", .. }) | Self::ClipSecs(_) => {
                    Some("raise `augment.small_views.clip_fraction`, or lower `data.features.n_fft`".into())
                }
                _ => error.hint(),
            },
            Self::Colours(_) => Some(
                "only images of 1 or 3 channels are jittered: `augment.image.jitter_probability=0` and \
                 `augment.image.grayscale_probability=0`"
                    .into(),
            ),
            Self::Feature(FeatureError::Setting { key: "n_fft", .. }) => {
                Some("make `data.audio.clip_secs` longer or `data.features.n_fft` smaller".into())
            }
            _ => None,
        }
    }
}

/// Makes views of the samples of a data set. Shared by threads; each brings its own [`Workspace`].
pub trait Views: fmt::Debug + Send + Sync {
    /// Shape of a view of the first spec, which every maker has: [channels, rows, columns].
    fn shape(&self) -> [usize; 3];

    /// Shape of a view of the spec of this number; `None` beyond the last.
    fn shape_of(&self, spec: usize) -> Option<[usize; 3]> {
        (spec == 0).then(|| self.shape())
    }

    /// Whether the columns of a view follow each other in time, as those of a spectrogram do.
    fn columns_are_times(&self) -> bool {
        false
    }

    /// How views of the spec of this number are made of what is handed over in their place; `None`: views are.
    fn recipe_of(&self, _spec: usize) -> Option<&Arc<ImageRecipe>> {
        None
    }

    /// Numbers of a slot of the spec of this number: those of a view, or of what it is made of; `None` beyond the last spec.
    fn slot_len(&self, spec: usize) -> Option<usize> {
        let shape = self.shape_of(spec)?;
        Some(self.recipe_of(spec).map_or_else(|| shape.iter().product(), |recipe| recipe.num_words()))
    }

    /// Names of the labels that are read together with a sample; none where all are known beforehand.
    fn labels(&self) -> &[String] {
        &[]
    }

    /// Names of the columns that augmentations of the spec of this number make, for each view.
    fn drawn_columns(&self, _spec: usize) -> Vec<String> {
        Vec::new()
    }

    /// Names of what can be measured of a sample as it is stored.
    fn measures(&self) -> &'static [&'static str];

    /// Measures a sample: one value for each of [`Views::measures`].
    ///
    /// # Errors
    /// As [`Views::make`].
    fn measure(&self, workspace: &mut Workspace, sample_id: u32) -> Result<Vec<f64>, ViewError>;

    /// Brings what the views of a sample are made of into memory; whether it stays there is the maker's to say.
    ///
    /// # Errors
    /// As [`Views::make`].
    fn load(&self, workspace: &mut Workspace, sample_id: u32) -> Result<(), ViewError>;

    /// Writes the views of a sample, each [C, H, W] row-major, or what they are made of ([`Views::recipe_of`]), and its classes.
    ///
    /// # Shapes
    /// `views`: of as many values as [`Views::slot_len`] of their specs; `classes`: one for each of [`Views::labels`].
    ///
    /// # Errors
    /// [`ViewError::of_sample`] tells bad samples from arguments that do not fit this maker.
    fn make(
        &self,
        workspace: &mut Workspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
        classes: &mut [i32],
    ) -> Result<(), ViewError>;
}

/// What the settings say about views.
#[derive(Debug, Clone, Copy)]
pub struct ViewSettings<'a> {
    /// Shapes and normalization.
    pub data: &'a DataConfig,
    /// Random changes.
    pub augment: &'a AugmentConfig,
    /// Names the views.
    pub seed: u64,
    /// Kinds of views that are asked for; with more than one, the second are small views.
    pub num_specs: usize,
    /// Whether the masks of samples are asked for, as views of [`MASKS`].
    pub masks: bool,
}

/// Buffers of one thread, of the kind that the maker of the views needs; empty until it first makes one.
#[derive(Default)]
pub struct Workspace(Option<Box<dyn Any + Send>>);

impl Workspace {
    /// Calls `work` with the buffers of type `T`: those that are here, or else `fresh` ones, which stay in their place.
    pub fn with<T: Any + Send, R>(&mut self, fresh: impl FnOnce() -> T, work: impl FnOnce(&mut T) -> R) -> R {
        let mut buffers = match self.0.take().map(|buffers| buffers.downcast::<T>()) {
            Some(Ok(buffers)) => buffers,
            _ => Box::new(fresh()),
        };
        let result = work(&mut buffers);
        self.0 = Some(buffers);
        result
    }
}

impl fmt::Debug for Workspace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").finish_non_exhaustive()
    }
}

/// The sample whose views are wanted.
#[derive(Debug, Clone, Copy)]
pub struct ViewRequest {
    /// Epoch, which names the views.
    pub epoch: u64,
    /// The sample.
    pub sample_id: u32,
    /// Whether views are augmented; otherwise each is the one that evaluation uses.
    pub augment: bool,
}

/// A view that is wanted of a sample, and where it goes.
#[derive(Debug)]
pub struct ViewSlot<'a> {
    /// Number of its spec: a shape and a list of augmentations.
    pub spec: usize,
    /// Number of the view among those of the sample in the epoch, which names it ([`GroupRequest::view`]).
    ///
    /// [`GroupRequest::view`]: crate::GroupRequest::view
    pub view: u32,
    /// Number of the view in its group, which settings that differ from view to view go by.
    pub index: u32,
    /// Its values, or what it is made of.
    pub values: &'a mut [f32],
    /// What was drawn for it, one for each of [`Views::drawn_columns`]; not written where nothing is drawn.
    pub drawn: &'a mut [i64],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_keeps_its_buffers_and_gives_way_to_another_kind() {
        let mut workspace = Workspace::default();
        workspace.with(Vec::<u8>::new, |bytes| bytes.push(7));
        assert_eq!(workspace.with(Vec::<u8>::new, |bytes| bytes.clone()), [7]);
        assert_eq!(workspace.with(|| 3.5_f64, |number| *number), 3.5);
        assert!(workspace.with(Vec::<u8>::new, |bytes| bytes.is_empty()));
    }
}
