//! Saving: how long the loop pauses, and how fast the files become durable beside a plain write and fsync of as many bytes
//! to the same disk. The three take turns, since disks and their neighbours change from minute to minute.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dtrain_comm::Collective;
use dtrain_configs::schema::MonitorMode;
use dtrain_configs::{Origins, RunConfig};
use serde::Serialize;

use super::{median, synthetic};
use crate::checkpoint::durable::fsync_dir;
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Job, ManifestInfo, Memory, Retention, RetentionPolicy, TensorSpec,
    Writer,
};
use crate::error::TrainError;
use crate::run::resolve;
use crate::state::{Layout, Snapshot, Staging};

/// Bytes that the plain write hands over at once.
const PLAIN_CHUNK_BYTES: usize = 1 << 20;
/// Channels, rows and columns of the views.
const SHAPE: [i64; 3] = [3, 224, 224];

/// Saving.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointFigures {
    /// Bytes of the tensors of a checkpoint.
    pub bytes: u64,
    /// Median seconds in which training stands still for an asynchronous checkpoint.
    pub pause_s: f64,
    /// The longest of them.
    pub longest_pause_s: f64,
    /// Median seconds in which the thread writes it.
    pub write_s: f64,
    /// Median seconds of writing it while training waits (`checkpoint.async=false`).
    pub direct_s: f64,
    /// Median seconds of a plain write and fsync of as many bytes.
    pub plain_s: f64,
    /// Speed of the thread's write as a part of the plain one's: the median over the rounds.
    pub write_ratio: f64,
    /// The same for writing while training waits.
    pub direct_ratio: f64,
    /// Elements of all parameters.
    pub parameters: usize,
    /// CPU threads that copy.
    pub threads: usize,
    /// Name of the GPU, or `cpu`.
    pub device: String,
    /// Every round.
    pub rounds: Vec<Round>,
}

/// Seconds of one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Round {
    /// Pause of the asynchronous checkpoint.
    pub pause_s: f64,
    /// Its writing.
    pub write_s: f64,
    /// Writing while training waits.
    pub direct_s: f64,
    /// Plain write and fsync.
    pub plain_s: f64,
}

/// Measures `rounds` times in a folder of its own below `dir`.
///
/// # Errors
/// What the machine lacks; errors of the disk.
pub fn checkpoint(
    config: &RunConfig,
    collective: &Arc<dyn Collective>,
    dir: &Path,
    rounds: u32,
) -> Result<CheckpointFigures, TrainError> {
    if collective.world().world_size > 1 {
        let message = "`dtrain bench checkpoint` measures one process: rank 0 is the one that writes";
        return Err(TrainError::config(message, "start it without mpirun"));
    }
    let (resolved, place, _) = resolve(config, &**collective, &Origins::default(), None)?;
    tch::set_num_threads(resolved.threads as i32);
    let mut engine = synthetic::build(config, collective, &resolved, &place, SHAPE, 1)?;
    for (_, moment) in engine.moments()? {
        // Zeros might cost a disk less than numbers do.
        let _ = moment.shallow_clone().f_normal_(0.0, 1.0)?;
    }
    let parts = engine.stateful();
    let layouts = parts.iter().map(|part| part.layout()).collect::<Result<Vec<Layout>, _>>()?;
    let specs: Vec<TensorSpec> = layouts.into_iter().flat_map(|layout| layout.tensors).collect();
    let folder = Folder::make(dir)?;
    let mut bench = Bench {
        store: CheckpointStore::open(folder.0.join("checkpoints"))?,
        writer: Writer::start()?,
        staging: Some(Staging::new(&specs, place.device)?),
        folder: &folder.0,
    };
    let mut measured = Vec::new();
    // The first round finds a cold disk and is not counted.
    for number in 0..=rounds {
        let snapshot = || Snapshot::of(&parts);
        let round = bench.round(u64::from(number), &snapshot)?;
        measured.extend((number > 0).then_some(round));
    }
    let of = |value: fn(&Round) -> f64| median(&mut measured.iter().map(value).collect::<Vec<f64>>());
    Ok(CheckpointFigures {
        bytes: specs.iter().filter_map(TensorSpec::num_bytes).sum(),
        pause_s: of(|round| round.pause_s),
        longest_pause_s: measured.iter().map(|round| round.pause_s).fold(0.0, f64::max),
        write_s: of(|round| round.write_s),
        direct_s: of(|round| round.direct_s),
        plain_s: of(|round| round.plain_s),
        write_ratio: of(|round| round.plain_s / round.write_s),
        direct_ratio: of(|round| round.plain_s / round.direct_s),
        parameters: {
            drop(parts);
            engine.parameters().num_elements()
        },
        threads: resolved.threads,
        device: place.name,
        rounds: measured,
    })
}

