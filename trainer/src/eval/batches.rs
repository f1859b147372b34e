//! A part of the data, batch by batch: this rank's share of it, as evaluation sees it.

use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt};
use dtrain_data::progress::Work;
use dtrain_data::{BatchRequest, Draw, FailedSample, GroupRequest, LoaderOptions, Views, share};

use super::embedder::Embedder;
use tch::Tensor;

use crate::batch::{Batch, start_loader, upload};
use crate::engine::Engine;
use crate::error::TrainError;

/// How a part is read.
#[derive(Clone)]
pub struct Reading {
    /// Makes the views.
    pub maker: Arc<dyn Views>,
    /// Samples of a batch, over all ranks.
    pub batch_size: usize,
    /// How batches are prepared.
    pub options: LoaderOptions,
    /// What embeds the samples.
    pub embedder: Embedder,
    /// Whether the mask of each sample is read too.
    pub masks: bool,
}

impl Reading {
    /// Hands this rank's share of `ids` to `each`, as [`Self::each_with_masks`], but the views alone.
    pub(super) fn each(
        &self,
        engine: &Engine,
        what: &str,
        ids: &[u32],
        mut each: impl FnMut(&Batch, &Tensor) -> Result<(), TrainError>,
    ) -> Result<Vec<String>, TrainError> {
        self.each_with_masks(engine, what, ids, |batch, inputs, _| each(batch, inputs))
    }

    /// Hands this rank's share of `ids` to `each`, batch by batch, without augmentation: their views, and their masks
    /// where those are read. `what` is done with them, for
    /// progress. Returns the samples of any
    /// rank's share that could not be read, with their reasons; they are not among those of the batches.
    pub(super) fn each_with_masks(
        &self,
        engine: &Engine,
        what: &str,
        ids: &[u32],
        mut each: impl FnMut(&Batch, &Tensor, Option<&Tensor>) -> Result<(), TrainError>,
    ) -> Result<Vec<String>, TrainError> {
        let world = engine.collective().world();
        let own = ids.get(share(ids.len(), world.world_size, world.rank)).unwrap_or_default().to_vec();
        let local = self.batch_size.div_ceil(world.world_size).max(1);
        let groups: Vec<GroupRequest> =
            std::iter::once(GroupRequest::of(1)).chain(self.masks.then(GroupRequest::masks)).collect();
        let requests: Vec<BatchRequest> = (0u64..)
            .zip(own.chunks(local))
            .map(|(step, ids)| {
                let draws = ids.iter().copied().map(Draw::first).collect();
                BatchRequest { epoch: 0, step, draws, groups: groups.clone(), augment: false }
            })
            .collect();
        let loader = start_loader(&self.maker, requests.into_iter(), self.options, engine.device())?;
        // The other ranks are as fast.
        let work = Work::begin(what, "samples", ids.len() as u64);
        let mut failed = Vec::new();
        while let Some(mut batch) = loader.next().transpose()? {
            failed.append(&mut batch.failed);
            let views = upload(&batch, engine.device())?.arrived(engine.kind())?;
            let [inputs, masks @ ..] = views.as_slice() else {
                return Err(TrainError::internal("a batch without a group of views"));
            };
            each(&batch, &inputs.rows, masks.first().map(|masks| &masks.rows))?;
            work.add((batch.request.draws.len() * world.world_size) as u64);
        }
        named_on_all_ranks(&**engine.collective(), &failed)
    }
}

/// What any rank could not read, the same on all of them.
pub(super) fn named_on_all_ranks(
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
