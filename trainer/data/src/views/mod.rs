//! Views: what a model is fed of one sample. Each is a pure function of the sample and of (seed, epoch, sample, view).

mod images;
mod sound;

use std::path::PathBuf;
use std::sync::Arc;

use crate::augment::AugmentError;
use crate::dataset::images::ImageBuffers;
use crate::decode::{DecodeError, MAX_FRAMES, MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};
use crate::features::FeatureError;
use crate::images::FormatError;
use crate::rng::ViewKey;
use crate::sampler::Draw;
pub use images::ImageViews;
pub use sound::{SoundViews, SoundWorkspace};

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
            _ => None,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Decode(error) => error.hint(),
            Self::Image(error) => error.hint(),
            Self::Channels { key, channels, .. } => {
                Some(format!("give {channels}, or `{key}=null` for the usual ones"))
            }
            Self::Feature(FeatureError::Setting { key: "n_fft", .. }) => {
                Some("make `data.audio.clip_secs` longer or `data.features.n_fft` smaller".into())
            }
            _ => None,
        }
    }
}

/// Makes views. Shared by threads; each brings its own [`Workspace`].
#[derive(Debug)]
pub enum ViewMaker {
    /// Log-mel spectrograms of recordings.
    Sound(Box<SoundViews>),
    /// Images, and the classes of their labels.
    Images(ImageViews),
}

/// Buffers of one thread.
#[derive(Debug)]
pub enum Workspace {
    /// For recordings.
    Sound(Box<SoundWorkspace>),
    /// For images.
    Images(ImageBuffers),
}

/// The views that are wanted of a sample.
#[derive(Debug, Clone, Copy)]
pub struct ViewRequest {
    /// Epoch, which names the views.
    pub epoch: u64,
    /// The sample, and how often it was drawn before in this epoch: repeats get further views.
    pub draw: Draw,
    /// Views of each sample.
    pub num_views: u32,
    /// Whether views are augmented; otherwise each is the one that evaluation uses.
    pub augment: bool,
}

impl ViewMaker {
    /// Shape of a view: [channels, rows, columns].
    pub fn shape(&self) -> [usize; 3] {
        match self {
            Self::Sound(views) => views.shape(),
            Self::Images(views) => views.shape(),
        }
    }

    /// Values of a view.
    pub fn view_len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Labels that are read together with a sample; 0 where they are known beforehand.
    pub fn num_labels(&self) -> usize {
        match self {
            Self::Sound(_) => 0,
            Self::Images(views) => views.images().num_labels(),
        }
    }

    /// Buffers for one thread.
    pub fn workspace(&self) -> Workspace {
        match self {
            Self::Sound(views) => Workspace::Sound(Box::new(views.workspace())),
            Self::Images(_) => Workspace::Images(ImageBuffers::default()),
        }
    }

    /// Writes the views of a sample, each [C, H, W] row-major, and its classes.
    ///
    /// # Shapes
    /// `views`: `request.num_views` of [`ViewMaker::view_len`] values; `classes`: [`ViewMaker::num_labels`].
    ///
    /// # Errors
    /// [`ViewError::of_sample`] tells bad samples from arguments that do not fit this maker.
    pub fn make(
        &self,
        workspace: &mut Workspace,
        request: &ViewRequest,
        views: Vec<&mut [f32]>,
        classes: &mut [i32],
    ) -> Result<(), ViewError> {
        match (self, workspace) {
            (Self::Sound(maker), Workspace::Sound(workspace)) => {
                let recording = maker.recording(workspace, request.draw.id)?;
                let first_view = request.draw.repeat.wrapping_mul(request.num_views);
                for (view, out) in (0..).zip(views) {
                    let view = first_view.wrapping_add(view);
                    let key = ViewKey {
                        seed: maker.seed(),
                        epoch: request.epoch,
                        sample_id: request.draw.id,
                        view,
                    };
                    maker.render(workspace, &recording, request.augment.then_some(&key), out)?;
                }
                Ok(())
            }
            (Self::Images(maker), Workspace::Images(buffers)) => {
                for out in views {
                    maker.make(buffers, request.draw.id, out, classes)?;
                }
                Ok(())
            }
            (maker, workspace) => {
                *workspace = maker.workspace();
                maker.make(workspace, request, views, classes)
            }
        }
    }
}
