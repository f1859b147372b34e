//! Checkpoints written by a thread of their own while training goes on. One is in flight at a time: the memory that it
//! is written from goes to the thread with the job and comes back with the outcome.

use std::io::{self, Write};
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded};
use dtrain_configs::schema::CheckpointConfig;

use super::content::{Content, TensorHome};
use super::error::CheckpointError;
use super::manifest::ManifestInfo;
use super::retention::RetentionPolicy;
use super::store::CheckpointStore;
use super::strided::Strided;
use super::tensor_spec::TensorSpec;

/// Memory that a checkpoint is written from.
pub trait Memory: Send + 'static {
    /// Waits until everything has been copied into it.
    ///
    /// # Errors
    /// The device's words.
    fn settle(&self) -> Result<(), String>;

    /// Its bytes.
    fn bytes(&self) -> &[u8];
}

/// Tensors of one file, and where each lies in the job's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Names, types and shapes.
    pub specs: Vec<TensorSpec>,
    /// Where they lie, in the same order.
    pub places: Vec<Strided>,
}

/// Which checkpoints stay after a save.
#[derive(Debug, Clone, PartialEq)]
pub struct Retention {
    /// How many.
    pub policy: RetentionPolicy,
    /// Metric that names the best one.
    pub monitor: Option<String>,
    /// Steps of which the newest checkpoint up to each stays as well.
    pub keeps: Vec<u64>,
}

impl Retention {
    /// By the settings.
    pub fn of(config: &CheckpointConfig) -> Self {
        let monitor = config.monitored().map(|(name, _)| name.to_owned());
        Self { policy: RetentionPolicy::of(config), monitor, keeps: Vec::new() }
    }
}

/// A checkpoint to be written.
#[derive(Debug)]
pub struct Job<M> {
    /// Where to.
    pub store: CheckpointStore,
    /// Optimizer steps that it holds.
    pub step: u64,
    /// What the tensors lie in.
    pub memory: M,
    /// Tensors of `model.safetensors`.
    pub model: Placed,
    /// Tensors of `optimizer.safetensors`.
    pub optimizer: Placed,
    /// Bytes of `state.bin`.
    pub state: Vec<u8>,
    /// What the manifest says besides.
    pub info: ManifestInfo,
    /// What is done with the others.
    pub retention: Retention,
}

/// A checkpoint that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its folder.
    pub folder: PathBuf,
    /// Optimizer steps that it holds.
    pub step: u64,
    /// Seconds until it was durable; those of the retention policy come after.
    pub secs: f64,
}

/// Writes a checkpoint and applies the retention policy.
///
/// # Errors
/// As [`CheckpointStore::save`]; a failed deletion.
pub fn write_and_retain(
    store: &CheckpointStore,
    content: Content<'_>,
    retention: &Retention,
) -> Result<Written, CheckpointError> {
    let (begin, step) = (Instant::now(), content.step);
    let folder = store.save(content)?;
    let written = Written { folder, step, secs: begin.elapsed().as_secs_f64() };
    store.apply(&store.plan(&retention.policy, retention.monitor.as_deref(), &retention.keeps)?)?;
    Ok(written)
}

/// The outcome of a job, with its memory.
type Done<M> = (M, Result<Written, CheckpointError>);

/// The thread that writes. Dropping it waits for the checkpoint in flight.
#[derive(Debug)]
pub struct Writer<M> {
    jobs: Option<Sender<Job<M>>>,
    done: Receiver<Done<M>>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
}

impl<M: Memory> Writer<M> {
    /// Starts the thread, which sleeps until there is a job.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, inbox) = bounded::<Job<M>>(1);
        let (outbox, done) = bounded::<Done<M>>(1);
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(move || {
            for job in inbox {
                let span = tracing::info_span!("checkpoint", step = job.step).entered();
                let outcome = work(&job);
                drop(span);
                if outbox.send((job.memory, outcome)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs: Some(jobs), done, thread: Some(thread), in_flight: false })
    }

    /// Hands over a job; the caller has made sure that none is in flight.
    ///
    /// # Errors
    /// [`CheckpointError::WriterGone`].
    pub fn submit(&mut self, job: Job<M>) -> Result<(), CheckpointError> {
        let jobs = self.jobs.as_ref().ok_or(CheckpointError::WriterGone)?;
        jobs.send(job).map_err(|_| CheckpointError::WriterGone)?;
        self.in_flight = true;
        Ok(())
    }

    /// Whether a checkpoint is being written, or written and not yet asked for.
    pub fn is_busy(&self) -> bool {
        self.in_flight
    }

    /// The outcome of the job in flight, if it is there already.
    ///
    /// # Errors
    /// [`CheckpointError::WriterGone`].
    pub fn poll(&mut self) -> Result<Option<Done<M>>, CheckpointError> {
        if !self.in_flight {
            return Ok(None);
        }
        match self.done.try_recv() {
            Ok(done) => {
                self.in_flight = false;
                Ok(Some(done))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(self.gone()),
        }
    }

    /// Waits for the job in flight; `None` if there is none.
    ///
    /// # Errors
    /// [`CheckpointError::WriterGone`].
    pub fn wait(&mut self) -> Result<Option<Done<M>>, CheckpointError> {
        if !self.in_flight {
            return Ok(None);
        }
        let done = self.done.recv().map_err(|_| self.gone())?;
        self.in_flight = false;
        Ok(Some(done))
    }

    fn gone(&mut self) -> CheckpointError {
        self.in_flight = false;
        CheckpointError::WriterGone
    }
}

impl<M> Drop for Writer<M> {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // It ends after its job; a panic in it has been reported already.
            let _ = thread.join();
        }
    }
}

