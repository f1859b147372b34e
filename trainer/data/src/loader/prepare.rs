//! One batch: its views are made in parallel, each in its place; samples that fail drop out with all their views.

use std::ops::DerefMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::LoaderError;
use crate::batch::{Batch, BatchRequest, FailedSample, GroupRequest, ViewBlock};
use crate::columns::{ColumnError, Columns, NONE, Values};
use crate::memory::Written;
use crate::progress::Work;
use crate::sampler::Draw;
use crate::views::{ImageRecipe, ViewError, ViewRequest, ViewSlot, Views, Workspace};

/// Where one sample goes.
struct Place<'a> {
    sample_id: u32,
    views: Vec<ViewSlot<'a>>,
    classes: &'a mut [i32],
}

/// What the views of a group are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// Shape of a view.
    pub shape: [usize; 3],
    /// How views are made of what their slots hold.
    pub recipe: Option<Arc<ImageRecipe>>,
    /// Numbers of a slot.
    pub slot_len: usize,
}

/// What is drawn for the views of a group.
struct Drawn {
    names: Vec<String>,
    /// [num_views, samples, names], row-major.
    values: Vec<i64>,
}

impl Drawn {
    /// Of the samples that are present, by name.
    fn columns(
        mut self,
        kept: &[usize],
        num_samples: usize,
        num_views: usize,
    ) -> Result<Columns, ColumnError> {
        let len = drop_failed(&mut self.values, kept, num_samples, num_views, self.names.len());
        self.values.truncate(len);
        by_column(num_views * kept.len(), &self.names, &self.values)
    }
}

/// Makes batches on the threads of the pool that it is called in.
#[derive(Debug)]
pub(super) struct Preparer {
    maker: Arc<dyn Views>,
    /// One for each thread, so never waited for.
    workspaces: Vec<Mutex<Workspace>>,
}

impl Preparer {
    /// For a pool of `threads`.
    pub fn new(maker: Arc<dyn Views>, threads: usize) -> Self {
        let workspaces = (0..threads).map(|_| Mutex::default()).collect();
        Self { maker, workspaces }
    }

    /// What the views of each group are.
    ///
    /// # Errors
    /// Views of a spec that there is not.
    pub fn layouts(&self, request: &BatchRequest) -> Result<Vec<Layout>, LoaderError> {
        let of_spec = |spec: usize| {
            let recipe = self.maker.recipe_of(spec).cloned();
            Some(Layout { shape: self.maker.shape_of(spec)?, recipe, slot_len: self.maker.slot_len(spec)? })
        };
        let of_group = |&GroupRequest { num_views, spec }: &GroupRequest| match of_spec(spec) {
            // No view has it.
            None if num_views == 0 => of_spec(0).ok_or(ViewError::UnknownSpec(0)),
            layout => layout.ok_or(ViewError::UnknownSpec(spec)),
        };
        let layouts: Result<_, _> = request.groups.iter().map(of_group).collect();
        layouts.map_err(|error| failed_batch(request.step, &error))
    }

