//! The best checkpoint of a run: which one it is, and what its weights reach beside the last ones.

use std::path::PathBuf;

use dtrain_comm::CollectiveExt;
use dtrain_configs::schema::{Auto, CheckpointConfig};
use dtrain_configs::shell_path;

use super::load::load_at;
use super::{Inventory, RunDir, Session, agreed};
use crate::checkpoint::Validation;
use crate::coordinator::StopReason;
use crate::error::TrainError;
use crate::track::{BestWeights, RunResult};

/// A best checkpoint, and what makes it that.
#[derive(Debug, Clone, PartialEq)]
pub struct BestCheckpoint {
    /// Its folder.
    pub folder: PathBuf,
    /// Step, metric and value; of the metrics those that were measured when it was saved.
    pub weights: BestWeights,
}

/// The best durable checkpoint of `run` by `config`, which its settings say or somebody who asks; `None` while no checkpoint
/// knows the metric, or where none is named.
///
/// # Errors
/// When the folder cannot be read.
pub fn best_checkpoint(
    run: &RunDir,
    config: &CheckpointConfig,
) -> Result<Option<BestCheckpoint>, TrainError> {
    let Some((monitor, mode)) = config.monitored() else { return Ok(None) };
    let Some(entry) = Inventory::durable(run, config).best()? else { return Ok(None) };
    let Ok(manifest) = entry.manifest else { return Ok(None) };
    let Some(&value) = manifest.metrics.get(monitor) else { return Ok(None) };
    let weights = BestWeights {
        step: manifest.step,
        epoch: manifest.epoch,
        monitor: monitor.to_owned(),
        mode,
        value,
        metrics: manifest.metrics.into_iter().filter(|(name, _)| is_of_weights(name)).collect(),
    };
    Ok(Some(BestCheckpoint { folder: entry.dir, weights }))
}

/// As [`best_checkpoint`], for somebody who asks for it.
///
/// # Errors
/// There is none; the reason and what there is.
pub fn require_best(run: &RunDir, config: &CheckpointConfig) -> Result<BestCheckpoint, TrainError> {
    if let Some(best) = best_checkpoint(run, config)? {
        return Ok(best);
    }
    let (shown, typed) = (run.path().display(), shell_path(run.path()));
    let entries = Inventory::durable(run, config).list(Validation::Quick)?;
    let newest = entries.iter().rev().find_map(|entry| entry.manifest.as_ref().ok());
    let Some(newest) = newest else {
        return Err(TrainError::config(
            format!("`{shown}` holds no checkpoint yet"),
            "train first; without `--best` the newest checkpoint is taken",
        ));
    };
    let measured: Vec<&str> =
        newest.metrics.keys().map(String::as_str).filter(|name| name.starts_with("val/")).collect();
    let hint = match measured.first() {
        Some(first) => format!(
            "name one that was measured, such as `checkpoint.monitor={first}` behind `--best`; there are {}",
            measured.join(", ")
        ),
        None => format!(
            "without `--best` the newest checkpoint is taken; `dtrain checkpoint ls {typed}` lists all, and each can be \
             named by its folder"
        ),
    };
    let why = match &config.monitor {
        Some(Auto::Value(monitor)) => format!("none of its checkpoints knows `{monitor}`"),
        Some(Auto::Auto) | None => "no metric names it (`checkpoint.monitor`)".to_owned(),
    };
    Err(TrainError::config(format!("`{shown}` has no best checkpoint: {why}"), hint))
}

/// Whether a metric says how good weights are, and not how fast they came about.
fn is_of_weights(name: &str) -> bool {
    !name.starts_with("perf/") && !name.starts_with("opt/")
}

impl Session<'_> {
    /// The best weights of the run. Where it has ended for good they are evaluated as the last ones have been, which they
    /// replace in the engine: nothing is trained after this.
    pub(super) fn best_weights(&mut self, reason: &StopReason) -> Result<Option<BestWeights>, TrainError> {
        let Some(run_dir) = self.run_dir.clone() else { return Ok(None) };
        let checkpoint = self.prepared.config.checkpoint.clone();
        let here = if self.is_rank_0() { best_checkpoint(&run_dir, &checkpoint) } else { Ok(None) };
        let ranks = std::sync::Arc::clone(self.prepared.engine.collective());
        let here = agreed(&*ranks, here)?;
        // Only rank 0's coordinator knows how many steps were done.
        let last = self.coordinator.state().step;
        let found = here.as_ref().map(|best| (best.weights.step, best.weights.step == last));
        let told = ranks.broadcast_bytes(serde_json::to_vec(&found).map_err(TrainError::internal)?, 0)?;
        let found: Option<(u64, bool)> = serde_json::from_slice(&told).map_err(TrainError::internal)?;
        let Some((step, is_last)) = found else { return Ok(None) };
        let ends_for_good = matches!(reason, StopReason::Finished | StopReason::EarlyStopped);
        let evaluates = ends_for_good && self.prepared.config.eval.every_epochs > 0;
        let mut metrics = here.as_ref().map(|best| best.weights.metrics.clone()).unwrap_or_default();
        if is_last {
            let measured = self.metrics.iter().filter(|(name, _)| evaluates && is_of_weights(name));
            metrics.extend(measured.map(|(name, value)| (name.clone(), *value)));
        } else if evaluates {
            let path = here.as_ref().map_or_else(|| run_dir.path().to_owned(), |best| best.folder.clone());
            load_at(&*ranks, &path)?.apply_weights(&self.prepared)?;
            tracing::debug!(step, "the best weights are evaluated");
            for evaluation in self.evaluations(step, true)? {
                metrics.extend(evaluation.metrics);
            }
        }
        Ok(here.map(|best| BestWeights { metrics, ..best.weights }))
    }

    /// What the run's directory says already, where this start has added nothing to it.
    pub(super) fn earlier_result(&self, reason: &StopReason) -> Option<RunResult> {
        let path = self.run_dir.as_ref()?.result();
        let earlier = RunResult::read(&path).ok().filter(|_| path.exists() && !self.acted)?;
        let monitor = self.prepared.config.checkpoint.monitored().map(|(name, _)| name);
        let is_same = earlier.step == self.coordinator.state().step
            && earlier.stop_reason == reason.as_str()
            && earlier.data_fingerprint.is_some()
            && earlier.best.as_ref().map(|best| best.monitor.as_str()) == monitor;
        is_same.then_some(earlier)
    }
}
