//! The checkpoints of a run as somebody finds them who looks from outside: both tiers, valid or not, which one a resume
//! takes and which is the best.

use std::path::{Path, PathBuf};

use dtrain_configs::schema::CheckpointConfig;
use dtrain_configs::{RunConfig, RunDir};

use super::tiers::{TierName, local_folder};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Existing, Fault, Manifest, Retention, RetentionAction, RetentionPolicy,
    Validation,
};
use crate::error::TrainError;
use crate::run::directory::run_id;

/// A checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Where it is.
    pub tier: TierName,
    /// Step in the folder's name; `None` for a copy of another name.
    pub step: Option<u64>,
    /// Its folder.
    pub dir: PathBuf,
    /// Whether `latest` names it.
    pub is_latest: bool,
    /// Whether it has the best value of `checkpoint.monitor`.
    pub is_best: bool,
    /// What it holds, or what is wrong with it.
    pub manifest: Result<Manifest, Fault>,
}

impl Entry {
    /// Bytes of all files that the manifest lists.
    pub fn num_bytes(&self) -> Option<u64> {
        let files = self.manifest.as_ref().ok()?.files.values();
        Some(files.map(|file| file.bytes).sum())
    }
}

/// The run whose checkpoints are looked at.
pub struct Inventory {
    stores: Vec<(TierName, CheckpointStore)>,
    monitor: Option<String>,
    policy: RetentionPolicy,
}

/// What [`Inventory::prune`] deletes.
#[derive(Debug, Clone, PartialEq)]
pub struct Pruned {
    /// Deleted, or to be deleted.
    pub deleted: Vec<Entry>,
    /// What stays.
    pub kept: Vec<Entry>,
}

impl Inventory {
    /// The checkpoints of `run`, which runs with `config`.
    ///
    /// # Errors
    /// When the run's identity cannot be read.
    pub fn open(run: &RunDir, config: &RunConfig) -> Result<Self, TrainError> {
        let mut inventory = Self::durable(run, &config.checkpoint);
        if let Some((dir, id)) = config.checkpoint.local_dir.as_ref().zip(run_id::read(run)?) {
            inventory.stores.push((TierName::Local, CheckpointStore::inspect(local_folder(dir, &id))));
        }
        Ok(inventory)
    }

    /// Of the run's own folder alone.
    pub fn durable(run: &RunDir, config: &CheckpointConfig) -> Self {
        let Retention { policy, monitor, .. } = Retention::of(config);
        Self {
            stores: vec![(TierName::Durable, CheckpointStore::inspect(run.checkpoints()))],
            monitor,
            policy,
        }
    }

    /// The one with the best value of the metric; `None` where no valid one has a value.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn best(&self) -> Result<Option<Entry>, TrainError> {
        Ok(self.list(Validation::Quick)?.into_iter().find(|entry| entry.is_best))
    }

    /// All checkpoints, oldest first, the durable ones before the local ones.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn list(&self, level: Validation) -> Result<Vec<Entry>, TrainError> {
        let mut entries = Vec::new();
        for (tier, store) in &self.stores {
            let listed = store.list(level)?;
            let value = |manifest: &Manifest| {
                self.monitor.as_ref().and_then(|monitor| manifest.metrics.get(monitor).copied())
            };
            let existing: Vec<Existing> = listed
                .iter()
                .map(|one| Existing {
                    step: one.step,
                    valid: one.manifest.is_ok(),
                    value: one.manifest.as_ref().ok().and_then(value),
                })
                .collect();
            let best = self.policy.best(&existing);
            // A run that trains meanwhile may have deleted one since its name was read.
            let there = listed.into_iter().filter(|one| one.manifest != Err(Fault::NoFolder));
            entries.extend(there.map(|one| Entry {
                tier: *tier,
                step: Some(one.step),
                dir: one.dir,
                is_latest: one.is_latest,
                is_best: best == Some(one.step),
                manifest: one.manifest,
            }));
        }
        Ok(entries)
    }

    /// Deletes durable checkpoints but for the newest `keep_last` valid ones, the best, and the one that a resume would take.
    /// Every checksum is computed first, so that none is spared for one that only looks valid. `dry_run` deletes nothing.
    ///
    /// # Errors
    /// When a folder cannot be read or deleted.
    pub fn prune(&self, keep_last: usize, dry_run: bool) -> Result<Pruned, TrainError> {
        let entries: Vec<Entry> = self
            .list(Validation::Full)?
            .into_iter()
            .filter(|entry| entry.tier == TierName::Durable)
            .collect();
        let value = |entry: &Entry| entry.is_best.then_some(0.0);
        let existing: Vec<Existing> = entries
            .iter()
            .filter_map(|entry| {
                Some(Existing { step: entry.step?, valid: entry.manifest.is_ok(), value: value(entry) })
            })
            .collect();
        let latest = entries.iter().find(|entry| entry.is_latest).and_then(|entry| entry.step);
        let actions = RetentionPolicy { keep_last, ..self.policy }.plan(&existing, latest, &[]);
        let goes =
            |entry: &Entry| actions.iter().any(|RetentionAction::Delete { step }| entry.step == Some(*step));
        let (deleted, kept): (Vec<Entry>, Vec<Entry>) = entries.into_iter().partition(goes);
        if !dry_run {
            for (_, store) in self.stores.iter().filter(|(tier, _)| *tier == TierName::Durable) {
                store.apply(&actions)?;
            }
        }
        Ok(Pruned { deleted, kept })
    }
}

/// The checkpoint in the folder `dir`, every file of it read.
///
/// # Errors
/// When the folder holds no checkpoint.
pub fn look_at(dir: &Path) -> Result<Entry, TrainError> {
    let (step, manifest) = match CheckpointStore::open_at(dir, Validation::Full) {
        Ok(loaded) => (Some(loaded.manifest.step), Ok(loaded.manifest)),
        Err(CheckpointError::Damaged { fault, .. }) => (None, Err(fault)),
        Err(CheckpointError::NewerFormat { found, supported, .. }) => {
            (None, Err(Fault::NewerFormat { found, supported }))
        }
        Err(error) => return Err(error.into()),
    };
    let (is_latest, is_best) = (false, false);
    Ok(Entry { tier: TierName::Durable, step, dir: dir.to_owned(), is_latest, is_best, manifest })
}
