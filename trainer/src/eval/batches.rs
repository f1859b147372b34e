//! A part of the data, batch by batch: this rank's share of it, as evaluation sees it.

use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};
use tch::Tensor;

use crate::data::{Batch, BatchRequest, Draw, FailedSample, Loader, LoaderOptions, ViewMaker, share};
use crate::engine::Engine;
use crate::error::TrainError;
use crate::torch_extra::to_device_async;

/// How a part is read.
#[derive(Clone)]
pub struct Reading {
    /// Makes the views.
    pub maker: Arc<ViewMaker>,
    /// Samples of a batch, over all ranks.
    pub batch_size: usize,
    /// How batches are prepared.
    pub options: LoaderOptions,
}

impl Reading {
    /// Hands this rank's share of `ids` to `each`, batch by batch, without augmentation. Returns the samples of any
    /// rank's share that could not be read, with their reasons; they are not among those of the batches.
    pub(super) fn each(
        &self,
        engine: &Engine,
        ids: &[u32],
        mut each: impl FnMut(&Batch, Tensor) -> Result<(), TrainError>,
    ) -> Result<Vec<String>, TrainError> {
        let world = engine.collective().world();
        let own = ids.get(share(ids.len(), world.world_size, world.rank)).unwrap_or_default().to_vec();
        let local = self.batch_size.div_ceil(world.world_size).max(1);
        let requests: Vec<BatchRequest> = (0u64..)
            .zip(own.chunks(local))
            .map(|(step, ids)| {
                let draws = ids.iter().copied().map(Draw::first).collect();
                BatchRequest { epoch: 0, step, draws, num_views: 1, augment: false }
            })
            .collect();
        let loader = Loader::start(Arc::clone(&self.maker), requests.into_iter(), self.options)?;
        let mut failed = Vec::new();
        while let Some(mut batch) = loader.next().transpose()? {
            failed.append(&mut batch.failed);
            each(&batch, inputs_of(&batch, engine)?)?;
            loader.recycle(batch.data);
        }
        named_on_all_ranks(&**engine.collective(), &failed)
    }
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
