//! Batches of views, made ahead of time by threads of their own.
//!
//! Batches come in the order of the requests and with the same bits whatever the number of threads: a view is a pure
//! function of its name, and each has its place in the batch before any is made.

mod error;
mod measure;
mod prepare;
mod produce;
mod queue;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::JoinHandle;

use rayon::ThreadPoolBuilder;

use crate::batch::{Batch, BatchRequest};
use crate::memory::HostMemory;
use crate::views::Views;
pub use error::LoaderError;
pub use measure::measure;
use prepare::Preparer;
use produce::Producer;
use queue::Queue;

/// How far ahead batches are made, and by how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Threads that make views; 0 counts as 1.
    pub threads: usize,
    /// Most batches that are ready or being made; 0 counts as 1.
    pub prefetch_batches: usize,
    /// Most memory of these batches, in bytes. One batch is made in any case.
    pub prefetch_bytes: u64,
    /// Whether progress tells of the first batch, which everybody waits for; later ones are made while others are used.
    pub tells_of_first: bool,
}

/// Makes batches ahead of time, in memory of the kind `B`. Dropping it ends its threads after the samples in work.
pub struct Loader<B: Deref<Target = [f32]>> {
    queue: Arc<Queue<B>>,
    producer: Option<JoinHandle<()>>,
}

impl<B: Deref<Target = [f32]> + Send + 'static> Loader<B> {
    /// Starts to make the batches of `requests`, in their order, in `memory`.
    ///
    /// `requests` is advanced on a thread of the loader, one request before it is needed; it must not block for
    /// longer than the drop of the loader may take.
    ///
    /// # Errors
    /// [`LoaderError::Threads`].
    pub fn start<I, M>(
        maker: Arc<dyn Views>,
        requests: I,
        options: LoaderOptions,
        memory: M,
    ) -> Result<Self, LoaderError>
    where
        I: Iterator<Item = BatchRequest> + Send + 'static,
        M: HostMemory<Block = B>,
    {
        let threads = options.threads.max(1);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|e| LoaderError::Threads(e.to_string()))?;
        let queue = Arc::new(Queue::new(options));
        let preparer = Preparer::new(maker, threads);
        let producer = Producer {
            queue: Arc::clone(&queue),
            pool,
            preparer,
            memory,
            tells_of_first: options.tells_of_first,
        };
        let thread = std::thread::Builder::new().name("loader".into()).spawn(move || producer.run(requests));
        let thread = thread.map_err(|e| LoaderError::Threads(e.to_string()))?;
        Ok(Self { queue, producer: Some(thread) })
    }

    /// The next batch; waits for it. `None` after the last one, or after an error.
    ///
    /// # Errors
    /// [`LoaderError`] in place of the batch that could not be made.
    pub fn next(&self) -> Option<Result<Batch<B>, LoaderError>> {
        self.queue.take()
    }
}

impl<B: Deref<Target = [f32]>> Drop for Loader<B> {
    fn drop(&mut self) {
        self.queue.stop();
        if let Some(producer) = self.producer.take() {
            // It catches its own panics.
            let _ = producer.join();
        }
    }
}

impl<B: Deref<Target = [f32]>> fmt::Debug for Loader<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").finish_non_exhaustive()
    }
}
