//! One batch: its views are made in parallel, each in its place; samples that fail drop out with all their views.

use std::ops::DerefMut;
use std::slice::ChunksMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::LoaderError;
use crate::batch::{Batch, BatchRequest, FailedSample};
use crate::memory::Written;
use crate::progress::Work;
use crate::sampler::Draw;
use crate::views::{ViewError, ViewMaker, ViewRequest, Workspace};

/// Class of a sample that has none.
const NO_CLASS: i32 = -1;

/// Where one sample goes.
struct Place<'a> {
    draw: Draw,
    views: Vec<&'a mut [f32]>,
    classes: &'a mut [i32],
}

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

    /// Makes the batch of `request` in `block`, which is of its size, and counts its samples in `work`. `None` if `stop` was set
    /// meanwhile.
    pub fn prepare<B: DerefMut<Target = [f32]>>(
        &self,
        request: BatchRequest,
        mut block: B,
        stop: &AtomicBool,
        work: Option<&Work>,
    ) -> Result<Option<Batch<B>>, LoaderError> {
        let view_len = self.maker.view_len();
        let num_samples = request.draws.len();
        let num_labels = self.maker.num_labels();
        let mut classes = vec![NO_CLASS; num_samples * num_labels];

        // The views of sample i lie `num_samples` apart.
        let mut by_view: Vec<ChunksMut<'_, f32>> =
            block.chunks_mut((num_samples * view_len).max(1)).map(|part| part.chunks_mut(view_len)).collect();
        let mut by_sample = classes.chunks_mut(num_labels.max(1));
        let places: Vec<Place<'_>> = request
            .draws
            .iter()
            .map(|&draw| Place {
                draw,
                views: by_view.iter_mut().filter_map(Iterator::next).collect(),
                classes: by_sample.next().unwrap_or_default(),
            })
            .collect();
        let outcomes: Vec<Result<(), ViewError>> = places
            .into_par_iter()
            .with_max_len(1)
            .map(|place| match stop.load(Ordering::Relaxed) {
                true => Ok(()),
                false => self.make_views(&request, place),
            })
            .inspect(|_| work.into_iter().for_each(|work| work.add(1)))
            .collect();
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }

        let (mut kept, mut failed) = (Vec::with_capacity(num_samples), Vec::new());
        for (position, (outcome, draw)) in outcomes.into_iter().zip(&request.draws).enumerate() {
            match outcome {
                Ok(()) => kept.push(position),
                Err(error) => match error.of_sample() {
                    Some((path, reason)) => failed.push(FailedSample { sample_id: draw.id, path, reason }),
                    None => {
                        return Err(LoaderError::Failed {
                            step: request.step,
                            reason: error.to_string(),
                            hint: error.hint(),
                        });
                    }
                },
            }
        }
        let len = drop_failed(&mut block, &kept, num_samples, request.num_views as usize, view_len);
        let data = Written::new(block, len);
        let len = drop_failed(&mut classes, &kept, num_samples, 1, num_labels);
        classes.truncate(len);
        let shape = self.shape();
        Ok(Some(Batch { request, kept, failed, data, classes, shape, prepare_secs: 0.0 }))
    }

    fn make_views(&self, request: &BatchRequest, place: Place<'_>) -> Result<(), ViewError> {
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
        let BatchRequest { epoch, num_views, augment, .. } = *request;
        let wanted = ViewRequest { epoch, draw: place.draw, num_views, augment };
        self.maker.make(workspace, &wanted, place.views, place.classes)
    }
}

/// Moves the views of the samples that are present to the front, [num_views, kept, ...], and gives their length.
fn drop_failed<T: Copy>(
    data: &mut [T],
    kept: &[usize],
    num_samples: usize,
    num_views: usize,
    view_len: usize,
) -> usize {
    if kept.len() == num_samples {
        return data.len();
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
    end
}
