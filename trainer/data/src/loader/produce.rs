//! The thread that makes one batch after the other.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use rayon::ThreadPool;

use super::LoaderError;
use super::prepare::Preparer;
use super::queue::{Queue, bytes_of};
use crate::batch::{Batch, BatchRequest};
use crate::memory::HostMemory;
use crate::progress::Work;

/// What the loader's own thread needs.
pub(super) struct Producer<M: HostMemory> {
    pub(super) queue: Arc<Queue<M::Block>>,
    pub(super) pool: ThreadPool,
    pub(super) preparer: Preparer,
    pub(super) memory: M,
    pub(super) tells_of_first: bool,
}

impl<M: HostMemory> Producer<M> {
    /// Runs until the requests end, a batch fails, or the loader is dropped.
    pub(super) fn run(self, requests: impl Iterator<Item = BatchRequest>) {
        let mut step = 0;
        let mut tells = self.tells_of_first;
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            for request in requests {
                step = request.step;
                match self.make(request, std::mem::take(&mut tells)) {
                    Ok(Some(batch)) => self.queue.push(Ok(batch)),
                    Ok(None) => return,
                    Err(error) => return self.queue.push(Err(error)),
                }
            }
        }));
        if let Err(panic) = unwound {
            self.queue.push(Err(LoaderError::Panicked { step, message: panic_message(&*panic) }));
        }
        self.queue.finish();
    }

    /// The batch of `request`, as soon as there is room for it. `None` when the loader is being dropped.
    fn make(&self, request: BatchRequest, tells: bool) -> Result<Option<Batch<M::Block>>, LoaderError> {
        let step = request.step;
        let layouts = self.preparer.layouts(&request)?;
        let Some(bytes) = bytes_of(&request, layouts.iter().map(|layout| layout.slot_len)) else {
            let (num_samples, num_views) = (request.draws.len(), request.total_views());
            return Err(LoaderError::TooLarge { step, num_samples, num_views });
        };
        if !self.queue.reserve(bytes) {
            return Ok(None);
        }
        let start = Instant::now();
        let mut blocks = Vec::with_capacity(layouts.len());
        for (group, layout) in request.groups.iter().zip(layouts) {
            let num_values = group.num_values(request.draws.len(), layout.slot_len).unwrap_or(0);
            let block = self.memory.allocate(num_values).map_err(|error| LoaderError::NoMemory {
                step,
                reason: error.to_string().lines().next().unwrap_or_default().to_owned(),
            })?;
            blocks.push((layout, block));
        }
        let work =
            tells.then(|| Work::begin("reading the first batch", "samples", request.draws.len() as u64));
        let stopped = self.queue.stopped();
        let batch = self.pool.install(|| self.preparer.prepare(request, blocks, stopped, work.as_ref()))?;
        Ok(batch.map(|batch| Batch { prepare_secs: start.elapsed().as_secs_f64(), ..batch }))
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
