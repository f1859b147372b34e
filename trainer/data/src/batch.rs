//! What is asked of the loader, and what it makes of it.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use crate::columns::Columns;
use crate::memory::Written;
use crate::sampler::Draw;
use crate::views::{ImageRecipe, MASKS};

/// The samples of one batch: a rank's share of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchRequest {
    /// Epoch, which names the views.
    pub epoch: u64,
    /// Step; handed through.
    pub step: u64,
    /// The samples; may be none. A sample that is drawn again in an epoch gets further views.
    pub draws: Vec<Draw>,
    /// Views of each sample, by shape and augmentations.
    pub groups: Vec<GroupRequest>,
    /// Whether views are augmented; otherwise each is the one that evaluation uses.
    pub augment: bool,
}

/// Groups of a request.
const MAX_GROUPS: u32 = 16;
/// Views of a sample in an epoch, in one group.
const MAX_VIEWS_OF_GROUP: u32 = (1 << 24) / MAX_GROUPS;

/// Views of each sample that are made alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRequest {
    /// Views of each sample.
    pub num_views: u32,
    /// Number of their spec, a shape and a list of augmentations, among those of the [`Views`](crate::Views).
    pub spec: usize,
}

/// A sample that has no views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSample {
    /// The sample.
    pub sample_id: u32,
    /// Its recording.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The views of one request, in memory of the kind `B`.
#[derive(Debug, PartialEq)]
pub struct Batch<B: Deref<Target = [f32]>> {
    /// What was asked for.
    pub request: BatchRequest,
    /// Positions in `request.draws` of the samples that are present, ascending.
    pub kept: Vec<usize>,
    /// The other samples, in the order of the request.
    pub failed: Vec<FailedSample>,
    /// The views, one block for each of `request.groups`.
    pub groups: Vec<ViewBlock<B>>,
    /// Classes of the labels that are read together with samples, by the names of the labels: a row for each of `kept`.
    pub labels: Columns,
    /// Time that making the batch took, in seconds.
    pub prepare_secs: f64,
}

/// The views of one group.
#[derive(Debug, PartialEq)]
pub struct ViewBlock<B: Deref<Target = [f32]>> {
    /// Views of each sample.
    pub num_views: u32,
    /// Shape of a view: [C, H, W].
    pub shape: [usize; 3],
    /// How the views are made of `data`; `None`: they are there.
    pub recipe: Option<Arc<ImageRecipe>>,
    /// [num_views, kept.len(), C, H, W], row-major; with a recipe [num_views, kept.len(), slot].
    pub data: Written<B>,
    /// What augmentations tell of the views, [num_views * kept.len()] rows in the same order; [`NONE`] where nothing was drawn.
    ///
    /// [`NONE`]: crate::columns::NONE
    pub drawn: Columns,
}

impl<B: Deref<Target = [f32]>> Batch<B> {
    /// Samples that are present, in their order.
    pub fn kept_ids(&self) -> impl Iterator<Item = u32> {
        self.kept.iter().filter_map(|&position| self.request.draws.get(position).map(|draw| draw.id))
    }
}

impl<B: Deref<Target = [f32]>> ViewBlock<B> {
    /// Numbers of a view, or of what it is made of.
    pub fn slot_len(&self) -> usize {
        self.recipe.as_ref().map_or_else(|| self.shape.iter().product(), |recipe| recipe.num_words())
    }
}

impl BatchRequest {
    /// Views of a sample, over all groups.
    pub fn total_views(&self) -> u32 {
        self.groups.iter().fold(0, |sum, group| sum.saturating_add(group.num_views))
    }
}

impl GroupRequest {
    /// Spec of the masks of samples.
    pub const MASKS: usize = MASKS;

    /// The mask of each sample.
    pub fn masks() -> Self {
        Self { num_views: 1, spec: Self::MASKS }
    }

    /// Views of the first spec, which every maker has.
    pub fn of(num_views: u32) -> Self {
        Self { num_views, spec: 0 }
    }

    /// Number of a view among those of its sample in the epoch, which names it: that of the view `index` in the group of number
    /// `group`, of a sample that was drawn `repeat` times before. Each group has numbers of its own, so that another one
    /// leaves its views as they are.
    pub fn view(&self, group: usize, index: u32, repeat: u32) -> u32 {
        let of_group = repeat.wrapping_mul(self.num_views).wrapping_add(index) % MAX_VIEWS_OF_GROUP;
        (group as u32 % MAX_GROUPS) * MAX_VIEWS_OF_GROUP + of_group
    }

    /// Values of the block for `num_samples` of which none fails, each view in a slot of `slot_len`; `None` beyond what can be
    /// addressed.
    pub fn num_values(&self, num_samples: usize, slot_len: usize) -> Option<usize> {
        let factors = [self.num_views as usize, slot_len, size_of::<f32>()];
        let bytes = factors.into_iter().try_fold(num_samples, usize::checked_mul)?;
        isize::try_from(bytes).ok().map(|_| bytes / size_of::<f32>())
    }
}
