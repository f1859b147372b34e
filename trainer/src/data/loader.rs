//! Batches of views, made ahead of time by threads of their own.
//!
//! Batches come in the order of the requests and with the same bits whatever the number of threads: a view is a pure
//! function of its name, and each has its place in the batch before any is made.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rayon::{ThreadPool, ThreadPoolBuilder};

use super::prepare::Preparer;
use super::view::ViewMaker;

/// Buffers that came back and wait for the next batch. More would only hold memory.
const MAX_SPARE_BUFFERS: usize = 2;

/// How far ahead batches are made, and by how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Threads that make views; 0 counts as 1.
    pub threads: usize,
    /// Most batches that are ready or being made; 0 counts as 1.
    pub prefetch_batches: usize,
    /// Most memory of these batches, in bytes. One batch is made in any case.
    pub prefetch_bytes: u64,
}

/// The samples of one batch: a rank's share of a step.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchRequest {
    /// Epoch, which names the views.
    pub epoch: u64,
    /// Step; handed through.
    pub step: u64,
    /// The samples; may be none.
    pub sample_ids: Vec<u32>,
    /// Views of each sample.
    pub num_views: u32,
    /// Whether views are augmented; otherwise each is the one that evaluation uses.
    pub augment: bool,
}

/// A sample that has no views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedSample {
    /// The sample.
    pub sample_id: u32,
    /// Its recording.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// The views of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// What was asked for.
    pub request: BatchRequest,
    /// Positions in `request.sample_ids` of the samples that are present, ascending.
    pub kept: Vec<usize>,
    /// The other samples, in the order of the request.
    pub failed: Vec<FailedSample>,
    /// Views, [num_views, kept.len(), C, H, W], row-major.
    pub data: Vec<f32>,
    /// Shape of a view: [C, H, W].
    pub shape: [usize; 3],
    /// Time that making the batch took, in seconds.
    pub prepare_secs: f64,
}

/// Why a loader ended early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoaderError {
    /// A thread could not be started.
    #[error("cannot start the loader's threads: {0}")]
    Threads(String),
    /// A thread panicked: a bug.
    #[error("the loader panicked at step {step}: {message}")]
    Panicked {
        /// Step of the batch.
        step: u64,
        /// Message of the panic.
        message: String,
    },
    /// A batch whose size cannot be addressed.
    #[error("the batch of step {step} is too large: {num_samples} samples of {num_views} views")]
    TooLarge {
        /// Step of the batch.
        step: u64,
        /// Its samples.
        num_samples: usize,
        /// Views of each.
        num_views: u32,
    },
    /// A batch failed for another reason than a bad recording.
    #[error("the batch of step {step} failed: {reason}")]
    Failed {
        /// Step of the batch.
        step: u64,
        /// Why.
        reason: String,
    },
}

/// Makes batches ahead of time. Dropping it ends its threads after the samples in work.
#[derive(Debug)]
pub struct Loader {
    shared: Arc<Shared>,
    producer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Result<Batch, LoaderError>>,
    /// Batches that are ready or being made.
    num_held: usize,
    held_bytes: u64,
    /// No batch will follow those that are ready.
    finished: bool,
    spare: Vec<Vec<f32>>,
}

