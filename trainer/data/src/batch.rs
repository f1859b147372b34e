//! What is asked of the loader, and what it makes of it.

use std::ops::Deref;
use std::path::PathBuf;

use crate::memory::Written;
use crate::sampler::Draw;

/// The samples of one batch: a rank's share of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchRequest {
    /// Epoch, which names the views.
    pub epoch: u64,
    /// Step; handed through.
    pub step: u64,
    /// The samples; may be none. A sample that is drawn again in an epoch gets further views.
    pub draws: Vec<Draw>,
    /// Views of each sample.
    pub num_views: u32,
    /// Whether views are augmented; otherwise each is the one that evaluation uses.
    pub augment: bool,
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
    /// Views, [num_views, kept.len(), C, H, W], row-major.
    pub data: Written<B>,
    /// Classes of the labels that are read together with samples, [kept.len(), num_labels], row-major; -1: none.
    pub classes: Vec<i32>,
    /// Shape of a view: [C, H, W].
    pub shape: [usize; 3],
    /// Time that making the batch took, in seconds.
    pub prepare_secs: f64,
}

impl<B: Deref<Target = [f32]>> Batch<B> {
    /// Samples that are present, in their order.
    pub fn kept_ids(&self) -> impl Iterator<Item = u32> {
        self.kept.iter().filter_map(|&position| self.request.draws.get(position).map(|draw| draw.id))
    }
}

impl BatchRequest {
    /// Values of a batch of which no sample fails; `None` beyond what can be addressed.
    pub fn num_values(&self, shape: [usize; 3]) -> Option<usize> {
        let [channels, height, width] = shape;
        let factors = [self.num_views as usize, channels, height, width, size_of::<f32>()];
        let bytes = factors.into_iter().try_fold(self.draws.len(), usize::checked_mul)?;
        isize::try_from(bytes).ok().map(|_| bytes / size_of::<f32>())
    }
}
