//! Embeddings of a part of the data, this rank's share of them.

use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};
use tch::Tensor;

use super::Labelled;
use crate::data::{
    Batch, BatchRequest, Draw, FailedSample, LabelColumn, Loader, LoaderOptions, ViewMaker, share,
};
use crate::engine::Engine;
use crate::error::TrainError;
use crate::torch_extra::to_device_async;

/// Embeddings of this rank's share of a part.
pub struct Embeddings {
    /// `[n, D]` on the CPU.
    pub embeddings: Tensor,
    /// Sample of each row.
    pub ids: Vec<u32>,
    /// Recordings of any rank's share that could not be read, with their reasons; they are not among the rows.
    pub left_out: Vec<String>,
}

impl Embeddings {
    /// The rows that have `label`.
    pub fn labelled(&self, label: &LabelColumn) -> Labelled {
        let mut at = Vec::new();
        let mut classes = Vec::new();
        let mut ids = Vec::new();
        for (row, &id) in (0i64..).zip(&self.ids) {
            if let Some(class) = label.of_sample.get(id as usize).copied().flatten() {
                at.push(row);
                classes.push(i64::from(class));
                ids.push(i64::from(id));
            }
        }
        Labelled { embeddings: self.embeddings.index_select(0, &Tensor::from_slice(&at)), classes, ids }
    }
}

/// Embeds this rank's share of `ids`, centred crops without augmentation.
pub fn embed_part(
    engine: &Engine,
    maker: &Arc<ViewMaker>,
    ids: &[u32],
    batch_size: usize,
    options: LoaderOptions,
) -> Result<Embeddings, TrainError> {
    let world = engine.collective().world();
    let own = ids.get(share(ids.len(), world.world_size, world.rank)).unwrap_or_default().to_vec();
    let local = batch_size.div_ceil(world.world_size).max(1);
    let requests: Vec<BatchRequest> = (0u64..)
        .zip(own.chunks(local))
        .map(|(step, ids)| {
            let draws = ids.iter().copied().map(Draw::first).collect();
            BatchRequest { epoch: 0, step, draws, num_views: 1, augment: false }
        })
        .collect();
    let loader = Loader::start(Arc::clone(maker), requests.into_iter(), options)?;
    let mut rows = Vec::new();
    let mut kept = Vec::with_capacity(own.len());
    let mut failed = Vec::new();
    while let Some(batch) = loader.next().transpose()? {
        let inputs = inputs_of(&batch, engine)?;
        rows.push(engine.embed(&inputs)?.to_device(tch::Device::Cpu));
        kept.extend(kept_ids(&batch));
        failed.extend(batch.failed);
        loader.recycle(batch.data);
    }
    let embeddings = if rows.is_empty() {
        // An empty share still knows the width of a row.
        let [c, h, w] = maker.shape();
        let none = Tensor::zeros([0, c as i64, h as i64, w as i64], (engine.kind(), engine.device()));
        engine.embed(&none)?.to_device(tch::Device::Cpu)
    } else {
        Tensor::cat(&rows, 0)
    };
    let left_out = named_on_all_ranks(&**engine.collective(), &failed)?;
    Ok(Embeddings { embeddings, ids: kept, left_out })
}

fn named_on_all_ranks(
    collective: &dyn Collective,
    failed: &[FailedSample],
) -> Result<Vec<String>, TrainError> {
    let own: Vec<String> = failed.iter().map(|f| format!("`{}`: {}", f.path.display(), f.reason)).collect();
    let mut all = Vec::new();
    for bytes in collective.gather_bytes(&serde_json::to_vec(&own).map_err(TrainError::internal)?)? {
        all.extend(serde_json::from_slice::<Vec<String>>(&bytes).map_err(TrainError::internal)?);
    }
    Ok(all)
}

/// Samples that are present in a batch, in its order.
pub fn kept_ids(batch: &Batch) -> impl Iterator<Item = u32> {
    batch.kept.iter().filter_map(|&position| batch.request.draws.get(position).map(|draw| draw.id))
}

/// `[num_views * n, C, H, W]` of a batch, in the engine's precision and place.
///
/// # Errors
/// When memory runs out.
pub fn inputs_of(batch: &Batch, engine: &Engine) -> Result<Tensor, TrainError> {
    let [c, h, w] = batch.shape;
    let rows = batch.request.num_views as usize * batch.kept.len();
    let host = Tensor::from_slice(&batch.data).view([rows as i64, c as i64, h as i64, w as i64]);
    Ok(to_device_async(&host, engine.device())?.f_to_kind(engine.kind())?)
}