fn work<M: Memory>(job: &Job<M>) -> Result<Written, CheckpointError> {
    job.memory.settle().map_err(|reason| CheckpointError::Copy { reason })?;
    let bytes = job.memory.bytes();
    let fill = |home: TensorHome, index: usize, writer: &mut dyn Write| {
        let placed = match home {
            TensorHome::Model => &job.model,
            TensorHome::Optimizer => &job.optimizer,
        };
        placed.places.get(index).map_or(Ok(()), |place| place.write_to(bytes, writer))
    };
    let content = Content {
        step: job.step,
        model: &job.model.specs,
        optimizer: &job.optimizer.specs,
        fill: &fill,
        state: &job.state,
        info: job.info.clone(),
    };
    write_and_retain(&job.store, content, &job.retention)
}

#[cfg(test)]
mod tests {
    use dtrain_configs::schema::MonitorMode;

    use super::*;
    use crate::checkpoint::{Dtype, TensorFile, Validation};

    /// Memory whose copy ends when the test says so.
    struct Held {
        bytes: Vec<u8>,
        open: Receiver<Result<(), String>>,
    }

    impl Memory for Held {
        fn settle(&self) -> Result<(), String> {
            self.open.recv().unwrap_or(Ok(()))
        }

        fn bytes(&self) -> &[u8] {
            &self.bytes
        }
    }

    fn job(store: &CheckpointStore, step: u64) -> (Job<Held>, Sender<Result<(), String>>) {
        let (gate, open) = bounded(1);
        let spec = |name: &str| TensorSpec { name: name.into(), dtype: Dtype::U8, shape: vec![2, 3] };
        let placed = |name: &str, offset: usize| Placed {
            specs: vec![spec(name)],
            places: vec![Strided { offset, element_bytes: 1, shape: vec![2, 3], strides: vec![1, 2] }],
        };
        let policy = RetentionPolicy { keep_last: 1, mode: MonitorMode::Max };
        let job = Job {
            store: store.clone(),
            step,
            memory: Held { bytes: (0..12).collect(), open },
            model: placed("w", 0),
            optimizer: placed("m", 6),
            state: vec![9; 5],
            info: ManifestInfo::default(),
            retention: Retention { policy, monitor: None, keeps: Vec::new() },
        };
        (job, gate)
    }

    #[test]
    fn a_job_is_written_while_the_caller_goes_on_and_old_ones_go() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        let mut writer = Writer::start().unwrap();
        assert!(writer.poll().unwrap().is_none() && writer.wait().unwrap().is_none());
        for step in [3, 7] {
            let (job, gate) = job(&store, step);
            writer.submit(job).unwrap();
            assert!(writer.is_busy() && writer.poll().unwrap().is_none());
            gate.send(Ok(())).unwrap();
            let (memory, written) = writer.wait().unwrap().unwrap();
            assert_eq!((memory.bytes.len(), written.unwrap().step), (12, step));
            assert!(!writer.is_busy());
        }
        let all = store.list(Validation::Full).unwrap();
        assert_eq!(all.iter().map(|listed| listed.step).collect::<Vec<_>>(), [7]);
        let model =
            TensorFile::parse(fs_err::read(dir.path().join("step-00000007/model.safetensors")).unwrap());
        assert_eq!(model.unwrap().tensor("w").unwrap().bytes, [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn a_failure_comes_back_with_the_memory_and_the_last_good_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        let mut writer = Writer::start().unwrap();
        let (first, gate) = job(&store, 1);
        drop(gate);
        writer.submit(first).unwrap();
        writer.wait().unwrap().unwrap().1.unwrap();
        let (second, gate) = job(&store, 2);
        gate.send(Err("CUDA error: device-side assert".into())).unwrap();
        writer.submit(second).unwrap();
        let (memory, outcome) = writer.wait().unwrap().unwrap();
        assert!(outcome.unwrap_err().to_string().contains("device-side assert"));
        assert_eq!(memory.bytes.len(), 12);
        assert_eq!(store.load_latest(Validation::Full).unwrap().unwrap().manifest.step, 1);
    }

    #[test]
    fn dropping_waits_for_the_checkpoint_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        let mut writer = Writer::start().unwrap();
        let (job, gate) = job(&store, 5);
        writer.submit(job).unwrap();
        let opener = std::thread::spawn(move || gate.send(Ok(())).unwrap());
        drop(writer);
        opener.join().unwrap();
        assert_eq!(store.load_latest(Validation::Full).unwrap().unwrap().manifest.step, 5);
    }
}
