//! What a network would see: views of a few training samples, made as training makes them, as pictures.

use std::sync::Arc;

use dtrain_comm::Collective;
use dtrain_configs::RunConfig;
use dtrain_data::{BatchRequest, Draw, LoaderOptions, spread};

use super::prepare::{Purpose, loader_options, prepare};
use super::report::{captions, pictures_of};
use crate::batch::start_loader;
use crate::error::TrainError;
use crate::track::Picture;

/// Pictures of the views of `num_samples` samples, spread over the training part: a picture for each shape that views have, with
/// its number, a row per sample and a column per view. They are those of the first epoch of a run with these settings.
///
/// # Errors
/// Settings that do not fit the data; samples that cannot be read are left out.
pub fn seen_views(
    config: RunConfig,
    ranks: &Arc<dyn Collective>,
    num_samples: usize,
) -> Result<Vec<(usize, Picture)>, TrainError> {
    let prepared = prepare(config, ranks, Purpose::Evaluate, None)?;
    let draws = spread(&prepared.dataset.train, num_samples).iter().copied().map(Draw::first).collect();
    let groups = prepared.engine.method().view_groups();
    let request = BatchRequest { draws, groups, augment: true, ..BatchRequest::default() };
    let options = LoaderOptions { tells_of_first: true, ..loader_options(&prepared) };
    let device = prepared.engine.device();
    let loader = start_loader(&prepared.maker, std::iter::once(request), options, device)?;
    let Some(batch) = loader.next().transpose()? else {
        return Err(TrainError::internal("the loader ended before its only batch"));
    };
    Ok(pictures_of(&batch, num_samples, &captions(&prepared.dataset, &batch))?)
}
