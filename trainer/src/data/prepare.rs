//! One batch: its views are made in parallel, each in its place; samples that fail drop out with all their views.

use std::slice::ChunksMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::loader::{Batch, BatchRequest, FailedSample, LoaderError};
use super::rng::ViewKey;
use super::sampler::Draw;
use super::view::{ViewError, ViewMaker, Workspace};

/// Makes batches on the threads of the pool that it is called in.
#[derive(Debug)]
pub(super) struct Preparer {
    maker: Arc<ViewMaker>,
    /// One for each thread, so never waited for.
    workspaces: Vec<Mutex<Workspace>>,
}

impl Preparer {
    /// For a pool of `threads`.
    pub fn new(maker: Arc<ViewMaker>, threads: usize) -> Self {
        let workspaces = (0..threads).map(|_| Mutex::new(maker.workspace())).collect();
        Self { maker, workspaces }
    }

    /// Shape of a view.
    pub fn shape(&self) -> [usize; 3] {
        self.maker.shape()
    }

    /// Makes the batch of `request`, of `num_values` values, in `buffer`. `None` if `stop` was set meanwhile.
    pub fn prepare(
        &self,
        request: BatchRequest,
        num_values: usize,
        buffer: Vec<f32>,
        stop: &AtomicBool,
    ) -> Result<Option<Batch>, LoaderError> {
        let mut data = buffer;
        // Whatever is left in it is overwritten.
        data.resize(num_values, 0.0);
        let view_len = self.maker.view_len();
        let num_samples = request.draws.len();

        // The views of sample i lie `num_samples` apart.
        let mut by_view: Vec<ChunksMut<'_, f32>> =
            data.chunks_mut((num_samples * view_len).max(1)).map(|part| part.chunks_mut(view_len)).collect();
        let places: Vec<(Draw, Vec<&mut [f32]>)> = request
            .draws
            .iter()
            .map(|&draw| (draw, by_view.iter_mut().filter_map(Iterator::next).collect()))
            .collect();
        let outcomes: Vec<Result<(), ViewError>> = places
            .into_par_iter()
            .with_max_len(1)
            .map(|(draw, views)| match stop.load(Ordering::Relaxed) {
                true => Ok(()),
                false => self.make_views(&request, draw, views),
            })
            .collect();
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }

        let (mut kept, mut failed) = (Vec::with_capacity(num_samples), Vec::new());
        for (position, (outcome, draw)) in outcomes.into_iter().zip(&request.draws).enumerate() {
            match outcome {
                Ok(()) => kept.push(position),
                Err(ViewError::Decode(error)) => failed.push(FailedSample {
                    sample_id: draw.id,
                    path: error.path.clone(),
                    reason: error.problem.to_string(),
                }),
                Err(error) => {
                    return Err(LoaderError::Failed { step: request.step, reason: error.to_string() });
                }
            }
        }
        drop_failed(&mut data, &kept, num_samples, request.num_views as usize, view_len);
        Ok(Some(Batch { request, kept, failed, data, shape: self.shape(), prepare_secs: 0.0 }))
    }

    fn make_views(
        &self,
        request: &BatchRequest,
        draw: Draw,
        views: Vec<&mut [f32]>,
    ) -> Result<(), ViewError> {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.workspaces.len().max(1);
        let mut own;
        let mut borrowed;
        let workspace = match self.workspaces.get(thread) {
            Some(slot) => {
                // Buffers only: a panic leaves nothing half done that would be read.
                borrowed = slot.lock().unwrap_or_else(PoisonError::into_inner);
                &mut *borrowed
            }
            None => {
                own = self.maker.workspace();
                &mut own
            }
        };
        let recording = self.maker.recording(workspace, draw.id)?;
        let first_view = draw.repeat.wrapping_mul(request.num_views);
        for (view, out) in (0..).zip(views) {
            let view = first_view.wrapping_add(view);
            let key = ViewKey { seed: self.maker.seed(), epoch: request.epoch, sample_id: draw.id, view };
            self.maker.render(workspace, &recording, request.augment.then_some(&key), out)?;
        }
        Ok(())
    }
}

/// Moves the views of the samples that are present to the front, [num_views, kept, ...], and cuts the rest off.
fn drop_failed(data: &mut Vec<f32>, kept: &[usize], num_samples: usize, num_views: usize, view_len: usize) {
    if kept.len() == num_samples {
        return;
    }
    let mut end = 0;
    for view in 0..num_views {
        for position in kept {
            // Never behind `end`: what is overwritten has been moved or dropped.
            let start = (view * num_samples + position) * view_len;
            data.copy_within(start..start + view_len, end);
            end += view_len;
        }
    }
    data.truncate(end);
}
