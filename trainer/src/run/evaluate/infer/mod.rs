//! Predictions of a trained classifier, as a table: for a part of the run's data, or for files.

mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::{Origins, RunConfig, shell_path, shell_word};
use dtrain_data::{Dataset, Views};

use super::probe::{Probed, open};
use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::eval::{Reading, predict};
use crate::run::agree::agreed;
use crate::run::prepare::{reading, view_maker};
pub use table::Columns;
use table::Table;

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A part of the run's data; `None`: all of them.
    Part(Option<String>),
    /// Recordings and folders of them, or a folder with a set of images.
    Files(Vec<PathBuf>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inferred {
    /// Rows that were written.
    pub rows: usize,
    /// What could not be read, each with its reason; the same on all ranks.
    pub failed: Vec<String>,
}

/// Predicts with the checkpoint at `path` under `config`, and writes the table to `out`: rows in the order of what is asked,
/// whatever the number of ranks.
///
/// # Errors
/// A method without a classifier, nothing that could be read, and whatever [`open`] refuses.
pub fn infer(
    config: RunConfig,
    origins: &Origins,
    ranks: &Arc<dyn Collective>,
    path: &Path,
    asked: &Asked,
    (columns, out): (Columns, &Path),
) -> Result<Inferred, TrainError> {
    if !config.method.facts().labels.classifies() {
        let (name, run) = (config.method.name(), shell_path(path));
        let init_from = shell_word(&format!("init_from={}", path.display()));
        return Err(TrainError::config(
            format!("`{run}` was trained by `{name}`, which has no classifier to predict with"),
            format!(
                "train one on its weights, such as `dtrain experiment=supervised_finetune_fsdd {init_from}`; or take its \
                 embeddings: `dtrain embed {run} --out embeddings.safetensors`"
            ),
        ));
    }
    // Before the weights, which may take long to come.
    let files = match asked {
        Asked::Part(_) => None,
        Asked::Files(paths) => Some(agreed(&**ranks, opened(&config, paths))?),
    };
    open(config, origins, ranks, path)?.predict_to(files.as_ref(), asked, columns, out)
}

fn opened(config: &RunConfig, paths: &[PathBuf]) -> Result<Dataset, TrainError> {
    let dataset = Dataset::of_files(&config.data, paths)?;
    match (dataset.num_samples(), dataset.skipped.first()) {
        (0, Some(first)) => Err(TrainError::config(
            format!(
                "none of {} files can be read, the first being `{}`: {}",
                dataset.skipped.len(),
                first.path,
                first.reason
            ),
            first.advice.clone().unwrap_or_else(|| "give recordings that can be read".into()),
        )),
        _ => Ok(dataset),
    }
}

impl Probed {
    /// `files`: the samples, where they are not those of a part.
    fn predict_to(
        &self,
        files: Option<&Dataset>,
        asked: &Asked,
        columns: Columns,
        out: &Path,
    ) -> Result<Inferred, TrainError> {
        let prepared = &self.prepared;
        let ranks = prepared.engine.collective();
        let _stage = ranks.heartbeat().enter(Stage::Evaluating);
        let mut how: Reading = reading(prepared);
        if let Some(files) = files {
            how.maker = agreed(&**ranks, self.maker_for(files))?;
        }
        let samples = files.unwrap_or(&prepared.dataset);
        let ids = match asked {
            Asked::Part(part) => self.ids_of(part.as_deref())?,
            Asked::Files(_) => samples.test.clone(),
        };
        let tasks = prepared.engine.method().heads();
        let table = Table::new(tasks, &prepared.dataset, samples, columns, files.is_none());
        let mut rows = table.writer(ranks.world().rank == 0)?;
        let mut count = 0;
        let mut failed: Vec<String> =
            samples.skipped.iter().map(|file| format!("`{}`: {}", file.path, file.reason)).collect();
        if files.is_none() {
            // The run has lived without them.
            failed.clear();
        }
        failed.extend(predict(&prepared.engine, &how, &ids, |prediction| {
            count += 1;
            rows.write_record(table.row(&prediction)).map_err(TrainError::internal)
        })?);
        let own = rows.into_inner().map_err(TrainError::internal)?;
        let all = ranks.gather_bytes(&own)?;
        let rows = ranks.all_gather_usize(count)?.into_iter().sum();
        let written = match ranks.world().rank {
            0 => write_atomic(out, &all.concat()).map_err(TrainError::from),
            _ => Ok(()),
        };
        agreed(&**ranks, written)?;
        Ok(Inferred { rows, failed })
    }

    /// Makes views of other samples as of those that the run was trained on.
    fn maker_for(&self, files: &Dataset) -> Result<Arc<dyn Views>, TrainError> {
        let maker = view_maker(&self.prepared.config, files)?;
        let (trained, found) = (self.prepared.maker.shape(), maker.shape());
        if trained == found {
            return Ok(maker);
        }
        let text = |[c, h, w]: [usize; 3]| format!("{c} x {h} x {w}");
        Err(TrainError::config(
            format!(
                "the images in `{}` are {}, and the run was trained on {}",
                files.root.display(),
                text(found),
                text(trained)
            ),
            "give images of the same shape",
        ))
    }
}
