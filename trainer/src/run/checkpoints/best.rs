//! The best checkpoint of a run.

use std::path::PathBuf;

use dtrain_configs::schema::{Auto, CheckpointConfig};
use dtrain_configs::{RunDir, shell_path};

use super::inventory::Inventory;
use crate::checkpoint::Validation;
use crate::error::TrainError;
use crate::track::BestWeights;

/// A best checkpoint, and what makes it that.
#[derive(Debug, Clone, PartialEq)]
pub struct BestCheckpoint {
    /// Its folder.
    pub folder: PathBuf,
    /// Step, metric and value; of the metrics those that were measured when it was saved.
    pub weights: BestWeights,
}

/// How somebody asks for the best checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// `--best`.
    Option,
    /// `eval.weights=best`.
    Setting,
}

impl AskedBy {
    /// What is typed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Option => "--best",
            Self::Setting => "eval.weights=best",
        }
    }

    fn without(self) -> &'static str {
        match self {
            Self::Option => "without `--best`",
            Self::Setting => "with `eval.weights=last`",
        }
    }
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
pub fn require_best(
    run: &RunDir,
    config: &CheckpointConfig,
    asked: AskedBy,
) -> Result<BestCheckpoint, TrainError> {
    if let Some(best) = best_checkpoint(run, config)? {
        return Ok(best);
    }
    let (shown, typed) = (run.path().display(), shell_path(run.path()));
    let entries = Inventory::durable(run, config).list(Validation::Quick)?;
    let newest = entries.iter().rev().find_map(|entry| entry.manifest.as_ref().ok());
    let Some(newest) = newest else {
        return Err(TrainError::config(
            format!("`{shown}` holds no checkpoint yet"),
            format!("train first; {} the newest checkpoint is taken", asked.without()),
        ));
    };
    let measured: Vec<&str> =
        newest.metrics.keys().map(String::as_str).filter(|name| name.starts_with("val/")).collect();
    let hint = match measured.first() {
        Some(first) => format!(
            "name one that was measured, such as `checkpoint.monitor={first}` behind `{}`; there are {}",
            asked.word(),
            measured.join(", ")
        ),
        None => format!(
            "{} the newest checkpoint is taken; `dtrain checkpoint ls {typed}` lists all, and each can be named by its \
             folder",
            asked.without()
        ),
    };
    let why = match &config.monitor {
        Some(Auto::Value(monitor)) => format!("none of its checkpoints knows `{monitor}`"),
        Some(Auto::Auto) | None => "no metric names it (`checkpoint.monitor`)".to_owned(),
    };
    Err(TrainError::config(format!("`{shown}` has no best checkpoint: {why}"), hint))
}

/// Whether a metric says how good weights are, and not how fast they came about.
pub(crate) fn is_of_weights(name: &str) -> bool {
    !name.starts_with("perf/") && !name.starts_with("opt/")
}
