//! The weights that a verb works with: a run's newest or best checkpoint, or one that is named by its folder.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use dtrain_configs::{Origins, RunConfig};
use dtrain_front::Exit;
use dtrain_front::cli::ConfigDir;
use dtrain_trainer::run::{RunDir, open_checkpoint, require_best};
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

impl Weights {
    /// Finds what `checkpoint` stands for; `best` asks for the best checkpoint of a run.
    ///
    /// # Errors
    /// It is neither run nor checkpoint, or has no best one.
    pub fn choose(
        checkpoint: &Path,
        best: bool,
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
        if best && is_named {
            return Err(Failure::agreed(
                Exit::Usage,
                format!(
                    "`--best` chooses among the checkpoints of a run, and `{}` is one of them",
                    checkpoint.display()
                ),
                Some("give the run directory, or leave `--best` out".into()),
            ));
        }
        if best {
            let found = require_best(&chosen.run_dir, &chosen.config.checkpoint)?;
            chosen.path = found.folder;
            chosen.best = Some(found.weights);
        }
        Ok(chosen)
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
