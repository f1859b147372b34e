//! Rank 0's way of saving: which tier, with the thread or without it, and what became of the checkpoint in flight.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use dtrain_configs::RunDir;
use dtrain_configs::schema::CheckpointConfig;
use tch::Device;

use super::tiers::{RUN_ID_KEY, local_folder};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Job, ManifestInfo, Retention, RetentionPolicy, TensorHome, TensorSpec,
    Writer, Written, file_bytes,
};
use crate::coordinator::SaveKind;
use crate::error::TrainError;
use crate::run::directory::run_id;
use crate::state::{Layout, Snapshot, Staging};

/// Bytes besides tensors that a checkpoint may take: state, manifest, the names in the headers.
const SMALL_BYTES: u64 = 1 << 16;

/// Saves.
pub struct Saver {
    run_id: String,
    durable: Tier,
    local: Option<Tier>,
    mode: Mode,
}

struct Tier {
    store: CheckpointStore,
    retention: Retention,
}

enum Mode {
    /// The caller waits until the files are durable.
    Direct,
    /// The memory is with the thread while a checkpoint is in flight.
    Background { writer: Writer<Staging>, staging: Option<Staging> },
}

/// What a save cost the caller.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pause {
    /// Seconds of waiting for the checkpoint before.
    pub wait_secs: f64,
    /// Seconds of everything else.
    pub pause_secs: f64,
}

impl Saver {
    /// Opens the folders, makes sure that they can be written to and have room, and allocates what a copy needs. The run
    /// directory exists.
    ///
    /// # Errors
    /// What is lacking, before the first step.
    pub fn open(
        run: &RunDir,
        config: &CheckpointConfig,
        layouts: &[Layout],
        device: Device,
    ) -> Result<Self, TrainError> {
        let need = checkpoint_bytes(layouts)?;
        CheckpointStore::inspect(run.path()).require_space(need)?;
        let run_id = run_id::read_or_make(run)?;
        let retention = Retention::of(config);
        let durable = Tier::open(run.checkpoints(), retention, need)?;
        let policy = RetentionPolicy { keep_last: 1, ..RetentionPolicy::of(config) };
        let retention = Retention { policy, monitor: None, keeps: Vec::new() };
        let local = config.local_dir.as_ref().filter(|_| config.local_every_steps.is_some());
        let local = local.map(|dir| Tier::open(local_folder(dir, &run_id), retention, need)).transpose()?;
        let mode = if config.asynchronous {
            let specs = layouts.iter().flat_map(|layout| &layout.tensors);
            let staging = Staging::new(specs, device).map_err(|error| {
                let hint = "`checkpoint.async=false` writes from where the tensors lie, while training waits";
                error.wanting("a copy of what a checkpoint holds", Some(need), hint)
            })?;
            Mode::Background { writer: Writer::start()?, staging: Some(staging) }
        } else {
            Mode::Direct
        };
        Ok(Self { run_id, durable, local, mode })
    }

    /// Saves `snapshot`, and waits for the disk where it is the last one. Checkpoints that became durable meanwhile are
    /// added to `written`. Of the durable ones the newest up to each step of `keeps` stays.
    ///
    /// # Errors
    /// Those of the disk, also of the checkpoint before; what was durable stays.
    pub fn save(
        &mut self,
        (kind, step): (SaveKind, u64),
        snapshot: &Snapshot,
        mut info: ManifestInfo,
        keeps: Vec<u64>,
        written: &mut Vec<Written>,
    ) -> Result<Pause, TrainError> {
        let begin = Instant::now();
        written.extend(self.finish()?);
        let wait_secs = begin.elapsed().as_secs_f64();
        info.metadata.insert(RUN_ID_KEY.into(), self.run_id.clone().into());
        self.durable.retention.keeps = keeps;
        let tier = match (kind, &self.local) {
            (SaveKind::Local, Some(local)) => local,
            (SaveKind::Local | SaveKind::Periodic | SaveKind::Final, _) => &self.durable,
        };
        match &mut self.mode {
            Mode::Direct => written.push(snapshot.write(&tier.store, step, info, &tier.retention)?),
            Mode::Background { writer, staging } => {
                let mut memory = staging.take().ok_or(CheckpointError::WriterGone)?;
                let (model, optimizer) = memory.fill(snapshot)?;
                writer.submit(Job {
                    store: tier.store.clone(),
                    step,
                    memory,
                    model,
                    optimizer,
                    state: snapshot.sections.to_bytes()?,
                    info,
                    retention: tier.retention.clone(),
                })?;
            }
        }
        if kind == SaveKind::Final {
            written.extend(self.finish()?);
        }
        Ok(Pause { wait_secs, pause_secs: begin.elapsed().as_secs_f64() - wait_secs })
    }

    /// The checkpoint in flight, if it has become durable.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn poll(&mut self) -> Result<Option<Written>, TrainError> {
        let Mode::Background { writer, staging } = &mut self.mode else { return Ok(None) };
        let Some((memory, outcome)) = writer.poll()? else { return Ok(None) };
        staging.replace(memory);
        Ok(Some(outcome?))
    }

    /// Waits for the checkpoint in flight.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn finish(&mut self) -> Result<Option<Written>, TrainError> {
        let Mode::Background { writer, staging } = &mut self.mode else { return Ok(None) };
        let Some((memory, outcome)) = writer.wait()? else { return Ok(None) };
        staging.replace(memory);
        Ok(Some(outcome?))
    }

    /// Removes the run's folder on the fast tier, which the last durable checkpoint has made useless.
    pub fn leave_local(&mut self) {
        if let Some(local) = self.local.take()
            && let Err(error) = fs_err::remove_dir_all(local.store.dir())
        {
            tracing::warn!("{error}; remove the folder by hand");
        }
    }
}

/// What a checkpoint takes on the disk.
pub(crate) fn checkpoint_bytes(layouts: &[Layout]) -> Result<u64, TrainError> {
    let mut bytes = SMALL_BYTES;
    for home in TensorHome::ALL {
        let own = layouts.iter().filter(|layout| layout.home == home);
        let specs: Vec<TensorSpec> = own.flat_map(|layout| layout.tensors.clone()).collect();
        bytes += file_bytes(&specs, &BTreeMap::new())?;
    }
    Ok(bytes)
}

impl Tier {
    fn open(dir: PathBuf, retention: Retention, need_bytes: u64) -> Result<Self, TrainError> {
        let store = CheckpointStore::open(dir)?;
        store.require_writable()?;
        store.require_space(need_bytes)?;
        Ok(Self { store, retention })
    }
}