impl Loader {
    /// Starts to make the batches of `requests`, in their order.
    ///
    /// `requests` is advanced on a thread of the loader, one request before it is needed; it must not block for
    /// longer than the drop of the loader may take.
    ///
    /// # Errors
    /// [`LoaderError::Threads`].
    pub fn start<I>(maker: Arc<ViewMaker>, requests: I, options: LoaderOptions) -> Result<Self, LoaderError>
    where
        I: Iterator<Item = BatchRequest> + Send + 'static,
    {
        let threads = options.threads.max(1);
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("loader-{i}"))
            .build()
            .map_err(|e| LoaderError::Threads(e.to_string()))?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            stop: AtomicBool::new(false),
        });
        let producer = std::thread::Builder::new().name("loader".into()).spawn({
            let shared = shared.clone();
            let preparer = Preparer::new(maker, threads);
            move || produce(&shared, &pool, &preparer, requests, options)
        });
        let producer = producer.map_err(|e| LoaderError::Threads(e.to_string()))?;
        Ok(Self { shared, producer: Some(producer) })
    }

    /// The next batch; waits for it. `None` after the last one, or after an error.
    ///
    /// # Errors
    /// [`LoaderError`] in place of the batch that could not be made.
    pub fn next(&self) -> Option<Result<Batch, LoaderError>> {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.ready.pop_front() {
                if let Ok(batch) = &result {
                    state.num_held -= 1;
                    state.held_bytes -= bytes_of(batch.request.num_values(batch.shape).unwrap_or(0));
                }
                self.shared.changed.notify_all();
                return Some(result);
            }
            if state.finished {
                return None;
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives the data of a batch back, to be used for a later one.
    pub fn recycle(&self, data: Vec<f32>) {
        let mut state = self.shared.lock();
        if state.spare.len() < MAX_SPARE_BUFFERS {
            state.spare.push(data);
        }
    }

    /// Batches that are ready now.
    pub fn num_ready(&self) -> usize {
        self.shared.lock().ready.len()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Between its look at `stop` and its sleep the producer holds the lock.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
        if let Some(producer) = self.producer.take() {
            // It catches its own panics.
            let _ = producer.join();
        }
    }
}

impl BatchRequest {
    /// Values of a batch of which no sample fails; `None` beyond what can be addressed.
    pub fn num_values(&self, shape: [usize; 3]) -> Option<usize> {
        let [channels, height, width] = shape;
        let factors = [self.num_views as usize, channels, height, width, size_of::<f32>()];
        let bytes = factors.into_iter().try_fold(self.sample_ids.len(), usize::checked_mul)?;
        isize::try_from(bytes).ok().map(|_| bytes / size_of::<f32>())
    }
}

fn bytes_of(num_values: usize) -> u64 {
    (num_values * size_of::<f32>()) as u64
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, and takes it: a buffer to fill. `None` when the loader is being dropped.
    fn reserve(&self, bytes: u64, options: LoaderOptions) -> Option<Vec<f32>> {
        let mut state = self.lock();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let fits = state.num_held < options.prefetch_batches.max(1)
                && state.held_bytes.saturating_add(bytes) <= options.prefetch_bytes;
            if fits || state.num_held == 0 {
                state.num_held += 1;
                state.held_bytes = state.held_bytes.saturating_add(bytes);
                return Some(state.spare.pop().unwrap_or_default());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn push(&self, result: Result<Batch, LoaderError>) {
        self.lock().ready.push_back(result);
        self.changed.notify_all();
    }
}

/// Runs on the loader's own thread until the requests end, a batch fails, or the loader is dropped.
fn produce(
    shared: &Shared,
    pool: &ThreadPool,
    preparer: &Preparer,
    requests: impl Iterator<Item = BatchRequest>,
    options: LoaderOptions,
) {
    let mut step = 0;
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        for request in requests {
            step = request.step;
            let Some(num_values) = request.num_values(preparer.shape()) else {
                let (num_samples, num_views) = (request.sample_ids.len(), request.num_views);
                return shared.push(Err(LoaderError::TooLarge { step, num_samples, num_views }));
            };
            let Some(buffer) = shared.reserve(bytes_of(num_values), options) else {
                return;
            };
            let start = Instant::now();
            let prepared = pool.install(|| preparer.prepare(request, num_values, buffer, &shared.stop));
            match prepared {
                Ok(Some(batch)) => {
                    shared.push(Ok(Batch { prepare_secs: start.elapsed().as_secs_f64(), ..batch }));
                }
                Ok(None) => return,
                Err(error) => return shared.push(Err(error)),
            }
        }
    }));
    if let Err(panic) = unwound {
        shared.push(Err(LoaderError::Panicked { step, message: panic_message(&*panic) }));
    }
    shared.lock().finished = true;
    shared.changed.notify_all();
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