struct Bench<'a> {
    store: CheckpointStore,
    writer: Writer<Staging>,
    staging: Option<Staging>,
    folder: &'a Path,
}

impl Bench<'_> {
    /// Each of the three once, in an order that turns from round to round.
    fn round(
        &mut self,
        number: u64,
        snapshot: &dyn Fn() -> Result<Snapshot, TrainError>,
    ) -> Result<Round, TrainError> {
        let mut round = Round { pause_s: 0.0, write_s: 0.0, direct_s: 0.0, plain_s: 0.0 };
        for turn in 0..3 {
            match (number + turn) % 3 {
                0 => round.plain_s = self.plain()?,
                1 => round.direct_s = self.direct(2 * number + 1, snapshot()?)?,
                _ => (round.pause_s, round.write_s) = self.background(2 * number + 2, snapshot)?,
            }
        }
        Ok(round)
    }

    fn plain(&self) -> Result<f64, TrainError> {
        let path = self.folder.join("plain");
        let bytes = self.staging.as_ref().map_or(&[][..], Memory::bytes);
        let begin = Instant::now();
        let mut file = fs_err::File::create(&path)?;
        for chunk in bytes.chunks(PLAIN_CHUNK_BYTES) {
            file.write_all(chunk)?;
        }
        file.sync_all()?;
        fsync_dir(self.folder)?;
        let secs = begin.elapsed().as_secs_f64();
        fs_err::remove_file(&path)?;
        Ok(secs)
    }

    fn direct(&self, step: u64, snapshot: Snapshot) -> Result<f64, TrainError> {
        Ok(snapshot.write(&self.store, step, ManifestInfo::default(), &only_the_newest())?.secs)
    }

    fn background(
        &mut self,
        step: u64,
        snapshot: &dyn Fn() -> Result<Snapshot, TrainError>,
    ) -> Result<(f64, f64), TrainError> {
        let begin = Instant::now();
        let snapshot = snapshot()?;
        let mut memory = self.staging.take().ok_or(CheckpointError::WriterGone)?;
        let (model, optimizer) = memory.fill(&snapshot)?;
        self.writer.submit(Job {
            store: self.store.clone(),
            step,
            memory,
            model,
            optimizer,
            state: snapshot.sections.to_bytes()?,
            info: ManifestInfo::default(),
            retention: only_the_newest(),
        })?;
        let pause_s = begin.elapsed().as_secs_f64();
        let (memory, written) = self.writer.wait()?.ok_or(CheckpointError::WriterGone)?;
        self.staging = Some(memory);
        Ok((pause_s, written?.secs))
    }
}

fn only_the_newest() -> Retention {
    Retention {
        policy: RetentionPolicy { keep_last: 1, mode: MonitorMode::Max },
        monitor: None,
        keeps: Vec::new(),
    }
}

/// A folder that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn make(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join(format!(".dtrain-bench-{}", std::process::id()));
        fs_err::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed has a name that says where it comes from.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use dtrain_comm::local_world;
    use dtrain_configs::{ComposeOptions, compose};

    use super::*;

    #[test]
    fn a_small_network_is_saved_and_nothing_remains() {
        let overrides = ["experiment=null", "model=cnn_small", "trainer.threads=1", "trainer.device=cpu"];
        let config = compose(&overrides.map(str::to_owned), &ComposeOptions::default()).unwrap().config;
        let dir = tempfile::tempdir().unwrap();
        let figures = checkpoint(&config, &local_world(1).remove(0), dir.path(), 2).unwrap();
        assert_eq!(figures.rounds.len(), 2);
        assert!(figures.bytes > 3 * 4 * figures.parameters as u64);
        for round in &figures.rounds {
            assert!(
                round.pause_s > 0.0 && round.write_s > 0.0 && round.direct_s > 0.0 && round.plain_s > 0.0
            );
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn only_one_process_measures() {
        let config = compose(&["experiment=null".to_owned()], &ComposeOptions::default()).unwrap().config;
        let refused = checkpoint(&config, &local_world(2).remove(0), Path::new("."), 1);
        assert!(refused.unwrap_err().to_string().contains("one process"));
    }
}
