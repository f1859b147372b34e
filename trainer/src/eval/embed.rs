//! Embeddings of a part of the data, this rank's share of them.

use tch::Tensor;

use super::{Labelled, Reading};
use crate::data::LabelColumn;
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
    /// The rows that have `label`.
    pub fn labelled(&self, label: &LabelColumn) -> Labelled {
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
        Labelled { embeddings: self.embeddings.index_select(0, &Tensor::from_slice(&at)), classes, ids }
    }
}

/// Embeds this rank's share of `ids`, centred crops without augmentation.
pub fn embed_part(engine: &Engine, reading: &Reading, ids: &[u32]) -> Result<Embeddings, TrainError> {
    let mut rows = Vec::new();
    let mut kept = Vec::new();
    let left_out = reading.each(engine, ids, |batch, inputs| {
        rows.push(engine.embed(&inputs)?.to_device(tch::Device::Cpu));
        kept.extend(batch.kept_ids());
        Ok(())
    })?;
    let embeddings = if rows.is_empty() {
        // An empty share still knows the width of a row.
        let [c, h, w] = reading.maker.shape();
        let none = Tensor::zeros([0, c as i64, h as i64, w as i64], (engine.kind(), engine.device()));
        engine.embed(&none)?.to_device(tch::Device::Cpu)
    } else {
        Tensor::cat(&rows, 0)
    };
    Ok(Embeddings { embeddings, ids: kept, left_out })
}
