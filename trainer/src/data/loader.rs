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
use super::sampler::Draw;
use super::views::ViewMaker;

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
    /// The samples; may be none. A sample that is drawn again in an epoch gets further views.
    pub draws: Vec<Draw>,
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
    /// Positions in `request.draws` of the samples that are present, ascending.
    pub kept: Vec<usize>,
    /// The other samples, in the order of the request.
    pub failed: Vec<FailedSample>,
    /// Views, [num_views, kept.len(), C, H, W], row-major.
    pub data: Vec<f32>,
    /// Classes of the labels that are read together with samples, [kept.len(), num_labels], row-major; -1: none.
    pub classes: Vec<i32>,
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

impl Batch {
    /// Samples that are present, in their order.
    pub fn kept_ids(&self) -> impl Iterator<Item = u32> {
        self.kept.iter().filter_map(|&position| self.request.draws.get(position).map(|draw| draw.id))
    }
}

impl BatchRequest {
    /// Values of a batch of which no sample fails; `None` beyond what can be addressed.
    pub fn num_values(&self, shape: [usize; 3]) -> Option<usize> {
        let [channels, height, width] = shape;
        let factors = [self.num_views as usize, channels, height, width, size_of::<f32>()];
        let bytes = factors.into_iter().try_fold(self.draws.len(), usize::checked_mul)?;
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
                let (num_samples, num_views) = (request.draws.len(), request.num_views);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use dtrain_configs::schema::{AudioConfig, AugmentConfig, FeatureConfig};
    use tempfile::TempDir;

    use super::*;
    use crate::data::SoundViews;

    const OPTIONS: LoaderOptions = LoaderOptions { threads: 2, prefetch_batches: 3, prefetch_bytes: 1 << 20 };

    /// Recordings of various lengths; number 5 and 6 are broken.
    fn maker() -> (TempDir, Arc<ViewMaker>) {
        let folder = tempfile::tempdir().unwrap();
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let paths: Vec<PathBuf> = (0..12u32).map(|i| folder.path().join(format!("{i}.wav"))).collect();
        for (i, path) in (0u32..).zip(&paths) {
            let mut writer = hound::WavWriter::create(path, spec).unwrap();
            for t in 0..500 + 200 * i {
                writer.write_sample((t * t % (1000 + i)) as i16).unwrap();
            }
            writer.finalize().unwrap();
        }
        fs_err::write(&paths[5], "no sound").unwrap();
        let half = fs_err::read(&paths[6]).unwrap();
        fs_err::write(&paths[6], &half[..half.len() / 2]).unwrap();
        let audio = AudioConfig { sample_rate: 8000, clip_secs: 0.1 };
        let features = FeatureConfig { n_fft: 128, hop_length: 80, n_mels: 8, ..FeatureConfig::default() };
        let maker = SoundViews::new(paths, &audio, &features, &AugmentConfig::default(), 3, 10_000).unwrap();
        (folder, Arc::new(ViewMaker::Sound(Box::new(maker))))
    }

    fn sound(maker: &ViewMaker) -> &SoundViews {
        match maker {
            ViewMaker::Sound(sound) => sound,
            ViewMaker::Images(_) => panic!("recordings"),
        }
    }

    fn request(step: u64, sample_ids: Vec<u32>) -> BatchRequest {
        let draws = sample_ids.into_iter().map(Draw::first).collect();
        BatchRequest { epoch: step / 4, step, draws, num_views: 2, augment: true }
    }

    fn requests() -> Vec<BatchRequest> {
        let mut requests: Vec<_> = (0..9u32)
            .map(|step| request(step.into(), (0..step).map(|i| (i * 5 + step) % 12).collect()))
            .collect();
        requests.push(BatchRequest { num_views: 1, augment: false, ..request(9, (0..12).collect()) });
        requests.push(request(10, vec![5, 6]));
        requests
    }

    fn all(maker: &Arc<ViewMaker>, options: LoaderOptions) -> Vec<Batch> {
        let loader = Loader::start(maker.clone(), requests().into_iter(), options).unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = loader.next() {
            batches.push(Batch { prepare_secs: 0.0, ..batch.unwrap() });
        }
        assert!(loader.next().is_none());
        batches
    }

    #[test]
    fn batches_come_in_order_with_the_same_bits_for_any_threads_and_budget() {
        let (_folder, maker) = maker();
        let expected = all(&maker, LoaderOptions { threads: 1, prefetch_batches: 1, prefetch_bytes: 0 });
        assert_eq!(expected.iter().map(|b| b.request.clone()).collect::<Vec<_>>(), requests());
        for threads in [0, 2, 5] {
            for (prefetch_batches, prefetch_bytes) in [(0, u64::MAX), (3, 20_000), (20, u64::MAX)] {
                let options = LoaderOptions { threads, prefetch_batches, prefetch_bytes };
                assert_eq!(all(&maker, options), expected, "{options:?}");
            }
        }
    }

    #[test]
    fn every_view_lies_in_its_place_and_failed_samples_drop_out_with_all_of_theirs() {
        let (_folder, maker) = maker();
        let mut workspace = sound(&maker).workspace();
        let mut expected = vec![0.0; maker.view_len()];
        for batch in all(&maker, OPTIONS) {
            let ids: Vec<u32> = batch.request.draws.iter().map(|draw| draw.id).collect();
            let good = |id: &u32| ![5, 6].contains(id);
            assert_eq!(batch.kept, (0..ids.len()).filter(|&i| good(&ids[i])).collect::<Vec<_>>());
            let failed: Vec<u32> = batch.failed.iter().map(|f| f.sample_id).collect();
            assert_eq!(failed, ids.iter().copied().filter(|id| !good(id)).collect::<Vec<_>>());
            for sample in &batch.failed {
                let reason = if sample.sample_id == 5 { "not a WAV file" } else { "truncated" };
                assert!(sample.reason.starts_with(reason), "{}", sample.reason);
                assert_eq!(sample.path, sound(&maker).recordings()[sample.sample_id as usize]);
            }
            let num_views = batch.request.num_views as usize;
            assert_eq!(batch.data.len(), num_views * batch.kept.len() * maker.view_len());
            let mut views = batch.data.chunks(maker.view_len());
            for view in 0..batch.request.num_views {
                for &position in &batch.kept {
                    let view = batch.request.augment.then_some(view);
                    let epoch = batch.request.epoch;
                    sound(&maker).make(&mut workspace, epoch, ids[position], view, &mut expected).unwrap();
                    assert_eq!(views.next().unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn a_sample_that_is_drawn_again_gets_further_views() {
        let (_folder, maker) = maker();
        let draws = vec![Draw { id: 1, repeat: 0 }, Draw { id: 1, repeat: 1 }];
        let request = BatchRequest { draws, ..request(0, Vec::new()) };
        let loader = Loader::start(maker.clone(), [request].into_iter(), OPTIONS).unwrap();
        let batch = loader.next().unwrap().unwrap();
        let mut workspace = sound(&maker).workspace();
        let mut expected = vec![0.0; maker.view_len()];
        // View-major: views 0 of both draws, then views 1; the second draw goes on with views 2 and 3.
        for (actual, view) in batch.data.chunks(maker.view_len()).zip([0, 2, 1, 3]) {
            sound(&maker).make(&mut workspace, 0, 1, Some(view), &mut expected).unwrap();
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn what_is_made_ahead_stays_within_the_budget() {
        let (_folder, maker) = maker();
        let batch_bytes = bytes_of(request(0, vec![0; 4]).num_values(maker.shape()).unwrap());
        for (prefetch_batches, prefetch_bytes, most) in [(3, u64::MAX, 3), (9, 2 * batch_bytes, 2), (9, 1, 1)]
        {
            let asked = Arc::new(AtomicU64::new(0));
            let counted = asked.clone();
            let endless = (0..).map(move |step| {
                counted.fetch_add(1, Ordering::SeqCst);
                request(step, vec![0, 1, 2, 3])
            });
            let options = LoaderOptions { threads: 2, prefetch_batches, prefetch_bytes };
            let loader = Loader::start(maker.clone(), endless, options).unwrap();
            for taken in 1..=50u64 {
                let batch = loader.next().unwrap().unwrap();
                assert_eq!(batch.request.step, taken - 1);
                // One request beyond what is held may have been asked for, and waits.
                assert!(asked.load(Ordering::SeqCst) <= taken + most + 1);
                let state = loader.shared.lock();
                assert!(state.num_held as u64 <= most && state.ready.len() as u64 <= most);
                assert!(state.held_bytes <= prefetch_bytes.max(batch_bytes));
                drop(state);
                loader.recycle(batch.data);
            }
            assert!(loader.shared.lock().spare.len() <= MAX_SPARE_BUFFERS);
        }
    }

    #[test]
    fn dropping_the_loader_ends_it_whatever_it_is_doing() {
        let (_folder, maker) = maker();
        for taken in 0..20 {
            let endless = (0..).map(|step| request(step, (0..12).cycle().take(60).collect()));
            let loader = Loader::start(maker.clone(), endless, OPTIONS).unwrap();
            for _ in 0..taken % 4 {
                loader.next().unwrap().unwrap();
            }
        }
        assert_eq!(Arc::strong_count(&maker), 1, "all threads are gone");
    }

    #[test]
    fn a_panic_and_an_impossible_request_end_the_loader_with_an_error() {
        let (_folder, maker) = maker();
        let good = || request(0, vec![1, 2]);
        let broken = (0..3).map(move |step| match step {
            0 => request(0, vec![1, 2]),
            _ => panic!("out of {step}"),
        });
        let loader = Loader::start(maker.clone(), broken, OPTIONS).unwrap();
        assert_eq!(loader.next().unwrap().unwrap().request, good());
        assert_eq!(loader.next(), Some(Err(LoaderError::Panicked { step: 0, message: "out of 1".into() })));
        assert_eq!(loader.next(), None);

        let bad = [request(7, vec![1, 99]), good()];
        let loader = Loader::start(maker.clone(), bad.into_iter(), OPTIONS).unwrap();
        let reason = "sample 99 does not exist: the data set has 12".into();
        assert_eq!(loader.next(), Some(Err(LoaderError::Failed { step: 7, reason })));
        assert_eq!(loader.next(), None);

        let huge = BatchRequest { num_views: u32::MAX, ..request(8, vec![0; 1 << 24]) };
        let loader = Loader::start(maker, [huge].into_iter(), OPTIONS).unwrap();
        assert!(matches!(loader.next(), Some(Err(LoaderError::TooLarge { step: 8, .. }))));
    }
}