    /// Makes the batch of `request` in `blocks`, one for each group with its layout, each of its size, and counts its samples in
    /// `work`. `None` if `stop` was set meanwhile.
    pub fn prepare<B: DerefMut<Target = [f32]>>(
        &self,
        request: BatchRequest,
        mut blocks: Vec<(Layout, B)>,
        stop: &AtomicBool,
        work: Option<&Work>,
    ) -> Result<Option<Batch<B>>, LoaderError> {
        let num_samples = request.draws.len();
        let num_labels = self.maker.labels().len();
        let mut classes = vec![NONE as i32; num_samples * num_labels];
        let mut drawn: Vec<Drawn> =
            request.groups.iter().map(|group| self.nothing_drawn(group, num_samples)).collect();
        let places = places(&request, &mut blocks, &mut drawn, &mut classes, num_labels);
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
                    None => return Err(failed_batch(request.step, &error)),
                },
            }
        }
        let mut groups = Vec::with_capacity(blocks.len());
        for ((&GroupRequest { num_views, .. }, (layout, mut block)), drawn) in
            request.groups.iter().zip(blocks).zip(drawn)
        {
            let Layout { shape, recipe, slot_len } = layout;
            let len = drop_failed(&mut block, &kept, num_samples, num_views as usize, slot_len);
            let drawn = drawn.columns(&kept, num_samples, num_views as usize);
            let drawn = drawn.map_err(|error| failed_batch(request.step, &error.into()))?;
            groups.push(ViewBlock { num_views, shape, recipe, data: Written::new(block, len), drawn });
        }
        let len = drop_failed(&mut classes, &kept, num_samples, 1, num_labels);
        classes.truncate(len);
        let classes: Vec<i64> = classes.into_iter().map(i64::from).collect();
        let labels = by_column(kept.len(), self.maker.labels(), &classes);
        let labels = labels.map_err(|error| failed_batch(request.step, &error.into()))?;
        Ok(Some(Batch { request, kept, failed, groups, labels, prepare_secs: 0.0 }))
    }

    /// Room for what is drawn for the views of a group.
    fn nothing_drawn(&self, group: &GroupRequest, num_samples: usize) -> Drawn {
        let names = self.maker.drawn_columns(group.spec);
        let values = vec![NONE; names.len() * group.num_views as usize * num_samples];
        Drawn { names, values }
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
                own = Workspace::default();
                &mut own
            }
        };
        let BatchRequest { epoch, augment, .. } = *request;
        let wanted = ViewRequest { epoch, sample_id: place.sample_id, augment };
        self.maker.make(workspace, &wanted, place.views, place.classes)
    }
}

/// The place of each sample: its views, which lie as far apart as there are samples in their block, what is drawn for them,
/// and its classes.
fn places<'a, B: DerefMut<Target = [f32]>>(
    request: &BatchRequest,
    blocks: &'a mut [(Layout, B)],
    drawn: &'a mut [Drawn],
    classes: &'a mut [i32],
    num_labels: usize,
) -> Vec<Place<'a>> {
    let mut by_sample = classes.chunks_mut(num_labels.max(1));
    let num_views = request.total_views() as usize;
    let mut places: Vec<Place<'a>> = request
        .draws
        .iter()
        .map(|&Draw { id, .. }| Place {
            sample_id: id,
            views: Vec::with_capacity(num_views),
            classes: by_sample.next().unwrap_or_default(),
        })
        .collect();
    let groups = request.groups.iter().enumerate().zip(blocks).zip(drawn);
    for (((number, group), (layout, block)), drawn) in groups {
        let slot_len = layout.slot_len.max(1);
        let by_view = block.chunks_mut((places.len() * slot_len).max(1)).take(group.num_views as usize);
        let mut drawn_by_row = drawn.values.chunks_mut(drawn.names.len().max(1));
        for (index, values) in (0..).zip(by_view) {
            let samples = places.iter_mut().zip(&request.draws).zip(values.chunks_mut(slot_len));
            for ((place, draw), values) in samples {
                // A sample that is drawn again goes on with further views.
                let view = group.view(number, index, draw.repeat);
                let drawn = drawn_by_row.next().unwrap_or_default();
                place.views.push(ViewSlot { spec: group.spec, view, index, values, drawn });
            }
        }
    }
    places
}

/// Columns of row-major `values`, [num_rows, names].
fn by_column(num_rows: usize, names: &[String], values: &[i64]) -> Result<Columns, ColumnError> {
    let mut columns = Columns::new(num_rows);
    for (at, name) in names.iter().enumerate() {
        let column = values.iter().skip(at).step_by(names.len()).copied().collect();
        columns.put(name.clone(), 1, Values::I64(column))?;
    }
    Ok(columns)
}

/// The error of a batch that cannot be made, whatever its samples are.
fn failed_batch(step: u64, error: &ViewError) -> LoaderError {
    LoaderError::Failed { step, reason: error.to_string(), hint: error.hint() }
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
