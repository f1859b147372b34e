//! Probing and embedding with the weights of a checkpoint.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dtrain_comm::{Collective, CollectiveExt, Stage};
use dtrain_configs::schema::EvalWeights;
use dtrain_configs::{Origins, RunConfig};
use dtrain_data::Place;

use super::banks::{BankSamples, probe_banks};
use super::baselines::BaselineFindings;
use super::full::full_evaluation;
use crate::checkpoint::durable::replace_atomic;
use crate::checkpoint::{Dtype, TensorSpec, write_tensors};
use crate::engine::{gather_i64, gather_rows};
use crate::error::TrainError;
use crate::eval::{Evaluation, Examiner, Thoroughness, embed_part, final_parts, part_named};
use crate::run::agree::agreed;
use crate::run::checkpoints::load_at;
use crate::run::prepare::{Prepared, Purpose, open_banks, prepare_asked, reading, subject};
use crate::track::FullEvaluation;

/// A checkpoint with its settings, ready to embed.
pub struct Probed {
    pub(super) prepared: Prepared,
    /// Optimizer steps that the weights have seen.
    pub step: u64,
}

/// Loads the checkpoint at `path` under `config`; `origins`: what of it the user has just asked for.
pub fn open(
    config: RunConfig,
    origins: &Origins,
    ranks: &Arc<dyn Collective>,
    path: &Path,
) -> Result<Probed, TrainError> {
    let restored = load_at(&**ranks, path)?;
    let mut prepared = prepare_asked(config, origins, ranks, Purpose::Evaluate, None)?;
    prepared.notes.iter().for_each(|note| tracing::warn!("{note}"));
    agreed(&**ranks, restored.apply_weights(&prepared))?;
    let step = restored.state.coordinator.step;
    prepared.engine.freeze_as_before(step)?;
    let measured = prepared.measure_statistics()?;
    if let Some(note) = prepared.note_on_statistics(measured.as_ref()).filter(|_| ranks.world().rank == 0) {
        tracing::warn!("{note}");
    }
    Ok(Probed { prepared, step })
}

impl Probed {
    /// All probes on train and on the parts to report on, and what the method's heads predict there.
    ///
    /// # Errors
    /// There is nothing to evaluate on, memory runs out, or the ranks cannot talk.
    pub fn evaluate(&self) -> Result<Vec<Evaluation>, TrainError> {
        let prepared = &self.prepared;
        let _stage = prepared.engine.collective().heartbeat().enter(Stage::Evaluating);
        let parts = final_parts(&prepared.dataset, &prepared.config.eval.parts);
        if parts.is_empty() {
            let split = &prepared.config.data.split;
            return Err(TrainError::config(
                format!(
                    "there is nothing to evaluate on: `data.split` = {split} has neither a val nor a test part"
                ),
                format!("hold something out, for instance with `data.splits.{split}.test_fraction=0.2`"),
            ));
        }
        let reading = reading(prepared);
        let examiner = Examiner { engine: &prepared.engine, reading: &reading, subject: subject(prepared) };
        let parts: Vec<_> = parts.into_iter().map(|(name, ids)| (name, Cow::Borrowed(ids))).collect();
        let thoroughness = Thoroughness { linear: true, train: true };
        let mut findings = examiner.examine(&prepared.dataset.train, &parts, thoroughness)?;
        BaselineFindings::probe(prepared, &prepared.dataset.train, &parts)?
            .put_beside(&mut findings.evaluations);
        let (ranks, shape) = (&**prepared.engine.collective(), prepared.maker.shape());
        let banks = open_banks(&prepared.config, ranks, &prepared.dataset, shape)?;
        let samples: Vec<BankSamples<'_>> =
            banks.iter().map(|bank| BankSamples::spread(bank, usize::MAX)).collect();
        findings.add(probe_banks(prepared, &samples, true)?);
        warn_of(&findings.left_out);
        Ok(findings.evaluations)
    }

    /// What [`Self::evaluate`] has found, as files keep it.
    pub fn full_evaluation(&self, weights: EvalWeights, evaluations: &[Evaluation]) -> FullEvaluation {
        full_evaluation(&self.prepared.dataset, weights, self.step, evaluations)
    }

    /// Writes the embeddings of `part` (`None`: every sample) to a safetensors file on rank 0; returns their number.
    pub fn embed_to(&self, part: Option<&str>, out: &Path) -> Result<usize, TrainError> {
        let prepared = &self.prepared;
        let ranks = prepared.engine.collective();
        let _stage = ranks.heartbeat().enter(Stage::Evaluating);
        let ids = self.ids_of(part)?;
        let local = embed_part(&prepared.engine, &reading(prepared), &ids)?;
        warn_of(&local.left_out);
        let per_rank = ranks.all_gather_usize(local.ids.len())?;
        let rows = gather_rows(&**ranks, &local.embeddings.to_kind(tch::Kind::Float), &per_rank)?;
        let own: Vec<i64> = local.ids.iter().map(|&id| i64::from(id)).collect();
        let ids = gather_i64(&**ranks, &own, &per_rank)?;
        let written = if ranks.world().rank == 0 { self.write(out, &rows, &ids) } else { Ok(()) };
        agreed(&**ranks, written)?;
        Ok(ids.len())
    }

    /// The samples of `part`; `None`: every one.
    ///
    /// # Errors
    /// A part that there is not, or that has no samples.
    pub(super) fn ids_of(&self, part: Option<&str>) -> Result<Vec<u32>, TrainError> {
        let prepared = &self.prepared;
        match part {
            Some(name) => {
                Ok(part_named(&prepared.dataset, name, ("`--part`", &prepared.config.data.split))?.to_vec())
            }
            None => Ok((0..prepared.dataset.num_samples() as u32).collect()),
        }
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
        let place = |id: &i64| dataset.source.place_of(*id as u32);
        if dataset.source.place_of(0).is_some() {
            let mut column = |name: &str, secs: fn(Place) -> f64| {
                // The bits of floats lie in a file as those of integers do.
                let bits = |id: &i64| place(id).map_or(f64::NAN, secs).to_bits() as i64;
                columns.push(ids.iter().map(bits).collect());
                specs.push(TensorSpec { name: name.into(), dtype: Dtype::F64, shape: vec![count] });
            };
            column("begin_secs", |place| place.begin_secs);
            column("length_secs", |place| place.length_secs);
        }
        let files: Vec<String> = ids.iter().filter_map(|&id| dataset.name_of(id as u32)).collect();
        metadata.insert("files".into(), json(&files)?);
        metadata.insert("step".into(), self.step.to_string());
        let statistics = self.prepared.config.model.bn_statistics;
        metadata.insert("bn_statistics".into(), statistics.as_str().to_owned());
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
