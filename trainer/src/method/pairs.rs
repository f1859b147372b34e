//! What the methods with a pair loss share: the keys of their rows, and the memory queue by the settings.

use dtrain_configs::schema::PairExclusion;
use tch::Tensor;

use super::Targets;
use crate::loss::contrastive::{PairKeys, Queue};
use crate::model::parameters::Parameters;

/// Views of a sample that are compared.
pub(super) const NUM_VIEWS: u32 = 2;

/// Rows of the pair loss.
#[derive(Debug)]
pub struct PairBatch {
    /// Normalized projections with graph, `[num_views * n, D]`.
    pub projections: Tensor,
    /// What decides about their pairs, `num_views * n` rows.
    pub keys: PairKeys,
}

/// The group of a sample that has positives among its own views only. It holds within the batch.
pub(super) fn own_group(position: i64) -> i64 {
    -1 - position
}

/// Keys of all views, given the group of each sample.
pub(super) fn keys(groups: &[i64], targets: &Targets, exclusions: &[PairExclusion]) -> PairKeys {
    let views = |column: &[i64]| column.repeat(NUM_VIEWS as usize);
    let excluded = exclusions.iter().map(|exclusion| match exclusion {
        PairExclusion::Recording => views(&targets.recordings),
        PairExclusion::Label => views(&targets.classes),
    });
    PairKeys { groups: views(groups), samples: views(&targets.sample_ids), excluded: excluded.collect() }
}

/// The queue, registered under `queue`; `None` where `size` is 0.
pub(super) fn queue(
    size: usize,
    dim: usize,
    exclusions: &[PairExclusion],
    parameters: &mut Parameters,
) -> Option<Queue> {
    let names: Vec<&str> = exclusions
        .iter()
        .map(|exclusion| match exclusion {
            PairExclusion::Recording => "recording",
            PairExclusion::Label => "label",
        })
        .collect();
    (size > 0).then(|| parameters.scope("queue", |scope| Queue::new(size, dim, &names, scope)))
}
