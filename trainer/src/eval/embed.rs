//! Embeddings of a part of the data, this rank's share of them.

use dtrain_data::LabelColumn;
use tch::{Device, Tensor};

use super::{Labelled, Reading, room};
use crate::engine::Engine;
use crate::error::TrainError;

/// Embeddings of this rank's share of a part.
pub struct Embeddings {
    /// `[n, D]` on the CPU.
    pub embeddings: Tensor,
    /// Sample of each row.
    pub ids: Vec<u32>,
    /// Samples of any rank's share that could not be read, with their reasons; they are not among the rows.
    pub left_out: Vec<String>,
}

impl Embeddings {
    /// No rows; they still know their width.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn none(engine: &Engine, reading: &Reading) -> Result<Self, TrainError> {
        let (width, kind) = reading.embedder.width(engine);
        let embeddings = Tensor::f_zeros([0, width], (kind, Device::Cpu)).map_err(room)?;
        Ok(Self { embeddings, ids: Vec::new(), left_out: Vec::new() })
    }

    /// The rows that have `label`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn labelled(&self, label: &LabelColumn) -> Result<Labelled, TrainError> {
        let mut at = Vec::new();
        let mut classes = Vec::new();
        let mut ids = Vec::new();
        for (row, &id) in (0i64..).zip(&self.ids) {
            if let Some(class) = label.of_sample.get(id as usize).copied().flatten() {
                at.push(row);
                classes.push(i64::from(class));
                ids.push(i64::from(id));
            }
        }
        let embeddings = self.embeddings.f_index_select(0, &Tensor::f_from_slice(&at)?).map_err(room)?;
        Ok(Labelled { embeddings, classes, ids })
    }
}

/// Embeds this rank's share of `ids`, centred crops without augmentation.
pub fn embed_part(engine: &Engine, reading: &Reading, ids: &[u32]) -> Result<Embeddings, TrainError> {
    let mut rows = Vec::new();
    let mut all = Embeddings::none(engine, reading)?;
    all.left_out = reading.each(engine, "embedding", ids, |batch, inputs| {
        let embeddings = reading.embedder.embed(engine, inputs)?;
        rows.push(embeddings.f_to_device(Device::Cpu).map_err(room)?);
        all.ids.extend(batch.kept_ids());
        Ok(())
    })?;
    if !rows.is_empty() {
        all.embeddings = Tensor::f_cat(&rows, 0).map_err(room)?;
    }
    Ok(all)
}
