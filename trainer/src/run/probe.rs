//! Probing and embedding with the weights of a checkpoint.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::RunConfig;

use super::agreed;
use super::evaluate::final_parts;
use super::feed::reading;
use super::load::load_at;
use super::prepare::{Prepared, Purpose, prepare};
use crate::checkpoint::durable::replace_atomic;
use crate::checkpoint::{Dtype, TensorSpec, write_tensors};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;
use crate::eval::{Evaluation, Parts, Thoroughness, embed_part, evaluate, evaluate_heads};

/// A checkpoint with its settings, ready to embed.
pub struct Probed {
    prepared: Prepared,
    /// Optimizer steps that the weights have seen.
    pub step: u64,
}

/// Loads the checkpoint at `path` under `config`.
pub fn open(config: RunConfig, ranks: &Arc<dyn Collective>, path: &Path) -> Result<Probed, TrainError> {
    let restored = load_at(&**ranks, path)?;
    let prepared = prepare(config, ranks, Purpose::Evaluate, None)?;
    agreed(&**ranks, restored.apply_weights(&prepared))?;
    Ok(Probed { prepared, step: restored.state.coordinator.step })
}

impl Probed {
    /// All probes on train, val and test, and what the method's heads predict there.
    pub fn evaluate(&self) -> Result<Vec<Evaluation>, TrainError> {
        let prepared = &self.prepared;
        let _stage = prepared.engine.collective().heartbeat().enter(Stage::Evaluating);
        let config = &prepared.config.eval;
        let parts = final_parts(&prepared.dataset);
        if parts.is_empty() {
            let split = &prepared.config.data.split;
            return Err(TrainError::config(
                format!(
                    "there is nothing to evaluate on: `data.split` = {split} has neither a val nor a test part"
                ),
                format!("hold something out, for instance with `data.splits.{split}.test_fraction=0.2`"),
            ));
        }
        let labels = prepared.probe_labels();
        let reading = reading(prepared);
        let embed = |ids: &[u32]| -> Result<_, TrainError> {
            let part = embed_part(&prepared.engine, &reading, ids)?;
            warn_of(&part.left_out);
            Ok(part)
        };
        let train = config.embeddings.then(|| embed(&prepared.dataset.train)).transpose()?;
        let thoroughness = Thoroughness { linear: true, train: true };
        let mut evaluations = Vec::new();
        for (name, ids) in parts {
            let mut evaluation = Evaluation { part: name.to_owned(), ..Evaluation::default() };
            if let Some(train) = &train {
                let queries = embed(ids)?;
                let parts = Parts { train, queries: &queries, name };
                evaluation = evaluate(&prepared.engine, &parts, &labels, config, thoroughness)?;
            }
            let (heads, left_out) = evaluate_heads(&prepared.engine, &reading, &prepared.dataset, ids)?;
            warn_of(&left_out);
            evaluation.add_heads(heads);
            evaluations.push(evaluation);
        }
        Ok(evaluations)
    }

    /// Writes the embeddings of `part` (`None`: every sample) to a safetensors file on rank 0; returns their number.
    pub fn embed_to(&self, part: Option<&str>, out: &Path) -> Result<usize, TrainError> {
        let prepared = &self.prepared;
        let dataset = &prepared.dataset;
        let ranks = prepared.engine.collective();
        let _stage = ranks.heartbeat().enter(Stage::Evaluating);
        let all: Vec<u32> = (0..dataset.num_samples() as u32).collect();
        let ids = match part {
            Some("train") => &dataset.train,
            Some("val") => &dataset.val,
            Some("test") => &dataset.test,
            _ => &all,
        };
        if ids.is_empty() {
            let split = &prepared.config.data.split;
            return Err(TrainError::config(
                format!("the {} part of `data.split` = {split} is empty", part.unwrap_or("whole")),
                "choose another `--part`; `--part all` takes every recording",
            ));
        }
        let local = embed_part(&prepared.engine, &reading(prepared), ids)?;
        warn_of(&local.left_out);
        let per_rank = ranks.all_gather_usize(local.ids.len())?;
        let rows = gather_rows(&**ranks, &local.embeddings.to_kind(tch::Kind::Float), &per_rank)?;
        let own: Vec<i64> = local.ids.iter().map(|&id| i64::from(id)).collect();
        let ids = gather_i64(&**ranks, &own, &per_rank)?;
        let written = if ranks.world().rank == 0 { self.write(out, &rows, &ids) } else { Ok(()) };
        agreed(&**ranks, written)?;
        Ok(ids.len())
    }

    fn write(&self, out: &Path, rows: &tch::Tensor, ids: &[i64]) -> Result<(), TrainError> {
        let dataset = &self.prepared.dataset;
        let count = ids.len() as u64;
        let width = rows.size().get(1).copied().unwrap_or(0) as u64;
        let mut specs = vec![
            TensorSpec { name: "embeddings".into(), dtype: Dtype::F32, shape: vec![count, width] },
            TensorSpec { name: "ids".into(), dtype: Dtype::I64, shape: vec![count] },
        ];
        let mut columns: Vec<Vec<i64>> = vec![ids.to_vec()];
        let mut metadata = BTreeMap::new();
        for label in &dataset.labels {
            let class = |id: &i64| label.of_sample.get(*id as usize).copied().flatten().map_or(-1, i64::from);
            columns.push(ids.iter().map(class).collect());
            specs.push(TensorSpec {
                name: format!("label.{}", label.name),
                dtype: Dtype::I64,
                shape: vec![count],
            });
            metadata.insert(format!("classes.{}", label.name), json(&label.classes)?);
        }
        let files: Vec<String> = ids.iter().filter_map(|&id| dataset.name_of(id as u32)).collect();
        metadata.insert("files".into(), json(&files)?);
        metadata.insert("step".into(), self.step.to_string());
        let values: Vec<f32> = Vec::try_from(rows.flatten(0, -1))?;
        replace_atomic(out, |w| {
            write_tensors(w, &specs, &metadata, |index, w| match index.checked_sub(1) {
                None => values.iter().try_for_each(|v| w.write_all(&v.to_le_bytes())),
                Some(column) => columns
                    .iter()
                    .skip(column)
                    .take(1)
                    .flatten()
                    .try_for_each(|v| w.write_all(&v.to_le_bytes())),
            })
            .map_err(std::io::Error::other)
        })?;
        Ok(())
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, TrainError> {
    serde_json::to_string(value).map_err(TrainError::internal)
}

fn warn_of(left_out: &[String]) {
    for recording in left_out {
        tracing::warn!("left out: {recording}");
    }
}
