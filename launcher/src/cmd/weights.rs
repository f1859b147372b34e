//! The weights that a verb works with: a run's newest or best checkpoint, or one that is named by its folder.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use dtrain_configs::schema::EvalWeights;
use dtrain_configs::{Origins, RunConfig};
use dtrain_front::Exit;
use dtrain_front::cli::ConfigDir;
use dtrain_trainer::run::{AskedBy, RunDir, open_checkpoint, require_best};
use dtrain_trainer::track::BestWeights;

/// A checkpoint, with the settings of its run.
pub struct Weights {
    /// The run.
    pub run_dir: RunDir,
    /// Its settings, with those that were typed.
    pub config: RunConfig,
    /// Which of them were typed.
    pub origins: Origins,
    /// A checkpoint's folder, or the run directory, which stands for its newest.
    pub path: PathBuf,
    is_named: bool,
    best: Option<BestWeights>,
}

/// Which checkpoint of a run is wanted, where a run is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Newest,
    /// The best, by `--best`.
    Best,
    /// What `eval.weights` says.
    AsSet,
}

impl Wanted {
    /// The best with `--best`, the newest without.
    pub fn best_or_newest(best: bool) -> Self {
        if best { Self::Best } else { Self::Newest }
    }

    /// The best with `--best`, what the settings say without.
    pub fn best_or_as_set(best: bool) -> Self {
        if best { Self::Best } else { Self::AsSet }
    }

    /// How the best checkpoint is asked for, if it is. A folder that is named stands before a setting of its run.
    fn asks_for_best(self, config: &RunConfig, origins: &Origins, is_named: bool) -> Option<AskedBy> {
        let by_setting = config.eval.weights == EvalWeights::Best;
        match self {
            Self::Newest => None,
            Self::Best => Some(AskedBy::Option),
            Self::AsSet => {
                (by_setting && (!is_named || origins.is_asked("eval.weights"))).then_some(AskedBy::Setting)
            }
        }
    }
}

impl Weights {
    /// Finds what `checkpoint` stands for, of a run what is `wanted`.
    ///
    /// # Errors
    /// It is neither run nor checkpoint, or has no best one.
    pub fn choose(
        checkpoint: &Path,
        wanted: Wanted,
        overrides: &[String],
        config_dir: &ConfigDir,
    ) -> Result<Self, Failure> {
        let (run_dir, folder) = open_checkpoint(checkpoint)?;
        let (config, origins) =
            dtrain_configs::load_with(&run_dir.config(), overrides, &config_dir.options())?;
        let is_named = folder.is_some();
        let mut chosen = Self {
            path: folder.unwrap_or_else(|| run_dir.path().to_owned()),
            run_dir,
            config,
            origins,
            is_named,
            best: None,
        };
        let Some(asked) = wanted.asks_for_best(&chosen.config, &chosen.origins, is_named) else {
            return Ok(chosen);
        };
        if is_named {
            return Err(Failure::agreed(
                Exit::Usage,
                format!(
                    "`{}` chooses among the checkpoints of a run, and `{}` is one of them",
                    asked.word(),
                    checkpoint.display()
                ),
                Some(format!("give the run directory, or leave `{}` out", asked.word())),
            ));
        }
        let found = require_best(&chosen.run_dir, &chosen.config.checkpoint, asked)?;
        chosen.path = found.folder;
        chosen.best = Some(found.weights);
        Ok(chosen)
    }

    /// Whether they are a run's best or its last; a checkpoint that is named counts as the last of its own.
    pub fn which(&self) -> EvalWeights {
        if self.best.is_some() { EvalWeights::Best } else { EvalWeights::Last }
    }

    /// Which weights they are, `step` steps old.
    pub fn describe(&self, step: u64) -> String {
        match &self.best {
            Some(best) => {
                format!(
                    "best weights: step {step}, {} {} ({} is better)",
                    best.monitor,
                    best.value,
                    best.mode.word()
                )
            }
            None if self.is_named => format!("weights of step {step}"),
            None => format!("last weights: step {step}"),
        }
    }
}
